/**
 * The viewer: up to four panes side by side, the tools above them, the legend of the evidence below.
 */
import { el, fill } from "./dom.js";
import { listenToHands } from "./gestures.js";
import { Legend } from "./legend.js";
import { LEAST_TOP, peakOf, scaleTop } from "./overlay.js";
import { Pane } from "./pane.js";
import { viewName } from "./words.js";

const MOST_PANES = 4;
const PAN_STEP_PX = 60;

/** Panes, the active one, and the evidence that lies over them. */
export class Viewer {
  /** @param {any[]} images as the study lists them */
  constructor(images) {
    this.images = images;
    this.tool = /** @type {"window" | "pan"} */ ("window");
    this.evidence = /** @type {any} */ (null);
    this.enlarged = false;
    this.legend = new Legend(() => this.layMaps());
    this.panes = images.slice(0, MOST_PANES).map((image, place) => this.makePane(image, place + 1));
    this.active = this.panes[0] ?? null;
    this.grid = el("div", { class: "panes" }, this.panes.map((pane) => pane.node));
    this.node = el("section", { class: "viewer", "aria-label": "Images" }, this.makeTools(), this.grid, this.makeStrip(), this.legend.node);
    this.arrange();
  }

  /**
   * @param {any} image
   * @param {number} number
   */
  makePane(image, number) {
    const pane = new Pane(image, number);
    listenToHands(pane, {
      tool: () => this.tool,
      activate: () => this.activate(pane),
      enlarge: () => this.enlarge(),
    });
    return pane;
  }

  close() {
    for (const pane of this.panes) pane.close();
  }

  makeTools() {
    const button = (/** @type {string} */ label, /** @type {string} */ key, /** @type {(pane: Pane) => void} */ run) =>
      el("button", { type: "button", title: `${label} (${key})`, on: { click: () => this.active && run(this.active) } }, label);
    const choose = (/** @type {"window" | "pan"} */ tool, /** @type {string} */ label) => {
      const node = el("button", { type: "button", "aria-pressed": String(this.tool === tool) }, label);
      node.addEventListener("click", () => {
        this.tool = tool;
        for (const other of [windows, pans]) other.setAttribute("aria-pressed", String(other === node));
      });
      return node;
    };
    const windows = choose("window", "Window");
    const pans = choose("pan", "Pan");
    windows.title = "Drag: right for a wider window, down for darker";
    pans.title = "Drag moves the image; so does a middle or right drag, or the space bar held, with any tool";
    return el(
      "div",
      { class: "tools", role: "toolbar", "aria-label": "Viewer" },
      windows,
      pans,
      el("span", { class: "gap" }),
      button("Fit", "f", (pane) => pane.fit()),
      button("1:1", "0", (pane) => pane.original()),
      button("\u2212", "-", (pane) => pane.zoom(0.8)),
      button("+", "+", (pane) => pane.zoom(1.25)),
      el("span", { class: "gap" }),
      button("Invert", "i", (pane) => pane.invert()),
      button("Reset", "r", (pane) => pane.resetWindow()),
      this.images.length > 1 && button("Enlarge", "x", () => this.enlarge()),
    );
  }

  /** Small pictures of what does not fit into the panes: one goes into the active pane. */
  makeStrip() {
    if (this.images.length <= MOST_PANES) return null;
    return el(
      "div",
      { class: "strip", role: "group", "aria-label": "All images" },
      this.images.map((image, place) => {
        const label = `Image ${place + 1} (${viewName(image)}) into the active pane`;
        const picture = el("img", { src: image.thumbnail, alt: "", width: 52, height: 52 });
        return el("button", { type: "button", "aria-label": label, title: label, on: { click: () => this.put(image) } }, picture);
      }),
    );
  }

  /** @param {any} image */
  put(image) {
    const place = this.panes.indexOf(this.active);
    const pane = this.makePane(image, place + 1);
    this.active.node.replaceWith(pane.node);
    this.active.close();
    this.panes[place] = pane;
    this.active = pane;
    this.arrange();
    this.layMaps();
  }

