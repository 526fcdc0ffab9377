/**
 * What is added to a signed report: shown under it, each with who and when; written in a dialog and signed at once.
 */
import { json, studyPath } from "./api.js";
import { openDialog } from "./dialogs.js";
import { el, toast } from "./dom.js";
import { refresh } from "./session.js";
import { localTime, personName } from "./words.js";

/** @param {any[]} addenda */
export function drawAddenda(addenda) {
  return addenda.map(({ text, observer, organization, signed_at }) =>
    el(
      "section",
      { class: "addendum", "aria-label": "Addendum" },
      el("p", { class: "signature" }, el("strong", {}, "Addendum"), ` by ${personName(observer)}${organization ? `, ${organization}` : ""}, ${localTime(signed_at)}`),
      el("p", { class: "signed-text" }, text),
    ),
  );
}

/**
 * Asks for an addendum and sends it. What was typed outlives a failure: the dialog stays open with it.
 * @param {{id: string, report: {number: number, text: string}, addenda: any[], session: import("./session.js").Session,
 *   added: () => void}} options
 */
export function openAddendum({ id, report, addenda, session, added }) {
  const needsName = !session.needs_token;
  const text = el("textarea", { id: "addendum", rows: 6, autofocus: true, spellcheck: "false", autocomplete: "off" });
  const name = el("input", { type: "text", id: "addendum-observer", autocomplete: "off", required: true });
  const wrong = el("p", { class: "wrong", role: "alert" });
  const based_on = addenda.length > 0 ? addenda[addenda.length - 1].version : report.number;
  const send = async () => {
    wrong.textContent = "";
    if (text.value.trim() === "" || (needsName && name.value.trim() === "")) {
      wrong.textContent = text.value.trim() === "" ? "Write what is to be added." : "Give the name of whoever signs.";
      (text.value.trim() === "" ? text : name).focus();
      return false;
    }
    try {
      const body = { text: text.value, based_on, observer: needsName ? name.value.trim() : session.name };
      await json(studyPath(id, "addenda"), { method: "POST", body });
      toast("The addendum is signed.");
      added();
      return true;
    } catch (error) {
      const again = error.status === 409 ? " Copy your text, close this and read what is there now." : "";
      wrong.textContent = error.code === "other_author" ? `${error.message}. Sign again if it is to bear the name of who is signed in.` : error.message + again;
      if (error.code === "other_author") await refresh(session);
      return false;
    }
  };
  const { node } = openDialog({
    title: "Add to the signed report",
    body: [
      el("p", { class: "muted" }, "The signed report stays as it is. What is added is signed at once, stands under it, and leaves as another document."),
      el("div", { class: "exact" }, report.text),
      ...drawAddenda(addenda),
      el("div", { class: "field" }, el("label", { for: "addendum" }, "Addendum"), text),
      needsName && el("div", { class: "field" }, el("label", { for: "addendum-observer" }, "Signed by"), name),
      wrong,
    ],
    actions: [{ label: "Not yet" }, { label: "Sign the addendum", key: "Ctrl Enter", primary: true, run: send }],
  });
  node.addEventListener("cancel", (event) => {
    // Escape must not drop what was typed.
    if (text.value.trim() !== "") event.preventDefault();
  });
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    /** @type {HTMLElement} */ (node.querySelector(".dialog-actions .primary")).click();
  });
  text.focus();
}
