/**
 * The worklist: search, filters, order, and rows that are kept fresh without moving what somebody looks at.
 */
import { json, room } from "./api.js";
import { announce, el, fill } from "./dom.js";
import { findingFilter } from "./finding_filter.js";
import { addShortcuts } from "./shortcuts.js";
import { openUpload } from "./upload.js";
import { STATE_WORDS } from "./words.js";
import { studyRow } from "./worklist_row.js";

const POLL_MS = 4000;
const PAGE = 50;
const ORDERS = [["received", "newest first"], ["urgency", "most urgent"], ["risk", "most in doubt"], ["state", "state"]]; // prettier-ignore
const STATES = ["", "waiting", "drafted", "failed", "signed", "withdrawn"];

/** What is looked for outlives the view: whoever comes back from a study finds the list as it was. Never in the
 * address, which browsers keep: a search may be a patient's name. */
const wanted = { q: "", state: "", finding: "", sort: "received", limit: PAGE };
/** Ids in the order last shown, for `n` in a study; and where to put the focus on the way back. */
export const order = { ids: /** @type {string[]} */ ([]), last: "" };

/**
 * Shows the worklist.
 * @param {HTMLElement} main
 * @param {import("./main.js").Surroundings} surroundings
 * @returns {() => void} ends it
 */
export function openWorklist(main, surroundings) {
  document.title = "Worklist \u00b7 reading room";
  const ended = new AbortController();
  /** @type {Map<string, {node: HTMLTableRowElement, state: string}>} */
  const shown = new Map();
  const count = el("span", { class: "count num" });
  const body = el("tbody");
  const table = el("table", {}, tableHead(), body);
  const empty = el("div", { class: "empty", hidden: true });
  const more = el("button", { type: "button", on: { click: () => ((wanted.limit += PAGE), refresh()) } }, "Show more");
  const moreBox = el("div", { class: "more", hidden: true }, more);
  const filters = makeFilters(count, () => {
    wanted.limit = PAGE;
    refresh();
  });
  const rows = el("div", { class: "rows", tabindex: "-1" }, table, empty, moreBox);
  fill(main, el("div", { class: "worklist" }, filters.node, rows));

  let asked = 0;
  let first = true;
  async function refresh() {
    const turn = ++asked;
    const query = new URLSearchParams({ sort: wanted.sort, limit: String(wanted.limit) });
    for (const name of ["q", "state", "finding"]) if (wanted[name]) query.set(name, wanted[name]);
    try {
      const answer = await json(`/v1/studies?${query}`, { signal: ended.signal });
      if (turn === asked && !ended.signal.aborted) draw(answer);
    } catch (error) {
      if (ended.signal.aborted || turn !== asked) return;
      if (shown.size === 0) {
        empty.hidden = false;
        empty.textContent = error.message;
      }
    }
  }

  /** @param {{total: number, studies: any[]}} answer */
  function draw({ total, studies }) {
    count.textContent = `${total}`;
    const before = document.activeElement;
    const ids = new Set(studies.map((study) => study.id));
    for (const [id, row] of shown) {
      if (!ids.has(id)) {
        row.node.remove();
        shown.delete(id);
      }
    }
    studies.forEach((study, place) => {
      const state = JSON.stringify(study);
      let row = shown.get(study.id);
      if (row === undefined) {
        row = { node: el("tr", { "data-id": study.id }), state: "" };
        shown.set(study.id, row);
      }
      if (row.state !== state) {
        studyRow(row.node, study, surroundings.titles);
        row.state = state;
      }
      if (body.children[place] !== row.node) body.insertBefore(row.node, body.children[place] ?? null);
    });
    order.ids = studies.map((study) => study.id);
    // A row that moves, or is written anew, loses the focus: give it back.
    if (before instanceof HTMLElement && before.closest("tbody") === body) {
      const row = shown.get(before.closest("tr").dataset.id);
      row?.node.querySelector("a")?.focus({ preventScroll: true });
    }
    table.hidden = studies.length === 0;
    empty.hidden = studies.length > 0;
    empty.textContent =
      wanted.q || wanted.state || wanted.finding ? "No study matches." : "No studies yet. Upload one, or send one by DICOM.";
    moreBox.hidden = studies.length >= total;
    if (first) {
      first = false;
      announce(`${total} studies`);
      const back = shown.get(order.last)?.node.querySelector("a");
      if (back && (document.activeElement === document.body || document.activeElement === main)) back.focus();
    }
  }

  /** @param {number} step */
  function move(step) {
    const links = [...body.querySelectorAll("a")];
    const place = links.indexOf(/** @type {any} */ (document.activeElement?.closest("tr")?.querySelector("a")));
    const next = links[place < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, place + step))];
    next?.focus({ preventScroll: true });
    next?.closest("tr").scrollIntoView({ block: "nearest" });
  }

  const upload = (/** @type {File[]} */ files = []) => openUpload(files);
  filters.upload.addEventListener("click", () => upload());
  const removeShortcuts = addShortcuts([
    { keys: ["j", "ArrowDown"], label: "next study", group: "Worklist", run: () => move(1) },
    { keys: ["k", "ArrowUp"], label: "study before", group: "Worklist", run: () => move(-1) },
    { keys: ["Enter"], shown: "Enter", label: "open it", group: "Worklist", run: () => body.querySelector("a")?.click() },
    { keys: ["/"], label: "search", group: "Worklist", run: () => filters.search.select() },
    { keys: ["u"], label: "upload a study", group: "Worklist", run: () => upload() },
  ]);
  const listener = { signal: ended.signal };
  main.addEventListener("dragover", (event) => event.preventDefault(), listener);
  main.addEventListener("drop", (event) => {
    event.preventDefault();
    upload([...(event.dataTransfer?.files ?? [])]);
  }, listener); // prettier-ignore
  room.addEventListener("restored", refresh, listener);
  const poll = setInterval(() => document.hidden || refresh(), POLL_MS);
  refresh();
  return () => {
    clearInterval(poll);
    removeShortcuts();
    ended.abort();
  };
}

