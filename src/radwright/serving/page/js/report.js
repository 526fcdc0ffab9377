/**
 * The report beside the images: written before one's eyes, read sentence by sentence, edited, signed.
 */
import { drawAddenda } from "./addenda.js";
import { announce, el, fill, toast } from "./dom.js";
import { drawDiff } from "./diff.js";
import { Editor } from "./editor.js";
import { EvidenceShelf } from "./evidence.js";
import { SentenceList } from "./sentences.js";
import { CHOOSE } from "./legend.js";
import { HEED } from "./clues.js";
import { withdrawnBox } from "./withdrawing.js";
import { localTime, personName } from "./words.js";

/** Shows one of: writing, reading, editing, signed, nothing. What it needs to do it asks of its study. */
export class ReportView {
  /** @param {import("./study.js").StudyPage} page */
  constructor(page) {
    this.page = page;
    this.editor = /** @type {Editor | null} */ (null);
    this.list = /** @type {SentenceList | null} */ (null);
    this.shelf = /** @type {EvidenceShelf | null} */ (null);
    this.showDiff = false;
    this.ending = /** @type {Promise<void> | null} */ (null);
    this.spoken = 0;
    this.head = el("div", { class: "report-head" });
    this.saved = el("span", { class: "saved", role: "status" });
    this.stream = el("div", { hidden: true });
    this.compare = el("div", { hidden: true });
    this.body = el("div", { class: "panel" });
    this.node = el("section", { class: "panel", "aria-label": "Report" }, this.stream, this.compare, this.body);
  }

  get data() {
    return this.page.data;
  }

  get text() {
    return this.data.report?.text ?? "";
  }

  /** Draws what stands there now; the sentence that was looked at stays. */
  draw() {
    const { draft, signature, study } = this.data;
    if (draft && this.shelf?.draft !== draft.number) {
      this.shelf = new EvidenceShelf(study.id, draft.number);
      this.page.accepted.clear();
    }
    this.drawHead();
    if (this.editor !== null) return;
    const before = this.list?.sentences[this.list.current]?.text;
    const place = this.list?.current ?? -1;
    const focused = this.body.contains(document.activeElement);
    this.list = null;
    if (signature) {
      this.page.viewer.show(null);
      this.page.viewer.legend.say("");
      fill(this.body, signatureBox(signature), deliveryWords(this.data), el("p", { class: "signed-text", tabindex: "0" }, this.text), drawAddenda(this.data.addenda), this.diffFromDraft());
    } else if (this.data.report) {
      const { state } = this.data.study;
      this.list = new SentenceList({ report: this.text, draft, accepted: this.page.accepted, shelf: this.shelf, viewer: this.page.viewer, chosen: () => {} });
      fill(this.body, state === "withdrawn" && this.withdrawn(), this.list.node, this.text.trim() === "" && el("p", { class: "muted" }, "The report is empty."), this.diffFromDraft());
      this.lookAgain(before, place, focused);
    } else {
      fill(this.body, this.nothing());
    }
  }

  /**
   * Takes the sentence up again that was looked at before the list was drawn anew.
   * @param {string | undefined} text
   * @param {number} place
   * @param {boolean} focused
   */
  lookAgain(text, place, focused) {
    const same = this.list.sentences.findIndex((sentence) => sentence.text === text);
    if (focused && place >= 0) this.list.focus(same >= 0 ? same : Math.min(place, this.list.buttons.length - 1));
    else if (same >= 0) this.list.choose(same);
    else if (place >= 0) {
      this.page.viewer.show(null);
      this.page.viewer.legend.say(CHOOSE);
    }
  }