  /** @param {Pane} pane */
  activate(pane) {
    this.active = pane;
    for (const other of this.panes) other.node.classList.toggle("active", other === pane);
  }

  /** @param {number} number from 1 */
  choose(number) {
    const pane = this.panes[number - 1];
    if (!pane) return;
    this.activate(pane);
    this.arrange();
    pane.canvas.focus();
  }

  enlarge() {
    if (this.panes.length < 2) return;
    this.enlarged = !this.enlarged;
    this.arrange();
  }

  arrange() {
    if (this.active) this.activate(this.active);
    for (const pane of this.panes) pane.node.hidden = this.enlarged && pane !== this.active;
    this.grid.dataset.count = String(this.enlarged ? 1 : this.panes.length);
    if (this.panes.length === 0) fill(this.grid, el("p", { class: "empty" }, "No images yet."));
  }

  /**
   * Shows what a sentence rests on; null shows the plain images.
   * @param {any} evidence as the server gives it
   */
  show(evidence) {
    this.evidence = evidence;
    this.legend.offer(evidence);
    this.layMaps();
  }

  layMaps() {
    const kind = this.legend.kind;
    const maps = this.evidence?.maps?.[kind] ?? [];
    const shown = this.legend.on && maps.length > 0;
    const top = scaleTop(maps, kind);
    const peak = peakOf(maps);
    for (const pane of this.panes) {
      const map = shown && maps.find((/** @type {any} */ each) => each.place === pane.image.place);
      if (!map || map.grid.length === 0) {
        pane.lay(null);
        continue;
      }
      const here = peak !== null && peak.place === pane.image.place && peak.value >= (LEAST_TOP[kind] ?? 0) ? peak : null;
      pane.lay({ grid: map.grid, top, peak: here, opacity: this.legend.opacity });
    }
    const view = peak === null ? "" : viewName(this.images.find((image) => image.place === peak.place));
    this.legend.describe(top, peak, view, this.evidence?.unit?.[kind] ?? "");
  }

  /** @returns {import("./shortcuts.js").Shortcut[]} */
  shortcuts() {
    const to = (/** @type {(pane: Pane) => void} */ run) => () => this.active && run(this.active);
    const group = "Images";
    const step = PAN_STEP_PX * (window.devicePixelRatio || 1);
    const pans = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    return [
      { keys: ["i"], label: "invert", group, run: to((pane) => pane.invert()) },
      { keys: ["f"], label: "fit", group, run: to((pane) => pane.fit()) },
      { keys: ["0"], label: "one to one", group, run: to((pane) => pane.original()) },
      { keys: ["r"], label: "reset window and level", group, run: to((pane) => pane.resetWindow()) },
      { keys: ["+", "=", "-", "_"], shown: "+ \u2212", label: "zoom in, out", group, run: (event) => this.active?.zoom("+=".includes(event.key) ? 1.25 : 0.8) },
      { keys: Object.keys(pans), label: "move the image", group, run: (event) => this.active?.pan(pans[event.key][0], pans[event.key][1]) },
      { keys: ["[", "]"], label: "window narrower, wider", group, run: (event) => this.active?.dragWindow(event.key === "[" ? -0.04 : 0.04, 0) },
      { keys: [";", "'"], label: "level: brighter, darker", group, run: (event) => this.active?.dragWindow(0, event.key === ";" ? -0.03 : 0.03) },
      { keys: ["1", "2", "3", "4"].slice(0, Math.max(1, this.panes.length)), label: "active view", group, run: (event) => this.choose(Number(event.key)) },
      { keys: ["x"], label: "enlarge the active view", group, run: () => this.enlarge() },
      { keys: ["v"], label: "evidence on, off", group, run: () => this.legend.toggle() },
    ]; // prettier-ignore
  }
}
