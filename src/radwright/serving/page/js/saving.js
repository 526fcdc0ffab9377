/**
 * Saving a report: one version after the other, each based on the newest known; a conflict shows both texts.
 *
 * Unsaved text is never put into the browser's storage, which may end up on a shared computer's disk. It is sent soon
 * after the last key, again when the page is hidden, and leaving with unsaved text asks first.
 */
import { ApiError, json, room, studyPath } from "./api.js";
import { drawDiff } from "./diff.js";
import { dialogIsOpen, openDialog } from "./dialogs.js";
import { el, toast } from "./dom.js";
import { refresh } from "./session.js";
import { personName } from "./words.js";

const PAUSE_MS = 2500;

/** @typedef {"saved" | "unsaved" | "saving" | "failed"} SavingState */

/** Keeps one study's text in step with the server. */
export class Saver {
  /**
   * @param {string} id
   * @param {{version: number, text: string}} base the newest version known
   * @param {import("./session.js").Session} session
   * @param {{state: (state: SavingState, words?: string) => void, saved: (version: any) => void,
   *   taken: (version: any) => void, signed: () => void}} on
   */
  constructor(id, base, session, on) {
    this.id = id;
    this.base = base;
    this.session = session;
    this.on = on;
    this.text = base.text;
    /** Who wrote what is not saved: under another name it is saved only if that person says so. */
    this.writer = session.name;
    this.timer = 0;
    /** @type {Promise<boolean> | null} */
    this.running = null;
    this.conflict = false;
    this.closed = false;
    this.ended = new AbortController();
    const listener = { signal: this.ended.signal };
    window.addEventListener("beforeunload", (event) => this.dirty && event.preventDefault(), listener);
    window.addEventListener("pagehide", () => this.send(), listener);
    document.addEventListener("visibilitychange", () => document.hidden && this.dirty && this.save(), listener);
    room.addEventListener("restored", () => this.dirty && this.save(), listener);
  }

  get dirty() {
    return this.text !== this.base.text;
  }

  /** @param {string} text as it stands now; saved once nobody types */
  change(text) {
    if (!this.dirty) this.writer = this.session.name;
    this.text = text;
    clearTimeout(this.timer);
    this.on.state(this.dirty ? "unsaved" : "saved");
    if (this.dirty) this.timer = window.setTimeout(() => this.save(), PAUSE_MS);
  }

  /**
   * Another version became the newest: on the server, or before anything was typed.
   * @param {{version: number, text: string}} base
   */
  rebase(base) {
    const clean = !this.dirty;
    this.base = base;
    if (clean) this.text = base.text;
  }

  /**
   * Saves what is unsaved.
   * @returns {Promise<boolean>} whether everything is saved
   */
  async save() {
    clearTimeout(this.timer);
    while (this.running) await this.running;
    if (!this.dirty) return true;
    if (this.conflict) return false;
    this.running = this.writer === this.session.name ? this.put() : this.askTakeOver();
    const done = await this.running;
    this.running = null;
    return done && (this.dirty ? this.save() : true);
  }

  /** What is sent of a text. @param {string} text */
  body(text) {
    return { text, based_on: this.base.version, author: this.session.needs_token ? this.writer : null };
  }

  async put() {
    const text = this.text;
    this.on.state("saving");
    try {
      const { version } = await json(studyPath(this.id, "report"), { method: "PUT", body: this.body(text) });
      this.base = { version: version.number, text };
      this.on.saved(version);
      this.on.state(this.dirty ? "unsaved" : "saved");
      if (this.closed && !this.dirty) this.ended.abort();
      return true;
    } catch (error) {
      this.on.state("failed", error.message.replace(/^text: /, "the text "));
      if (!(error instanceof ApiError)) return false;
      if (error.code === "other_author") {
        await refresh(this.session);
        return this.askTakeOver();
      }
      if (error.status === 409) return this.resolve(error);
      return false;
    }
  }

  /** The last try when the page goes away: sent without waiting. */
  send() {
    if (!this.dirty || this.conflict || this.writer !== this.session.name) return;
    json(studyPath(this.id, "report"), { method: "PUT", body: this.body(this.text), keepalive: true }).catch(() => {});
  }