  drawHead() {
    const { signature, report, draft, study } = this.data;
    const label = signature
      ? el("span", { class: "badge label-signed" }, "Signed")
      : (report || draft || this.page.writing) && el("span", { class: "badge label-ai" }, this.page.surroundings.model.label);
    const whose = report && !signature && el("span", { class: "saved" }, versionWords(report));
    const diff = el("button", { type: "button", class: "quiet", "aria-pressed": String(this.showDiff), title: "Changes from the draft (d)" }, "Changes ", el("kbd", {}, "d"));
    diff.addEventListener("click", () => this.toggleDiff());
    fill(this.head, el("h2", {}, "Report"), label, el("span", { class: "spring" }), draft && report && this.editor === null && diff, el("p", { class: "whose" }, whose, whose && " ", this.saved));
    this.head.dataset.state = study.state;
  }

  accept() {
    if (!this.page.mayEdit() || this.list === null) return;
    announce(this.list.accept() ? "Accepted or taken back." : "The chosen sentence is not marked uncertain.");
  }

  /** A save has made this the newest version. @param {any} version */
  showVersion(version) {
    this.data.report = version;
    this.drawHead();
  }

  toggleDiff() {
    this.showDiff = !this.showDiff;
    this.draw();
  }

  diffFromDraft() {
    if (!this.showDiff || !this.data.draft) return null;
    return el("div", { class: "panel" }, el("h2", {}, `Changes from draft ${this.data.draft.number}`), drawDiff(this.data.draft.text, this.text));
  }

  withdrawn() {
    return withdrawnBox(this.data.study, this.page.surroundings.session.role !== "reader", () => this.page.reload().then(() => this.page.drafting.start()));
  }

  nothing() {
    const { study } = this.data;
    if (study.state === "withdrawn") return this.withdrawn();
    if (study.state === "failed") {
      return el("div", { class: "panel" }, el("p", { class: "notice" }, "There is no draft: ", study.reason || "the network failed", "."), el("p", { class: "muted" }, "The report can be written by hand: ", el("kbd", {}, "e")));
    }
    if (this.page.writing) return null;
    return el("p", { class: "muted" }, study.state === "receiving" ? "Images are still coming in." : "Waiting for the draft.");
  }

  /**
   * The text so far, as it is written. A screen reader hears each sentence once it is whole, not every word.
   * @param {string} text
   * @param {string} status
   */
  write(text, status) {
    if (this.stream.hidden) {
      this.stream.hidden = false;
      this.spoken = 0;
      this.streamText = el("span");
      this.streamStatus = el("p", { class: "muted" });
      const redraft = this.data.report !== null && this.data.report !== undefined;
      fill(this.stream, el("div", { class: redraft ? "compare" : "panel" }, redraft && el("h2", {}, "New draft"), this.streamStatus, el("p", { class: "streaming" }, this.streamText, el("span", { class: "caret", "aria-hidden": "true" }))));
      this.drawHead();
    }
    this.streamText.textContent = text;
    this.streamStatus.textContent = status;
    const whole = text.slice(0, Math.max(text.lastIndexOf(". ") + 1, 0));
    if (whole.length > this.spoken) {
      announce(whole.slice(this.spoken).trim());
      this.spoken = whole.length;
    }
  }

  endWriting() {
    this.stream.hidden = true;
    fill(this.stream);
  }

  /**
   * Sets a new draft beside the text that stood there; a person decides which one the report goes on from.
   * @param {string} before
   */
  offer(before) {
    const { draft } = this.data;
    const close = () => {
      this.compare.hidden = true;
      fill(this.compare);
    };
    const take = (/** @type {string} */ label, /** @type {string} */ text, /** @type {boolean} */ primary) => {
      const button = el("button", { type: "button", class: primary && "primary" }, label);
      button.addEventListener("click", async () => {
        close();
        if (text !== this.text) await this.page.replaceText(text);
        this.draw();
      });
      return button;
    };
    const drafted = this.text === draft.text;
    if (before === draft.text) {
      const well = el("button", { type: "button", on: { click: close } }, "Close");
      const words = `Draft ${draft.number} is, word for word, the text before: the clues changed nothing.`;
      fill(this.compare, el("div", { class: "compare" }, el("p", { role: "status" }, words), el("p", { class: "muted" }, HEED), el("div", { class: "choices" }, well)));
      this.compare.hidden = false;
      announce(words);
      this.compare.scrollIntoView({ block: "nearest" });
      return;
    }
    fill(
      this.compare,
      el(
        "div",
        { class: "compare" },
        el("h2", {}, `Draft ${draft.number} against the text before`),
        drawDiff(before, draft.text),
        el("div", { class: "choices" }, take("Use the new draft", draft.text, drafted), take("Keep the text before", before, !drafted)),
      ),
    );
    this.compare.hidden = false;
    announce(`Draft ${draft.number} is there. Choose whether to use it.`);
    this.compare.scrollIntoView({ block: "nearest" });
  }

