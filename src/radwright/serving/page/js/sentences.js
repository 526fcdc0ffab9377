/**
 * A report read sentence by sentence: each one can be focused, shows what it rests on, and says whose it is.
 */
import { el, fill } from "./dom.js";
import { drawBasis } from "./evidence.js";
import { sentencesOf } from "./words.js";

const PAUSE_MS = 140;

/**
 * Pairs the sentences of a report with those of its draft, by their words and in order.
 * @param {string} report
 * @param {any} draft or null
 * @returns {{text: string, source: number | null}[]} source: place in the draft; null of a person's own sentence
 */
export function matchSentences(report, draft) {
  const drafted = draft?.sentences ?? [];
  const plain = (/** @type {string} */ text) => text.replace(/\s+/g, " ").trim();
  if (draft && plain(report) === plain(draft.text)) return drafted.map((/** @type {any} */ sentence, /** @type {number} */ source) => ({ text: sentence.text, source }));
  const free = new Set(drafted.keys());
  return sentencesOf(report).map((text) => {
    const source = [...free].find((place) => plain(drafted[place].text) === plain(text));
    if (source === undefined) return { text, source: null };
    free.delete(source);
    return { text, source };
  });
}

/** The list of sentences. */
export class SentenceList {
  /**
   * @param {{report: string, draft: any, accepted: Set<number>, shelf: import("./evidence.js").EvidenceShelf | null,
   *   viewer: import("./viewer.js").Viewer, chosen: (source: number | null) => void}} options
   */
  constructor({ report, draft, accepted, shelf, viewer, chosen }) {
    this.draft = draft;
    this.accepted = accepted;
    this.shelf = shelf;
    this.viewer = viewer;
    this.chosen = chosen;
    this.sentences = matchSentences(report, draft);
    this.current = -1;
    this.timer = 0;
    this.buttons = this.sentences.map((sentence, place) => this.makeButton(sentence, place));
    this.bases = this.buttons.map((_, place) => el("div", { class: "basis", id: `basis-${place}`, hidden: true }));
    this.node = el("ol", { class: "sentences", "aria-label": "Report, sentence by sentence" }, this.buttons.map((button, place) => el("li", {}, button, this.bases[place])));
  }

  /**
   * @param {{text: string, source: number | null}} sentence
   * @param {number} place
   */
  makeButton(sentence, place) {
    const uncertain = sentence.source !== null && isUncertain(this.draft, sentence.source);
    const accepted = uncertain && this.accepted.has(sentence.source);
    const button = el(
      "button",
      { type: "button", class: ["sentence", uncertain && !accepted && "uncertain"], "aria-describedby": `basis-${place}` },
      sentence.text,
      uncertain && el("span", { class: ["flag", accepted && "person"] }, accepted ? "accepted" : ["uncertain: check ", el("kbd", {}, "y")]),
      sentence.source === null && this.draft && el("span", { class: "flag person" }, "edited"),
    );
    button.addEventListener("focus", () => this.choose(place));
    button.addEventListener("click", () => this.choose(place));
    return button;
  }

  /** @param {number} step */
  move(step) {
    if (this.buttons.length === 0) return;
    const next = this.current < 0 ? (step > 0 ? 0 : this.buttons.length - 1) : this.current + step;
    this.focus(Math.min(this.buttons.length - 1, Math.max(0, next)));
  }

  /** @param {number} place */
  focus(place) {
    this.buttons[place]?.focus({ preventScroll: true });
    this.buttons[place]?.closest("li").scrollIntoView({ block: "nearest" });
  }

  /** @param {number} source place in the draft */
  focusSource(source) {
    const place = this.sentences.findIndex((sentence) => sentence.source === source);
    if (place >= 0) this.focus(place);
    return place >= 0;
  }

  /**
   * Lets the chosen uncertain sentence stand, or takes that back, and goes on to the next one.
   * @returns {boolean} whether there was one
   */
  accept() {
    const source = this.sentences[this.current]?.source ?? null;
    if (source === null || !isUncertain(this.draft, source)) return false;
    if (!this.accepted.delete(source)) this.accepted.add(source);
    const button = this.makeButton(this.sentences[this.current], this.current);
    button.setAttribute("aria-current", "true");
    this.buttons[this.current].replaceWith(button);
    this.buttons[this.current] = button;
    const next = this.sentences.findIndex((sentence) => sentence.source !== null && isUncertain(this.draft, sentence.source) && !this.accepted.has(sentence.source));
    this.focus(this.accepted.has(source) && next >= 0 ? next : this.current);
    return true;
  }

  /** Where the chosen sentence begins in the report's text. @param {string} text */
  startOf(text) {
    let at = 0;
    for (let place = 0; place <= this.current; place += 1) {
      const found = text.indexOf(this.sentences[place].text, at);
      if (found < 0) return at;
      if (place === this.current) return found;
      at = found + this.sentences[place].text.length;
    }
    return text.length;
  }

  /** @param {number} place */
  choose(place) {
    if (place === this.current) return;
    this.current = place;
    this.buttons.forEach((button, other) => {
      if (other === place) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      this.bases[other].hidden = other !== place;
    });
    const { source } = this.sentences[place];
    this.chosen(source);
    clearTimeout(this.timer);
    this.viewer.show(null);
    if (source === null || this.shelf === null) {
      this.viewer.legend.say("A person wrote this sentence: there is no evidence of the network\u2019s.");
      fill(this.bases[place], this.draft && el("p", {}, "Not in the draft. A person wrote it."));
      return;
    }
    this.wait(place, "Finding what it rests on\u2026");
    // Whoever runs through the sentences asks for the one where they stop.
    if (this.shelf.asked.has(source)) this.load(place, source);
    else this.timer = window.setTimeout(() => this.load(place, source), PAUSE_MS);
  }

  /**
   * @param {number} place
   * @param {string} words
   */
  wait(place, words) {
    if (place !== this.current) return;
    this.viewer.legend.say(words);
    fill(this.bases[place], el("p", {}, words));
  }

  /**
   * @param {number} place
   * @param {number} source
   */
  async load(place, source) {
    try {
      const evidence = await this.shelf.of(source, (words) => this.wait(place, words));
      if (place !== this.current || !this.node.isConnected) return;
      fill(this.bases[place], drawBasis(evidence, this.viewer.images));
      this.viewer.show(evidence);
    } catch (error) {
      this.wait(place, error.message);
      if (place === this.current) this.current = -1; // the next focus asks again
    }
  }
}

/**
 * Whether the calibrated bar marks what a sentence asserts.
 * @param {any} draft
 * @param {number} source
 */
export function isUncertain(draft, source) {
  return draft?.sentences[source]?.kept === false;
}
