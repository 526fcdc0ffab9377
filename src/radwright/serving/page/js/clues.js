/**
 * What the network was told of the images before it wrote, and a draft written with other clues.
 */
import { bar, el } from "./dom.js";
import { percent } from "./words.js";

/** How much a network heeds its clues. */
export const HEED = "A network may heed a clue or not: under each sentence stands what each clue does to it.";

/** @typedef {{on: string[], off: string[]}} Forced */
const CHOICES = /** @type {[string, string][]} */ ([["auto", "as seen"], ["on", "on"], ["off", "off"]]); // prettier-ignore

/**
 * @param {any} draft
 * @param {{name: string, title: string, threshold?: number | null}[]} diseases
 * @param {boolean} open whether another draft may be asked for
 * @param {(forced: Forced) => void} redraft
 */
export function drawClues(draft, diseases, open, redraft) {
  const told = draft?.clues ?? {};
  const before = draft?.forced ?? {};
  const first = Object.fromEntries(diseases.map(({ name }) => [name, name in before ? (before[name] ? "on" : "off") : "auto"]));
  const chosen = { ...first };
  const button = el("button", { type: "button", class: "primary", disabled: true }, "Write another draft with these clues");
  button.addEventListener("click", () => {
    const of = (/** @type {string} */ choice) => Object.keys(chosen).filter((name) => chosen[name] === choice);
    redraft({ on: of("on"), off: of("off") });
  });
  const changed = () => (button.disabled = !open || Object.keys(chosen).every((name) => chosen[name] === first[name]));
  const ticks = diseases.some(({ threshold }) => threshold !== null && threshold !== undefined);
  const rows = diseases.map(({ name, title, threshold }) => {
    const probability = told[name];
    const known = probability !== undefined && probability !== null;
    const choices = el(
      "fieldset",
      { disabled: !open },
      el("legend", { class: "unseen" }, title),
      CHOICES.map(([value, label]) => {
        const radio = el("input", { type: "radio", name: `clue-${name}`, value, checked: chosen[name] === value });
        radio.addEventListener("change", () => {
          chosen[name] = value;
          changed();
        });
        return el("label", {}, radio, label);
      }),
    );
    return el(
      "li",
      { class: "clue" },
      el("span", {}, title, el("span", { class: "told" }, tellingOf(name, probability, threshold, before))),
      known ? bar(probability, { threshold }) : el("span", {}),
      el("span", { class: "num" }, known ? percent(probability) : "\u2013"),
      choices,
    );
  });
  return el(
    "div",
    { class: "panel" },
    el("p", { class: "muted" }, "The network reads these clues before it writes. ", ticks && "The tick is the bar above which it is told of a disease. ", HEED),
    el("ul", {}, rows),
    button,
  );
}

/**
 * @param {string} name
 * @param {number | null | undefined} probability
 * @param {number | null | undefined} threshold
 * @param {Record<string, boolean>} forced
 */
function tellingOf(name, probability, threshold, forced) {
  if (name in forced) return forced[name] ? "told: you said so" : "not told: you said so";
  if (probability === undefined || probability === null) return "not told";
  return threshold === null || threshold === undefined || probability >= threshold ? "told" : "not told";
}
