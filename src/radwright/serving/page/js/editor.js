/**
 * Editing a report: one plain text field. Dictation, paste and a radiologist's own habits all work in it, and
 * sentences may be joined, split and moved; the network's sentences find their evidence again by their words. The
 * browser's spelling is off: some send what is typed to a service.
 */
import { drawDiff } from "./diff.js";
import { el, fill } from "./dom.js";
import { TextHistory } from "./text_history.js";

/** The text field with undo, and the changes from the draft below it. */
export class Editor {
  /**
   * @param {{text: string, draft: string, at: number, changed: (text: string) => void, done: () => void, showDiff: boolean}} options
   */
  constructor({ text, draft, at, changed, done, showDiff }) {
    this.draft = draft;
    this.changed = changed;
    this.history = new TextHistory(text);
    this.showDiff = showDiff;
    this.area = el("textarea", { id: "report", spellcheck: "false", autocomplete: "off", "aria-label": "Report text", autocapitalize: "sentences" });
    this.area.value = text;
    this.diff = el("div", { "aria-label": "Changes from the draft", role: "group" });
    const tool = (/** @type {string} */ label, /** @type {() => void} */ run) => el("button", { type: "button", on: { click: run } }, label);
    this.undoButton = tool("Undo", () => this.set(this.history.undo()));
    this.redoButton = tool("Redo", () => this.set(this.history.redo()));
    this.diffButton = el("button", { type: "button", "aria-pressed": String(showDiff) }, "Changes");
    this.diffButton.addEventListener("click", () => {
      this.showDiff = !this.showDiff;
      this.diffButton.setAttribute("aria-pressed", String(this.showDiff));
      this.draw();
    });
    const back = tool("Draft\u2019s text", () => {
      this.history.push(draft);
      this.set(draft);
    });
    this.node = el(
      "div",
      { class: "editor" },
      this.area,
      el("div", { class: "editor-tools" }, this.undoButton, this.redoButton, this.diffButton, back),
      this.diff,
    );
    this.area.addEventListener("input", () => {
      this.history.push(this.area.value, { typed: true });
      this.changed(this.area.value);
      this.draw();
    });
    this.area.addEventListener("keydown", (event) => this.onKey(event, done));
    this.at = at;
    this.draw();
  }

  focus() {
    this.area.focus();
    this.area.setSelectionRange(this.at, this.at);
  }

  /**
   * @param {KeyboardEvent} event
   * @param {() => void} done
   */
  onKey(event, done) {
    const command = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    if (event.key === "Escape" && !event.isComposing) {
      event.preventDefault();
      event.stopPropagation();
      done();
    } else if (command && (key === "z" || key === "y")) {
      event.preventDefault();
      this.set(key === "y" || event.shiftKey ? this.history.redo() : this.history.undo());
    }
  }

  /** @param {string} text */
  set(text) {
    if (this.area.value !== text) this.area.value = text;
    this.changed(text);
    this.draw();
    this.area.focus();
  }

  draw() {
    this.undoButton.disabled = !this.history.canUndo;
    this.redoButton.disabled = !this.history.canRedo;
    this.area.style.height = "auto";
    this.area.style.height = `${Math.max(190, this.area.scrollHeight + 4)}px`;
    fill(this.diff, this.showDiff && drawDiff(this.draft, this.area.value));
  }
}
