/**
 * Single keys: registered by the view that is shown, silent while somebody types, listed by `?`, and can be switched off.
 */
import { dialogIsOpen, openDialog } from "./dialogs.js";
import { el } from "./dom.js";

/**
 * @typedef {object} Shortcut
 * @property {string[]} keys as `KeyboardEvent.key` names them
 * @property {string} label
 * @property {string} group heading in the help
 * @property {(event: KeyboardEvent) => void} run
 * @property {string} [shown] in place of the keys
 */

const SWITCH = "radwright.single-keys";
/** @type {Set<Shortcut>} */
const active = new Set();

/**
 * Adds shortcuts.
 * @param {Shortcut[]} shortcuts
 * @returns {() => void} takes them away again
 */
export function addShortcuts(shortcuts) {
  for (const shortcut of shortcuts) active.add(shortcut);
  return () => shortcuts.forEach((shortcut) => active.delete(shortcut));
}

/**
 * Whether a key pressed there belongs to the element.
 * @param {EventTarget | null} target
 * @param {string} key
 */
export function belongsTo(target, key) {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true;
  if (target instanceof HTMLInputElement) {
    const written = !["radio", "checkbox", "range", "button", "submit", "file"].includes(target.type);
    return written || key.startsWith("Arrow") || key === " ";
  }
  const own = target.closest("[role=tablist]") !== null && key.startsWith("Arrow");
  return own || ((key === "Enter" || key === " ") && target.matches("a, button, summary"));
}

/** Listens from now on. */
export function listenForShortcuts() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
    if (dialogIsOpen() || belongsTo(event.target, event.key)) return;
    if (localStorage.getItem(SWITCH) === "off" && event.key.length === 1 && event.key !== "?") return;
    for (const shortcut of [...active].reverse()) {
      if (shortcut.keys.includes(event.key)) {
        event.preventDefault();
        shortcut.run(event);
        return;
      }
    }
  });
}

const NAMES = { ArrowLeft: "\u2190", ArrowRight: "\u2192", ArrowUp: "\u2191", ArrowDown: "\u2193", " ": "Space", Escape: "Esc" };

/** Shows what keys do here. */
export function showShortcuts() {
  /** @type {Map<string, Shortcut[]>} */
  const groups = new Map();
  for (const shortcut of active) groups.set(shortcut.group, [...(groups.get(shortcut.group) ?? []), shortcut]);
  const lists = [...groups].map(([group, shortcuts]) =>
    el(
      "section",
      {},
      el("h3", {}, group),
      el(
        "dl",
        {},
        shortcuts.flatMap((shortcut) => [
          el("dt", {}, (shortcut.shown ? shortcut.shown.split(" ") : shortcut.keys).map((key) => [el("kbd", {}, NAMES[key] ?? key), " "]).flat()),
          el("dd", {}, shortcut.label),
        ]),
      ),
    ),
  );
  const box = el("input", { type: "checkbox", id: "single-keys" });
  box.checked = localStorage.getItem(SWITCH) !== "off";
  box.addEventListener("change", () => localStorage.setItem(SWITCH, box.checked ? "on" : "off"));
  openDialog({
    title: "Keys",
    wide: true,
    body: [
      el("div", { class: "keys" }, lists),
      el("label", { for: "single-keys" }, box, " Single keys work (they never do while you type in a field)"),
    ],
    actions: [{ label: "Close", primary: true }],
  });
}