  edit() {
    this.editor?.area.focus(); // a dialog may have taken the focus elsewhere
    if (this.editor !== null || !this.page.mayEdit()) return;
    const text = this.page.saver.text;
    this.editor = new Editor({
      text,
      draft: this.data.draft?.text ?? "",
      at: this.list ? this.list.startOf(text) : text.length,
      changed: (now) => this.page.saver.change(now),
      done: () => this.endEditing(),
      showDiff: true,
    });
    fill(this.body, this.editor.node);
    this.drawHead();
    this.page.drawActions();
    this.editor.draw();
    this.editor.focus();
  }

  /** Saves and goes back to reading; while it does, nothing more is typed into what is being saved. */
  endEditing() {
    this.ending ??= this.finishEditing().finally(() => (this.ending = null));
    return this.ending;
  }

  async finishEditing() {
    if (this.editor === null) return;
    const { area } = this.editor;
    area.readOnly = true;
    this.page.main.focus({ preventScroll: true });
    const done = await this.page.saver.save();
    if (this.editor === null) return; // a conflict has settled it
    if (!done) {
      area.readOnly = false;
      area.focus();
      toast("Not saved yet: what stands at the top of the report says why.");
      return;
    }
    this.editor = null;
    this.saved.textContent = "";
    await this.page.reload();
    this.page.drawActions();
    if (this.list && this.list.buttons.length > 0) this.list.focus(Math.max(0, this.list.current));
  }

  /**
   * @param {import("./saving.js").SavingState} state
   * @param {string} [words]
   */
  showSaving(state, words = "") {
    const texts = { saved: "Saved", unsaved: "Not saved yet", saving: "Saving\u2026", failed: `Not saved: ${words}` };
    this.saved.textContent = texts[state];
    this.saved.classList.toggle("unsaved", state === "unsaved" || state === "failed");
  }
}

/** @param {any} report */
function versionWords(report) {
  const kind = report.kind === "draft" ? "as drafted" : `edited by ${personName(report.author)}`;
  return `Version ${report.number}, ${kind}, ${localTime(report.created_at)}`;
}

/**
 * Whether the signed report has reached a PACS.
 * @param {any} data
 */
function deliveryWords({ study, deliveries = [] }) {
  const sent = deliveries.filter((/** @type {any} */ each) => each.signed);
  if (sent.length === 0) {
    const why = study.origin === "upload" ? "The study was uploaded here, so no PACS is sent its report: export it (o)." : "Not queued for a PACS yet.";
    return el("p", { class: "muted delivery" }, why);
  }
  return el(
    "ul",
    { class: "muted delivery", "aria-label": "Where the report was sent" },
    sent.map((/** @type {any} */ { version, destination, attempts, sent_at, error }) => {
      const failed = attempts > 0 ? `, ${attempts} ${attempts === 1 ? "attempt" : "attempts"} failed${error ? ` (${error})` : ""}` : "";
      return el("li", { class: !sent_at && attempts > 0 && "notice" }, `Version ${version}: ${sent_at ? `in ${destination} since ${localTime(sent_at)}` : `waits for ${destination}${failed}`}`);
    }),
  );
}

/** @param {any} signature */
function signatureBox(signature) {
  const where = signature.organization ? `, ${signature.organization}` : "";
  return el("div", { class: "signature" }, el("strong", {}, "Signed"), ` by ${personName(signature.observer)}${where}, ${localTime(signature.signed_at)}. Version ${signature.version}.`);
}
