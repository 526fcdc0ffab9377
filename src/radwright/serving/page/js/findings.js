/**
 * What draft and report assert, which of it only one of them, and how likely it is right where the checkpoint is calibrated.
 */
import { bar, el } from "./dom.js";
import { percent } from "./words.js";

const CALIBRATED = "How often a finding so asserted was right, on the studies that calibrated the model. Read by rules out of draft and report.";
const UNCALIBRATED = "This model is not calibrated: how likely a finding is right is not known. Read by rules out of draft and report.";

/**
 * @param {any} draft
 * @param {Map<string, string>} titles
 * @param {(sentence: number) => void} choose goes to a sentence of the draft
 * @param {{finding: string, title: string}[]} asserted by the report as it is now
 */
export function drawFindings(draft, titles, choose, asserted) {
  const findings = draft?.findings ?? [];
  const inDraft = new Set(findings.map((/** @type {any} */ finding) => finding.finding));
  const inReport = new Set(asserted.map((finding) => finding.finding));
  const written = asserted.filter((finding) => !inDraft.has(finding.finding));
  if (!draft && written.length === 0) return el("p", { class: "muted" }, "There is no draft.");
  if (findings.length + written.length === 0) return el("p", { class: "muted" }, "Draft and report assert no finding.");
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
        !inReport.has(finding.finding) && el("span", { class: "flag only-draft" }, "in the draft only, not in the report"),
      ),
    );
  });
  for (const finding of written) {
    const title = titles.get(finding.finding) ?? finding.finding;
    rows.push(el("li", {}, el("div", { class: "finding-row" }, el("span", {}, title), el("span"), el("span", { class: "num" }, "\u2013"), el("span", { class: "flag only-draft" }, "in the report, not in the draft"))));
  }
  return el(
    "div",
    {},
    el("ul", { class: "finding-rows" }, rows),
    el("p", { class: "muted" }, calibrated ? CALIBRATED : UNCALIBRATED),
  );
}
