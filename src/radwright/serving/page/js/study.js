/**
 * One study: loads it, follows its draft, keeps images, report and panels in step.
 */
import { json, room, studyPath } from "./api.js";
import { openAddendum } from "./addenda.js";
import { drawClues } from "./clues.js";
import { announce, el, fill, toast } from "./dom.js";
import { Drafting } from "./drafting.js";
import { drawFindings } from "./findings.js";
import { patientStrip } from "./patient_strip.js";
import { ReportView } from "./report.js";
import { Saver } from "./saving.js";
import { isUncertain } from "./sentences.js";
import { addShortcuts } from "./shortcuts.js";
import { studyKeys } from "./study_keys.js";
import { openExport, openSigning } from "./signing.js";
import { makeTabs } from "./tabs.js";
import { drawVersions } from "./versions.js";
import { Viewer } from "./viewer.js";
import { openWithdrawing } from "./withdrawing.js";
import { personName } from "./words.js";
import { order } from "./worklist.js";

const POLL_MS = 8000;

/**
 * Shows a study.
 * @param {HTMLElement} main
 * @param {string} id
 * @param {import("./main.js").Surroundings} surroundings
 * @returns {() => void} ends it
 */
export function openStudy(main, id, surroundings) {
  const page = new StudyPage(main, id, surroundings);
  page.start();
  return () => page.close();
}

/** What is known of the study, and the parts that show it. */
export class StudyPage {
  /**
   * @param {HTMLElement} main
   * @param {string} id
   * @param {import("./main.js").Surroundings} surroundings
   */
  constructor(main, id, surroundings) {
    this.main = main;
    this.id = id;
    this.surroundings = surroundings;
    this.data = /** @type {any} */ (null);
    this.drafting = new Drafting(this);
    this.removeShortcuts = () => {};
    /** Uncertain sentences of the draft that somebody has looked at here and lets stand. */
    this.accepted = /** @type {Set<number>} */ (new Set());
    this.ended = new AbortController();
    order.last = id;
  }

  async start() {
    fill(this.main, el("p", { class: "empty", role: "status" }, "Loading\u2026"));
    try {
      this.data = await this.fetch();
    } catch (error) {
      if (this.ended.signal.aborted) return;
      fill(this.main, el("div", { class: "empty" }, el("p", {}, error.message), el("a", { href: "#/" }, "Back to the worklist")));
      room.addEventListener("restored", () => this.start(), { signal: this.ended.signal, once: true });
      return;
    }
    if (this.ended.signal.aborted) return;
    this.build();
    this.drafting.start();
    const listener = { signal: this.ended.signal };
    const poll = setInterval(() => document.hidden || this.poll(), POLL_MS);
    this.ended.signal.addEventListener("abort", () => clearInterval(poll));
    room.addEventListener("restored", () => this.poll(), listener);
  }

  fetch() {
    return json(studyPath(this.id), { signal: this.ended.signal });
  }

  build() {
    const { images } = this.data;
    this.viewer = new Viewer(images);
    this.report = new ReportView(this);
    this.saver = new Saver(this.id, this.base(), this.surroundings.session, {
      state: (state, words) => this.report.showSaving(state, words),
      saved: (version) => this.report.showVersion(version),
      taken: () => this.leaveEditor(),
      signed: () => this.leaveEditor(),
    });
    this.strip = el("div");
    this.side = el("div", { class: "side-scroll" });
    this.actions = el("div", { class: "actions" });
    const side = el("aside", { class: "side", "aria-label": "Report and findings" }, this.report.head, this.side, this.actions);
    fill(this.main, el("div", { class: "study" }, this.strip, el("div", { class: "work" }, this.viewer.node, side)));
    this.panels = { findings: el("div"), clues: el("div"), versions: el("div") };
    const tabs = [
      { name: "findings", label: "Findings", panel: this.panels.findings },
      this.surroundings.model.told_clues && { name: "clues", label: "Clues", panel: this.panels.clues },
      { name: "versions", label: "Versions", panel: this.panels.versions },
    ].filter(Boolean);
    this.tabs = makeTabs(/** @type {any} */ (tabs));
    fill(this.side, this.report.node, this.tabs.node);
    this.addKeys();
    this.draw();
    document.title = "Study \u00b7 reading room"; // no name: browsers keep titles
    announce("Study opened.");
  }

  base() {
    const { report } = this.data;
    return { version: report?.number ?? 0, text: report?.text ?? "" };
  }

  get writing() {
    return this.drafting.writing;
  }

  /** Id of the next study of the worklist, as it was last shown; empty where there is none. */
  next() {
    return order.ids[order.ids.indexOf(this.id) + 1] ?? ""; // of one that is not in it, as after an upload: the first
  }

  draw() {
    const { study, images, notes, draft, versions } = this.data;
    const open = this.mayEdit();
    fill(this.strip, patientStrip(study, notes ?? [], images.some((/** @type {any} */ image) => image.burned_in), this.next()));
    this.report.draw();
    fill(this.panels.findings, drawFindings(draft, this.surroundings.titles, (sentence) => this.goTo(sentence), this.data.study.findings ?? []));
    fill(this.panels.clues, drawClues(draft, this.surroundings.model.diseases, open && !this.writing && draft !== null, (forced) => this.drafting.redraft(forced)));
    fill(this.panels.versions, drawVersions(this.id, versions, open, (text) => this.replaceText(text)));
    this.drawActions();
  }

