/**
 * A study that is here by mistake: taken off the worklist with a reason, and put back.
 */
import { json, studyPath } from "./api.js";
import { openDialog } from "./dialogs.js";
import { el, toast } from "./dom.js";
import { localTime, studyName } from "./words.js";

/**
 * @param {{id: string, study: any, done: () => void}} options
 */
export function openWithdrawing({ id, study, done }) {
  const reason = el("input", { type: "text", id: "reason", maxlength: 500, required: true, autofocus: true, autocomplete: "off" });
  const wrong = el("p", { class: "wrong", role: "alert" });
  const send = async () => {
    wrong.textContent = "";
    if (reason.value.trim() === "") {
      wrong.textContent = "Say why: whoever looks for the study reads it.";
      reason.focus();
      return false;
    }
    try {
      await json(studyPath(id, "withdraw"), { method: "POST", body: { reason: reason.value.trim() } });
      toast("Withdrawn. It is found by the filter Withdrawn.");
      done();
      return true;
    } catch (error) {
      wrong.textContent = error.message;
      return false;
    }
  };
  const { node } = openDialog({
    title: `Withdraw ${studyName(study)}?`,
    body: [
      el("p", {}, "For a study that is here by mistake. It leaves the worklist; nothing more is drafted, signed, exported or sent of it. Nothing is deleted, and it can be restored."),
      el("div", { class: "field" }, el("label", { for: "reason" }, "Why"), reason),
      wrong,
    ],
    actions: [{ label: "Keep it" }, { label: "Withdraw", primary: true, run: send }],
  });
  reason.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    /** @type {HTMLElement} */ (node.querySelector(".dialog-actions .primary")).click();
  });
  reason.focus();
}

/**
 * Says that a study was withdrawn, and offers the way back.
 * @param {any} study
 * @param {boolean} may whether who reads may restore it
 * @param {() => void} done
 */
export function withdrawnBox(study, may, done) {
  const button = el("button", { type: "button" }, "Restore");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await json(studyPath(study.id, "restore"), { method: "POST" });
      toast("Restored.");
      done();
    } catch (error) {
      toast(error.message);
      button.disabled = false;
    }
  });
  return el("div", { class: "notice" }, el("p", {}, el("strong", {}, "Withdrawn"), `, ${localTime(study.updated_at)}: ${study.reason}`), may && button);
}
