/**
 * How values read: names, dates, shares, what a log-probability means. Pure functions.
 */

/** State -> what the page calls it. */
export const STATE_WORDS = {
  receiving: "Receiving",
  waiting: "Waiting",
  drafted: "Drafted",
  failed: "Failed",
  signed: "Signed",
  withdrawn: "Withdrawn",
};

/**
 * A DICOM person name (family^given^middle^prefix^suffix, in up to three scripts) as a person reads it.
 * @param {string} name
 */
export function personName(name) {
  const [alphabetic = "", ...others] = (name || "").split("=").map((group) => {
    const [family = "", given = "", middle = ""] = group.split("^").map((part) => part.trim());
    const rest = [given, middle].filter(Boolean).join(" ");
    return [family, rest].filter(Boolean).join(", ");
  });
  const written = others.filter(Boolean).map((group) => group.replace(", ", " "));
  if (alphabetic === "") return written.join(" ");
  return written.length > 0 ? `${alphabetic} (${written.join(", ")})` : alphabetic;
}

/**
 * YYYYMMDD as YYYY-MM-DD; anything else as it is.
 * @param {string} date
 */
export function dicomDate(date) {
  return /^\d{8}$/.test(date || "") ? `${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6)}` : date || "";
}

/**
 * Whole years from a birth date to a study's date, both YYYYMMDD; null where they do not say.
 * @param {string} birth
 * @param {string} study
 */
export function ageAt(birth, study) {
  if (!/^\d{8}$/.test(birth || "") || !/^\d{8}$/.test(study || "")) return null;
  const years = Number(study.slice(0, 4)) - Number(birth.slice(0, 4)) - (study.slice(4) < birth.slice(4) ? 1 : 0);
  return years >= 0 ? years : null;
}

/**
 * A time of the server, in the reader's zone: the hour today, else the day too.
 * @param {string} iso
 * @param {Date} [now]
 */
export function localTime(iso, now = new Date()) {
  const when = new Date(iso);
  if (Number.isNaN(when.getTime())) return iso || "";
  const hour = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  if (when.toDateString() === now.toDateString()) return `today ${hour}`;
  const two = (number) => String(number).padStart(2, "0");
  return `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())} ${hour}`;
}

/**
 * A share as whole percent; the ends only where they are meant.
 * @param {number} share
 */
export function percent(share) {
  if (share > 0 && share < 0.005) return "<1 %";
  if (share < 1 && share > 0.995) return ">99 %";
  return `${Math.round(100 * share)} %`;
}

/**
 * A signed number with a true minus.
 * @param {number} value
 * @param {number} [digits]
 */
export function signed(value, digits = 2) {
  return (value > 0 ? "+" : "") + value.toFixed(digits).replace("-", "\u2212");
}

/**
 * How the network rated its own wording. It says nothing of whether the sentence is right.
 * @param {number} logProb natural log of a sentence's probability
 */
export function wordingOf(logProb) {
  if (logProb > -0.1) return "almost the only wording the model considered";
  if (logProb > Math.log(0.5)) return "likelier to the model than all other wordings together";
  if (logProb > -4) return "a usual wording for the model";
  if (logProb > -10) return "one of several wordings the model considered";
  return "an unusual wording for the model";
}

/**
 * What to call a study: the patient, else what else is known of it.
 * @param {{id: string, patient_name: string, patient_id: string, accession: string}} study
 */
export function studyName(study) {
  return personName(study.patient_name) || study.patient_id || study.accession || `Study ${study.id.slice(0, 6)}`;
}

/**
 * What to call an image: its view, or its number where nobody knows the view.
 * @param {{position: string, place: number} | undefined} image
 */
export function viewName(image) {
  if (image === undefined) return "";
  return image.position === "unknown" ? `view ${image.place + 1}` : `${image.position} view`;
}

/**
 * Bytes as a person reads them.
 * @param {number} bytes
 */
export function fileSize(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/**
 * Sentences of a report: cut behind . ! or ? before white space, and at line ends; decimals stay whole.
 * @param {string} text
 * @returns {string[]}
 */
export function sentencesOf(text) {
  return text
    .split(/\n+/)
    .flatMap((line) => line.match(/.*?[.!?]+(?=\s|$)|.+$/g) ?? [])
    .map((sentence) => sentence.trim())
    .filter(Boolean);
}
