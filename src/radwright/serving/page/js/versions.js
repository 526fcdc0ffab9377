/**
 * Every state that a report was in: whose, when, and what it changed.
 */
import { json, studyPath } from "./api.js";
import { drawDiff } from "./diff.js";
import { el, fill } from "./dom.js";
import { localTime, personName } from "./words.js";

const KINDS = { draft: "AI draft", edit: "Edit", addendum: "Addendum" };
const PAUSE_MS = 15 * 60 * 1000;
let everySave = false;

/**
 * Saves of one person in one go as one entry, the last of them; newest first.
 * @param {any[]} versions
 */
export function grouped(versions) {
  const sorted = [...versions].sort((one, other) => one.number - other.number);
  /** @type {{version: any, saves: number, based_on: number}[]} */
  const groups = [];
  for (const version of sorted) {
    const last = groups[groups.length - 1];
    const goesOn =
      last !== undefined &&
      version.kind === "edit" &&
      last.version.kind === "edit" &&
      last.version.author === version.author &&
      version.based_on === last.version.number &&
      Date.parse(version.created_at) - Date.parse(last.version.created_at) < PAUSE_MS;
    if (goesOn) Object.assign(last, { version, saves: last.saves + 1 });
    else groups.push({ version, saves: 1, based_on: version.based_on });
  }
  return groups.reverse();
}

/**
 * @param {string} id
 * @param {any[]} listed versions without their texts
 * @param {boolean} open whether one may be taken up again
 * @param {(text: string) => void} restore
 */
export function drawVersions(id, listed, open, restore) {
  if (listed.length === 0) return el("p", { class: "muted" }, "No version yet.");
  /** @type {Promise<Map<number, any>> | null} */
  let texts = null;
  const load = () => (texts ??= json(studyPath(id, "versions")).then(({ versions }) => new Map(versions.map((/** @type {any} */ version) => [version.number, version]))));
  const newest = Math.max(...listed.map((version) => version.number));
  const groups = grouped(listed);
  const hidesSome = groups.length < listed.length;
  const single = [...listed].sort((one, other) => other.number - one.number);
  const entries = everySave ? single.map((version) => ({ version, saves: 1, based_on: version.based_on })) : groups;
  const rows = entries.map(({ version, saves, based_on }) => {
    const body = el("div", { class: "version-body", hidden: true });
    const row = el(
      "button",
      { type: "button", class: "version-row", "aria-expanded": "false" },
      el("span", { class: "num muted" }, version.number),
      el("span", {}, `${KINDS[version.kind] ?? version.kind}, ${personName(version.author)}`, saves > 1 && el("span", { class: "muted" }, ` \u00b7 ${saves} saves`)),
      el("span", { class: "muted num" }, localTime(version.created_at)),
    );
    row.addEventListener("click", async () => {
      const opens = body.hidden;
      row.setAttribute("aria-expanded", String(opens));
      body.hidden = !opens;
      if (!opens) return;
      try {
        const all = await load();
        const text = all.get(version.number)?.text ?? "";
        const before = all.get(based_on);
        const again = el("button", { type: "button" }, "Go on from this text");
        again.addEventListener("click", () => restore(text));
        fill(
          body,
          before ? [el("p", { class: "muted" }, `Changes from version ${before.number}:`), drawDiff(before.text, text)] : el("p", { class: "diff" }, text),
          open && version.number !== newest && again,
        );
      } catch (error) {
        texts = null;
        fill(body, el("p", { class: "wrong" }, error.message));
      }
    });
    return el("li", {}, row, body);
  });
  const list = el("ol", { class: "versions" }, rows);
  if (!hidesSome) return list;
  const toggle = el("button", { type: "button", class: "quiet", "aria-pressed": String(everySave) }, "Every save");
  const node = el("div", { class: "panel" }, el("div", {}, toggle), list);
  toggle.addEventListener("click", () => {
    everySave = !everySave;
    const again = drawVersions(id, listed, open, restore);
    node.replaceWith(again);
    again.querySelector("button").focus();
  });
  return node;
}