function tableHead() {
  const names = ["", "Patient", "Study", "Findings", "Doubt", "Received", "State"];
  const classes = ["thumb", "patient", "about", "", "risk", "when", "state"];
  const titles = { Doubt: "How likely the least sure finding is wrong, by the calibration of the model" };
  const cells = names.map((name, place) =>
    el("th", { scope: "col", class: classes[place], title: titles[name] }, name || el("span", { class: "unseen" }, "Image")),
  );
  return el("thead", {}, el("tr", {}, cells));
}

/**
 * @param {HTMLElement} count
 * @param {() => void} changed
 */
function makeFilters(count, changed) {
  const search = el("input", { type: "search", id: "q", placeholder: "Name, id, accession", autocomplete: "off", spellcheck: "false" });
  search.value = wanted.q;
  let timer = 0;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = window.setTimeout(() => {
      wanted.q = search.value.trim();
      changed();
    }, 200);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape") search.blur();
  });
  const states = STATES.map((state) => {
    const button = el("button", { type: "button", "aria-pressed": String(wanted.state === state) }, state ? STATE_WORDS[state] : "All");
    button.addEventListener("click", () => {
      wanted.state = state;
      states.forEach((other, place) => other.setAttribute("aria-pressed", String(STATES[place] === state)));
      changed();
    });
    return button;
  });
  const finding = findingFilter(wanted.finding, (value) => {
    wanted.finding = value;
    changed();
  });
  const sort = el("select", { id: "sort" }, ORDERS.map(([value, title]) => el("option", { value }, title)));
  sort.value = wanted.sort;
  sort.addEventListener("change", () => {
    wanted.sort = sort.value;
    changed();
  });
  const upload = el("button", { type: "button", class: "primary" }, "Upload ", el("kbd", {}, "u"));
  const labelled = (/** @type {string} */ label, /** @type {HTMLElement} */ field) =>
    el("div", { class: "field" }, el("label", { for: field.id }, label), field);
  const node = el(
    "div",
    { class: "filters", role: "search" },
    el("h1", {}, "Worklist", count),
    labelled("Search", search),
    el("div", { class: "field" }, el("span", { class: "unseen", id: "by-state" }, "State"), el("div", { class: "states", role: "group", "aria-labelledby": "by-state" }, states)),
    labelled("Finding", finding),
    labelled("Sort by", sort),
    el("span", { class: "spring" }),
    upload,
  ); // prettier-ignore
  return { node, search, upload };
}
