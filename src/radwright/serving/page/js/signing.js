/**
 * Signing shows exactly the text that becomes the report; exporting says what an unsigned text is.
 */
import { json, studyPath } from "./api.js";
import { openDialog } from "./dialogs.js";
import { el, toast } from "./dom.js";
import { refresh } from "./session.js";
import { personName, studyName } from "./words.js";

let observerBefore = "";

/**
 * @param {{id: string, study: any, report: {number: number, text: string}, uncertain: number, notes: string[], session: import("./session.js").Session,
 *   signed: () => void}} options
 */
export function openSigning({ id, study, report, uncertain, notes, session, signed }) {
  const needsName = !session.needs_token;
  const name = el("input", { type: "text", id: "observer", autocomplete: "off", required: true, autofocus: needsName });
  name.value = observerBefore;
  const wrong = el("p", { class: "wrong", role: "alert" });
  const patient = [studyName(study), personName(study.patient_name) && study.patient_id, study.accession && `accession ${study.accession}`];
  const sign = async () => {
    wrong.textContent = "";
    if (needsName && name.value.trim() === "") {
      wrong.textContent = "Give the name of whoever signs.";
      name.focus();
      return false;
    }
    try {
      const body = { version: report.number, observer: needsName ? name.value.trim() : session.name };
      await json(studyPath(id, "sign"), { method: "POST", body });
      observerBefore = name.value.trim();
      toast("Signed.");
      signed();
      return true;
    } catch (error) {
      wrong.textContent = wordsOf(error);
      if (error.code === "other_author") await refresh(session);
      return false;
    }
  };
  const { node } = openDialog({
    title: "Sign this report?",
    body: [
      el("p", {}, "For ", el("strong", {}, patient.filter(Boolean).join(" \u00b7 ")), `. Version ${report.number}, word for word:`),
      el("div", { class: "exact", id: "to-be-signed", tabindex: "0", role: "group", "aria-label": "Text to be signed", autofocus: !needsName }, report.text),
      uncertain > 0 && el("p", { class: "notice" }, `${uncertain === 1 ? "One sentence is" : `${uncertain} sentences are`} marked uncertain by the model, and not yet accepted (key y).`),
      ...notes.map((note) => el("p", { class: "notice" }, note)),
      el("p", { class: "muted" }, "Once signed the report cannot be changed."),
      needsName && el("div", { class: "field" }, el("label", { for: "observer" }, "Signed by"), name),
      wrong,
    ],
    actions: [{ label: "Not yet" }, { label: "Sign", key: "Ctrl Enter", primary: true, run: sign }],
  });
  // Not Enter alone: words dictated while no field had the focus would then open this by an "s" and sign it.
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    /** @type {HTMLElement} */ (node.querySelector(".dialog-actions .primary")).click();
  });
}

/** @param {any} error */
function wordsOf(error) {
  if (error.code === "other_author") return `${error.message}. Sign again if the report is to bear the name of who is signed in.`;
  return error.status === 409 ? `${error.message} Close this and read the newest text.` : error.message;
}

/**
 * @param {string} id
 * @param {boolean} signed
 * @param {string} label
 */
export function openExport(id, signed, label) {
  const choice = (/** @type {string} */ format, /** @type {string} */ name, /** @type {string} */ what, first = false) =>
    el("a", { class: "button", href: `${studyPath(id, "export")}?format=${format}`, download: true, autofocus: first }, name, el("span", { class: "muted" }, what));
  openDialog({
    title: "Export",
    body: [
      el("p", { class: signed ? "muted" : "notice" }, signed ? "The signed report." : `Not signed: whatever is exported says \u201c${label}\u201d and is neither complete nor verified.`),
      el("div", { class: "choices" }, choice("sr", "DICOM structured report", ".dcm", true), choice("fhir", "FHIR DiagnosticReport", ".json"), choice("text", "Plain text", ".txt")),
    ],
    actions: [{ label: "Close" }],
  }); // prettier-ignore
}
