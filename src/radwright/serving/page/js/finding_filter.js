/**
 * The worklist's filter by finding: what reports here assert first, with how many do, then all others.
 */
import { json } from "./api.js";
import { el, fill } from "./dom.js";

/**
 * @param {string} chosen a finding, or empty for any
 * @param {(finding: string) => void} changed
 * @returns {HTMLSelectElement}
 */
export function findingFilter(chosen, changed) {
  const select = el("select", { id: "finding" });
  // Kept apart from the element, which forgets a finding while it has no option for it: the list would stay filtered
  // while "any" is shown.
  let wanted = chosen;
  const draw = (/** @type {{finding: string, title: string, num_studies: number}[]} */ findings) => {
    const here = findings.filter(({ num_studies }) => num_studies > 0).sort((one, other) => other.num_studies - one.num_studies);
    const others = findings.filter(({ num_studies }) => num_studies === 0);
    fill(
      select,
      el("option", { value: "" }, "any"),
      here.length > 0 && el("optgroup", { label: "In reports here" }, here.map(({ finding, title, num_studies }) => el("option", { value: finding }, `${title} (${num_studies})`))),
      others.length > 0 && el("optgroup", { label: "In no report here" }, others.map(({ finding, title }) => el("option", { value: finding }, title))),
    ); // prettier-ignore
    if (wanted !== "" && !findings.some(({ finding }) => finding === wanted)) select.append(el("option", { value: wanted }, wanted.replaceAll("_", " ")));
    select.value = wanted;
  };
  const look = () => json("/v1/findings").then(({ findings }) => draw(findings)).catch(() => {}); // prettier-ignore
  draw([]);
  look();
  // Looked up again whenever somebody reaches for it: studies come and go while the list is open.
  select.addEventListener("pointerenter", look);
  select.addEventListener("focus", look);
  select.addEventListener("change", () => {
    wanted = select.value;
    changed(wanted);
  });
  return select;
}