  /**
   * Another person is signed in than the one who wrote: nothing is saved under a name that did not write it unasked.
   * @returns {Promise<boolean>}
   */
  async askTakeOver() {
    if (dialogIsOpen()) return false;
    this.conflict = true;
    try {
      const mine = await askWhoseName(this.writer, this.session.name, this.text);
      if (mine === null) return false;
      this.writer = this.session.name;
      if (mine) return this.put();
      this.text = this.base.text;
      this.on.taken(null);
      this.on.state("saved");
      return true;
    } finally {
      this.conflict = false;
    }
  }

  /** The view is left. What could not be saved is tried again once the server is back, and leaving the page still asks. */
  async close() {
    clearTimeout(this.timer);
    this.closed = true;
    if (await this.save()) this.ended.abort();
    else toast("The text of the study that you left is not saved yet. Keep this page open.");
  }

  /**
   * @param {ApiError} error
   * @returns {Promise<boolean>}
   */
  async resolve(error) {
    this.conflict = true;
    try {
      const { report: theirs, signature } = await json(studyPath(this.id));
      if (signature || !theirs) {
        await showUnsaved(error.message, this.text);
        this.base = { version: theirs?.number ?? this.base.version, text: this.text };
        this.on.signed();
        return true;
      }
      const mine = await askWhose(theirs, this.text);
      if (mine === null) {
        this.on.state("failed", `version ${theirs.number} by ${personName(theirs.author)} is newer; choose which text stands`);
        return false;
      }
      this.base = { version: theirs.number, text: theirs.text };
      if (!mine) {
        this.text = theirs.text;
        this.on.taken(theirs);
        this.on.state("saved");
      }
      return true;
    } finally {
      this.conflict = false;
    }
  }
}

/**
 * @param {string} writer
 * @param {string} name of who is signed in now
 * @param {string} text
 * @returns {Promise<boolean | null>} true: it is saved under that name; false: it is dropped; null: neither yet
 */
function askWhoseName(writer, name, text) {
  return new Promise((done) => {
    /** @type {boolean | null} */
    let answer = null;
    openDialog({
      title: `${personName(writer)} wrote this, and ${personName(name)} is signed in`,
      body: [
        el("p", {}, "The text is not saved. Whoever saves it stands as its author."),
        el("div", { class: "exact", tabindex: "0", role: "group", "aria-label": "Text that is not saved" }, text),
        el("p", { class: "muted" }, `Closing this keeps the text here, unsaved, for ${personName(writer)} to sign in again.`),
      ],
      actions: [
        { label: "Drop it", run: () => void (answer = false) },
        { label: `Save it as ${personName(name)}`, run: () => void (answer = true) },
        { label: "Keep it unsaved", primary: true },
      ],
      onClose: () => done(answer),
    }); // prettier-ignore
  });
}

/**
 * Opens while somebody types: focus is on the texts, not on a button that the next key would press, and Escape decides
 * nothing.
 * @param {any} theirs
 * @param {string} mine
 * @returns {Promise<boolean | null>} true: mine is to stand; false: it is dropped; null: neither yet
 */
function askWhose(theirs, mine) {
  return new Promise((done) => {
    /** @type {boolean | null} */
    let keep = null;
    openDialog({
      title: "Somebody else has saved a newer text",
      wide: true,
      body: [
        el("div", { class: "two", tabindex: "0", autofocus: true, role: "group", "aria-label": "Both texts" },
          el("div", {}, el("h2", {}, `Theirs: version ${theirs.number}, ${personName(theirs.author)}`), el("div", { class: "exact" }, theirs.text)),
          el("div", {}, el("h2", {}, "Yours, not saved yet"), el("div", { class: "exact" }, mine))),
        el("h2", {}, "From theirs to yours"),
        drawDiff(theirs.text, mine),
        el("p", { class: "muted" }, "If yours is saved it takes the place of theirs, which stays in the list of versions. If yours is dropped it is gone."),
      ],
      actions: [
        { label: "Take theirs, drop mine", run: () => void (keep = false) },
        { label: "Save mine in its place", run: () => void (keep = true) },
        { label: "Decide later", primary: true },
      ],
      onClose: () => done(keep),
    }); // prettier-ignore
  });
}

/**
 * @param {string} why
 * @param {string} text
 * @returns {Promise<void>}
 */
function showUnsaved(why, text) {
  return new Promise((done) => {
    openDialog({
      title: "Your text could not be saved",
      body: [el("p", {}, why), el("p", {}, "It stands here to be copied; it will be gone once this is closed."), el("div", { class: "exact" }, text)],
      actions: [{ label: "Close", primary: true }],
      onClose: () => done(undefined),
    });
  });
}
