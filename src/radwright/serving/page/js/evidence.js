/**
 * What a sentence rests on: asked for once, kept, and told in words under the sentence.
 */
import { json, studyPath } from "./api.js";
import { el } from "./dom.js";
import { LEAST_TOP, peakOf } from "./overlay.js";
import { percent, signed, viewName, wordingOf } from "./words.js";

const MOST_EFFECTS = 4;
const LEAST_EFFECT = 0.05;
const MOST_TRIES = 30;

/** Evidence of one draft, sentence by sentence, as it is asked for. */
export class EvidenceShelf {
  /**
   * @param {string} id
   * @param {number} draft
   */
  constructor(id, draft) {
    this.id = id;
    this.draft = draft;
    /** @type {Map<number, Promise<any>>} */
    this.asked = new Map();
  }

  /**
   * @param {number} sentence
   * @param {(words: string) => void} onWait
   * @returns {Promise<any>}
   */
  of(sentence, onWait) {
    let answer = this.asked.get(sentence);
    if (answer === undefined) {
      answer = this.ask(sentence, onWait);
      answer.catch(() => this.asked.delete(sentence));
      this.asked.set(sentence, answer);
    }
    return answer;
  }

  /**
   * Asks until it is there: a network without a GPU may take minutes for the first sentence of a draft.
   * @param {number} sentence
   * @param {(words: string) => void} onWait
   */
  async ask(sentence, onWait) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await json(studyPath(this.id, "evidence", this.draft, sentence), { again: false });
      } catch (error) {
        if (error.status !== 503 || !error.retryAfter || tries === MOST_TRIES) throw error;
        onWait(`The network is still looking for it; asking again in ${error.retryAfter} s.`);
        await sleep(error.retryAfter);
      }
    }
  }
}

/** @param {number} seconds */
const sleep = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

/**
 * Where it stands in the images, how sure the network was of its words, and what its clues did to them.
 * @param {any} evidence
 * @param {any[]} images
 */
export function drawBasis(evidence, images) {
  const logProb = evidence.log_prob;
  const wording =
    logProb === null || logProb === undefined
      ? null
      : [el("dt", {}, "Wording"), el("dd", {}, el("span", { title: `Log-probability ${signed(logProb)}. It says nothing of whether the sentence is right.` }, wordingOf(logProb)))];
  const rests = [el("dt", {}, "Images"), el("dd", {}, imageWords(evidence.maps?.occlusion ?? [], images))];
  return [el("dl", { class: "why" }, rests, wording), drawEffects(evidence.clues ?? [])];
}

/**
 * The peak of the map in words.
 * @param {import("./overlay.js").EvidenceMap[]} maps
 * @param {any[]} images
 */
function imageWords(maps, images) {
  const peak = peakOf(maps);
  if (peak === null || peak.value < LEAST_TOP.occlusion) return "no region matters much to this sentence";
  const view = viewName(images.find((image) => image.place === peak.place));
  return [`rests most on the marked place, ${view}`, el("span", { class: "muted num", title: `Hiding it costs ${peak.value.toFixed(2)} nats` }, ` (hiding it makes the sentence ${times(peak.value)} less likely)`)];
}

/**
 * A change of log-probability as a factor.
 * @param {number} nats not negative
 */
function times(nats) {
  const factor = Math.exp(nats);
  return factor > 1000 ? "over 1000 times" : `${factor.toFixed(factor < 10 ? 1 : 0)} times`;
}

/** @param {any[]} clues */
function drawEffects(clues) {
  const shown = clues
    .filter((clue) => Math.abs(clue.effect) >= LEAST_EFFECT)
    .sort((one, other) => Math.abs(other.effect) - Math.abs(one.effect))
    .slice(0, MOST_EFFECTS);
  if (clues.length === 0) return null;
  if (shown.length === 0) return el("p", {}, "No clue changes this sentence.");
  return el("ul", { class: "effects", "aria-label": "What clues do to this sentence" }, shown.map(drawEffect));
}

/** @param {any} clue */
function drawEffect(clue) {
  const way = clue.effect > 0 ? "makes it likelier" : "makes it less likely";
  const other = clue.told ? clue.redone_off : clue.redone_on;
  const condition = clue.told ? "Without it" : "With it";
  return el(
    "li",
    {},
    el("strong", {}, clue.title ?? clue.disease),
    ` (${clue.told ? "told" : "not told"}${clue.probability === null || clue.probability === undefined ? "" : `, ${percent(clue.probability)}`}) `,
    el("span", { class: "num", title: `${signed(clue.effect)} nats` }, `${way}, ${times(Math.abs(clue.effect))}`),
    other !== null && other !== undefined && el("span", { class: "redone" }, `${condition}: `, other === "" ? "nothing would stand here." : other),
  );
}
