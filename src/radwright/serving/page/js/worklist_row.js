/**
 * One row of the worklist.
 */
import { bar, el, fill } from "./dom.js";
import { dicomDate, localTime, percent, personName, STATE_WORDS, studyName } from "./words.js";

const MOST_CHIPS = 4;

/**
 * Writes a study's row; the picture stays where it is already shown, so that it does not flicker.
 * @param {HTMLTableRowElement} row
 * @param {any} study a StudyRow of the server
 * @param {Map<string, string>} titles
 */
export function studyRow(row, study, titles) {
  const picture = row.querySelector("img") ?? el("img", { alt: "", width: 64, height: 64, loading: "lazy", decoding: "async" });
  if (study.num_images > 0 && picture.getAttribute("src") !== study.thumbnail) picture.src = study.thumbnail;
  fill(
    row,
    el("td", { class: "thumb" }, study.num_images > 0 ? picture : null),
    el(
      "td",
      { class: "patient" },
      el("a", { href: `#/study/${study.id}` }, studyName(study)),
      el("p", {}, [study.patient_id, study.accession].filter(Boolean).join(" \u00b7 ")),
    ),
    el(
      "td",
      { class: "about" },
      el("p", {}, study.description || "Radiograph", el("span", { class: "muted" }, ` \u00b7 ${views(study.num_images)}`)),
      study.indication && el("p", { class: "asked" }, study.indication),
    ),
    el("td", {}, findings(study, titles)),
    el("td", { class: "risk" }, study.risk === null ? el("span", { class: "muted" }, "\u2013") : [el("span", { class: "num" }, percent(study.risk)), bar(study.risk, { check: study.risk > 0.5 })]),
    el("td", { class: "when" }, localTime(study.received_at), el("p", { class: "muted taken" }, dicomDate(study.study_date) && `taken ${dicomDate(study.study_date)}`)),
    el(
      "td",
      { class: "state" },
      el("span", { class: `badge state-${study.state}` }, STATE_WORDS[study.state] ?? study.state),
      ["failed", "withdrawn"].includes(study.state) && study.reason && el("p", {}, study.reason),
      study.state === "signed" && study.signed_by && el("p", {}, personName(study.signed_by)),
    ),
  );
}

/** @param {number} number */
function views(number) {
  return number === 1 ? "1 view" : `${number} views`;
}

/**
 * @param {any} study
 * @param {Map<string, string>} titles
 */
function findings(study, titles) {
  const list = study.findings ?? [];
  if (list.length === 0) {
    return el("span", { class: "muted" }, study.state === "drafted" || study.state === "signed" ? "none asserted" : "\u2013");
  }
  const chips = list.slice(0, MOST_CHIPS).map((/** @type {any} */ finding) =>
    el(
      "span",
      { class: "chip" },
      finding.title || titles.get(finding.finding) || finding.finding,
      finding.probability !== null && finding.probability !== undefined && el("span", { class: "num" }, percent(finding.probability)),
    ),
  );
  if (list.length > MOST_CHIPS) chips.push(el("span", { class: "chip" }, `${list.length - MOST_CHIPS} more`));
  return el("div", { class: "chips" }, chips);
}