  drawActions() {
    const { signature, report, study } = this.data;
    const role = this.surroundings.session.role;
    const button = (/** @type {string} */ label, /** @type {string} */ key, /** @type {() => void} */ run, /** @type {any} */ props = {}) =>
      el("button", { type: "button", ...props, on: { click: run } }, `${label} `, el("kbd", {}, key));
    const withdrawn = study.state === "withdrawn" && "The study was withdrawn.";
    const whyNot = withdrawn || role === "reader" ? withdrawn || "Only a radiologist signs." : !report ? "There is no text to sign." : null;
    const editing = this.report.editor !== null;
    fill(
      this.actions,
      editing && button("Done", "Esc", () => this.report.endEditing()),
      !signature && !editing && button("Edit", "e", () => this.report.edit(), { disabled: !this.mayEdit() }),
      !signature && button("Sign", "s", () => this.sign(), { class: "primary", disabled: whyNot !== null, title: whyNot }),
      !editing && !signature && study.state !== "withdrawn" && el("button", { type: "button", class: "quiet", disabled: role === "reader", on: { click: () => this.withdraw() } }, "Withdraw\u2026"),
      signature && button("Addendum", "a", () => this.add(), { disabled: role === "reader" }),
      study.state !== "withdrawn" && button("Export", "o", () => this.export(), { disabled: !report }),
      signature && this.next() && el("a", { class: "button primary", href: `#/study/${this.next()}` }, "Next study ", el("kbd", {}, "n")),
    );
  }

  mayEdit() {
    const { signature, study } = this.data;
    return !signature && this.surroundings.session.role !== "reader" && !["receiving", "withdrawn"].includes(study.state);
  }

  /** Brings in what changed; an editor that is open keeps its text. */
  async reload() {
    const images = JSON.stringify(this.data.images);
    this.data = await this.fetch();
    // Under an open editor only a draft may become the base: what another person saved meanwhile is a conflict to be seen.
    if (this.report.editor === null || this.data.report?.kind === "draft") this.saver.rebase(this.base());
    if (images !== JSON.stringify(this.data.images)) this.replaceViewer();
    this.draw();
  }

  /** Images that came while the draft is awaited. */
  async bringImages() {
    const now = await this.fetch();
    const changed = JSON.stringify(now.images) !== JSON.stringify(this.data.images);
    Object.assign(this.data, { study: now.study, images: now.images, notes: now.notes });
    if (changed) this.replaceViewer();
    this.draw();
  }

  replaceViewer() {
    const before = this.viewer;
    this.viewer = new Viewer(this.data.images);
    before.node.replaceWith(this.viewer.node);
    before.close();
    this.addKeys();
  }

  async poll() {
    if (this.writing) await this.bringImages().catch(() => {});
    if (this.writing || this.report.editor !== null || this.saver.dirty) return;
    try {
      const now = await this.fetch();
      if (this.writing || this.report.editor !== null || this.ended.signal.aborted) return;
      const key = (/** @type {any} */ data) => JSON.stringify([data.study.state, data.report?.number, data.addenda.length, data.drafting, data.draft?.number, data.images.length, data.notes]);
      if (key(now) === key(this.data)) return;
      if (now.report && now.report.number !== this.data.report?.number) toast(`Version ${now.report.number} by ${personName(now.report.author)} is there.`);
      await this.reload();
      this.drafting.start();
    } catch {
      // The banner says that the connection is lost; the next turn asks again.
    }
  }

  /** Makes a text the newest version. @param {string} text */
  async replaceText(text) {
    this.saver.change(text);
    if (await this.saver.save()) await this.leaveEditor();
  }

  async leaveEditor() {
    this.report.editor = null;
    this.report.saved.textContent = "";
    await this.reload();
  }

  /** @param {number} sentence of the draft */
  goTo(sentence) {
    if (!this.report.list?.focusSource(sentence)) announce("That sentence is no longer in the report.");
  }

  async sign() {
    if (!this.mayEdit()) return;
    if (this.report.editor !== null) await this.report.endEditing();
    if (this.report.editor !== null || !(await this.saver.save())) {
      toast("The text is not saved yet, so it cannot be signed.");
      return;
    }
    await this.reload();
    if (!this.data.report || this.data.signature) return;
    const left = this.report.list?.sentences ?? [];
    openSigning({
      id: this.id,
      study: this.data.study,
      report: this.data.report,
      notes: this.data.notes ?? [],
      uncertain: left.filter(({ source }) => source !== null && isUncertain(this.data.draft, source) && !this.accepted.has(source)).length,
      session: this.surroundings.session,
      signed: () => this.showSigned(),
    });
  }

  add() {
    const { signature, report, addenda } = this.data;
    const { session } = this.surroundings;
    if (signature && session.role !== "reader") openAddendum({ id: this.id, report, addenda, session, added: () => this.reload() });
  }

  withdraw() {
    const { signature, study } = this.data;
    if (signature || study.state === "withdrawn" || this.surroundings.session.role === "reader") return;
    openWithdrawing({ id: this.id, study, done: () => this.reload() });
  }

  async showSigned() {
    await this.reload();
    /** @type {HTMLElement | null} */ (this.report.body.querySelector(".signed-text"))?.focus();
  }

  export() {
    if (this.data.report) openExport(this.id, Boolean(this.data.signature), this.surroundings.model.label);
  }

  addKeys() {
    this.removeShortcuts();
    this.removeShortcuts = addShortcuts([...this.viewer.shortcuts(), ...studyKeys(this)]);
  }

  turnTabs() {
    const names = ["findings", "clues", "versions"].filter((name) => name !== "clues" || this.surroundings.model.told_clues);
    const name = names[(names.indexOf(this.tabs.chosen()) + 1) % names.length];
    this.tabs.choose(name);
    document.getElementById(`tab-${name}`).focus();
  }

  close() {
    this.drafting.stop();
    this.removeShortcuts();
    this.saver?.close();
    this.viewer?.close();
    this.ended.abort();
  }
}
