/**
 * Word by word, what one text has that another has not. Pure, but for `drawDiff`.
 */
import { el } from "./dom.js";

/** @typedef {{kind: "same" | "added" | "removed", text: string}} Change */

/** Above so many pairs of words the middle is shown as replaced whole: no report comes near. */
const MOST_CELLS = 4_000_000;

/**
 * Words, each with the white space behind it.
 * @param {string} text
 * @returns {string[]}
 */
export function wordsOf(text) {
  return text.match(/\S+\s*|\s+/g) ?? [];
}

/**
 * The shortest way from one text to the other in whole words; white space alone makes no change.
 * @param {string} before
 * @param {string} after
 * @returns {Change[]}
 */
export function wordDiff(before, after) {
  const [old, now] = [wordsOf(before), wordsOf(after)];
  const same = (/** @type {number} */ left, /** @type {number} */ right) => old[left].trimEnd() === now[right].trimEnd();
  let start = 0;
  while (start < old.length && start < now.length && same(start, start)) start += 1;
  let [oldEnd, nowEnd] = [old.length, now.length];
  while (oldEnd > start && nowEnd > start && same(oldEnd - 1, nowEnd - 1)) {
    oldEnd -= 1;
    nowEnd -= 1;
  }
  /** @type {Change[]} */
  const changes = now.slice(0, start).map((text) => ({ kind: "same", text }));
  changes.push(...middle(old.slice(start, oldEnd), now.slice(start, nowEnd)));
  changes.push(.../** @type {Change[]} */ (now.slice(nowEnd).map((text) => ({ kind: "same", text }))));
  return joined(changes);
}

/**
 * @param {string[]} old
 * @param {string[]} now
 * @returns {Change[]}
 */
function middle(old, now) {
  const removed = (/** @type {string} */ text) => /** @type {Change} */ ({ kind: "removed", text });
  const added = (/** @type {string} */ text) => /** @type {Change} */ ({ kind: "added", text });
  if (old.length * now.length > MOST_CELLS) return [...old.map(removed), ...now.map(added)];
  const [left, right] = [old.map((word) => word.trimEnd()), now.map((word) => word.trimEnd())];
  const columns = right.length + 1;
  // Length of the longest common run of words behind each pair of places.
  const longest = new Uint32Array((left.length + 1) * columns);
  for (let row = left.length - 1; row >= 0; row -= 1) {
    for (let column = right.length - 1; column >= 0; column -= 1) {
      const here = row * columns + column;
      longest[here] =
        left[row] === right[column] ? longest[here + columns + 1] + 1 : Math.max(longest[here + columns], longest[here + 1]);
    }
  }
  /** @type {Change[]} */
  const changes = [];
  let [row, column] = [0, 0];
  while (row < left.length || column < right.length) {
    if (row < left.length && column < right.length && left[row] === right[column]) {
      changes.push({ kind: "same", text: now[column] });
      row += 1;
      column += 1;
    } else if (column >= right.length || (row < left.length && longest[(row + 1) * columns + column] >= longest[row * columns + column + 1])) {
      changes.push(removed(old[row]));
      row += 1;
    } else {
      changes.push(added(now[column]));
      column += 1;
    }
  }
  return changes;
}

/**
 * Neighbours of a kind as one; between two same parts what is removed stands before what is added.
 * @param {Change[]} changes
 * @returns {Change[]}
 */
function joined(changes) {
  /** @type {Change[]} */
  const out = [];
  let [removed, added] = ["", ""];
  const flush = () => {
    if (removed) out.push({ kind: "removed", text: removed });
    if (added) out.push({ kind: "added", text: added });
    [removed, added] = ["", ""];
  };
  for (const { kind, text } of changes) {
    if (kind === "removed") removed += text;
    else if (kind === "added") added += text;
    else {
      flush();
      const last = out[out.length - 1];
      if (last?.kind === "same") last.text += text;
      else out.push({ kind, text });
    }
  }
  flush();
  return out;
}

/**
 * @param {Change["kind"]} kind
 * @param {string} space behind the words
 */
function spaceAfter(kind, space) {
  return space !== "" && (kind === "added" || space.includes("\n")) ? space : " ";
}

/**
 * A diff as an element: insertions and deletions are told by underline and strike-through, not by colour alone.
 * @param {string} before
 * @param {string} after
 */
export function drawDiff(before, after) {
  const changes = wordDiff(before, after);
  if (changes.every((change) => change.kind === "same")) return el("p", { class: "diff muted" }, "No difference.");
  const node = el("p", { class: "diff" });
  for (const { kind, text } of changes) {
    if (kind === "same") {
      node.append(text);
      continue;
    }
    const words = text.trimEnd();
    if (/\S$/.test(node.textContent)) node.append(" ");
    const label = el("span", { class: "unseen" }, kind === "added" ? "[inserted: " : "[deleted: ");
    node.append(el(kind === "added" ? "ins" : "del", {}, label, words, el("span", { class: "unseen" }, "]")), spaceAfter(kind, text.slice(words.length)));
  }
  return node;
}
