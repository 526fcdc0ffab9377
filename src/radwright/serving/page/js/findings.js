/**
 * What the draft asserts, with the probability that it is right where the checkpoint is calibrated.
 */
import { bar, el } from "./dom.js";
import { percent } from "./words.js";

const CALIBRATED = "How often a finding so asserted was right, on the studies that calibrated the model. Read by rules out of the draft.";
const UNCALIBRATED = "This model is not calibrated: how likely a finding is right is not known. Read by rules out of the draft.";

/**
 * @param {any} draft
 * @param {Map<string, string>} titles
 * @param {(sentence: number) => void} choose goes to a sentence of the draft
 */
export function drawFindings(draft, titles, choose) {
  const findings = draft?.findings ?? [];
  if (!draft) return el("p", { class: "muted" }, "There is no draft.");
  if (findings.length === 0) return el("p", { class: "muted" }, "The draft asserts no finding.");
  const calibrated = findings.some((/** @type {any} */ finding) => finding.probability !== null && finding.probability !== undefined);
  const rows = findings.map((/** @type {any} */ finding) => {
    const known = finding.probability !== null && finding.probability !== undefined;
    return el(
      "li",
      {},
      el(
        "button",
        { type: "button", class: "finding-row", on: { click: () => choose(finding.sentence) } },
        el("span", {}, titles.get(finding.finding) ?? finding.finding),
        known ? bar(finding.probability, { check: !finding.kept }) : el("span"),
        el("span", { class: "num" }, known ? percent(finding.probability) : "\u2013"),
        !finding.kept && el("span", { class: "flag" }, "uncertain: check"),
      ),
    );
  });
  return el(
    "div",
    {},
    el("ul", { class: "finding-rows" }, rows),
    el("p", { class: "muted" }, calibrated ? CALIBRATED : UNCALIBRATED),
  );
}
