/**
 * Whose study it is, in one line over the images.
 */
import { el } from "./dom.js";
import { ageAt, dicomDate, personName, STATE_WORDS, studyName } from "./words.js";

const SEXES = { F: "female", M: "male", O: "other" };

/**
 * @param {any} study
 * @param {string[]} notes what the server remarks on it
 * @param {boolean} burnedIn whether text is written into an image's pixels
 * @param {string} next id of the next study of the worklist, or empty
 */
export function patientStrip(study, notes, burnedIn, next) {
  const age = ageAt(study.birth_date, study.study_date);
  const facts = [
    ["Born", [dicomDate(study.birth_date), age !== null && `(${age} y)`].filter(Boolean).join(" ")],
    ["Sex", SEXES[study.sex] ?? study.sex],
    ["Id", study.patient_id],
    ["Accession", study.accession],
    ["Taken", dicomDate(study.study_date)],
    ["Study", study.description],
    ["Referred by", personName(study.referring_physician)],
  ].filter(([, value]) => value);
  const remarks = [...notes];
  if (burnedIn && !notes.some((note) => note.includes("burned") || note.includes("written into"))) remarks.push("Text is written into the pixels of an image; it may name a patient.");
  return el(
    "div",
    { class: "patient-strip" },
    el("a", { href: "#/", class: "button back", title: "Back to the worklist (w)" }, "\u2190 Worklist"),
    el(
      "div",
      { class: "who-and-what" },
      el("h1", {}, studyName(study)),
      el("span", { class: `badge state-${study.state}` }, STATE_WORDS[study.state] ?? study.state),
      el("dl", {}, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    ),
    next && el("a", { class: "next", href: `#/study/${next}`, title: "Next study of the worklist (n)" }, "Next study"),
    study.indication && el("p", { class: "asked" }, el("span", { class: "muted" }, "Indication: "), study.indication),
    remarks.map((note) => el("p", { class: "notice" }, note)),
  );
}
