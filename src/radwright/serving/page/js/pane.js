/**
 * One image on a canvas: gray values through the window's table, at any zoom, with a map of evidence on top.
 */
import { ask } from "./api.js";
import { el } from "./dom.js";
import { drawMap, heatPicture } from "./overlay.js";
import { fitted, held, levelFor, panned, placed, visiblePart, zoomed } from "./view_maths.js";
import { viewName } from "./words.js";
import { applyTable, draggedWindow, fileWindow, firstWindow, pixelWindow, pyramidOf, reachOf, windowName, windowTable } from "./window_level.js";

const PLAIN = { slope: 1, intercept: 0, linear: false };

/**
 * The gray values of an image, their units, and the window that its file names, if any.
 * @param {string} path
 * @param {AbortSignal} signal
 */
export async function fetchPixels(path, signal) {
  const response = await ask(path, { signal });
  const number = (/** @type {string} */ name) => Number(response.headers.get(name));
  const [width, height, bits] = [number("X-Width"), number("X-Height"), number("X-Bits")];
  const bytes = await response.arrayBuffer();
  if (bytes.byteLength !== width * height * (bits / 8)) throw new Error("The image came incomplete.");
  const pixels = bits === 16 ? new Uint16Array(bytes) : new Uint8Array(bytes);
  const [fullWidth, fullHeight] = [number("X-Full-Width"), number("X-Full-Height")];
  const full = fullWidth > width || fullHeight > height ? { width: fullWidth, height: fullHeight } : null;
  const given = response.headers.has("X-Slope");
  const linear = response.headers.get("X-Window-Function") === "LINEAR";
  const units = given ? { slope: number("X-Slope"), intercept: number("X-Intercept"), linear } : PLAIN;
  const named = { center: number("X-Window-Center"), width: number("X-Window-Width") };
  const level = { pixels, width, height };
  const window = response.headers.has("X-Window-Center") ? pixelWindow(named, units) : firstWindow(level);
  return { level, bits, full, units, window };
}

/** A pane: where its image stands, its window, and what lies over it. Every change asks for one frame. */
export class Pane {
  /**
   * @param {any} image as the study lists it
   * @param {number} number from 1, as the keys call it
   */
  constructor(image, number) {
    this.image = image;
    this.number = number;
    this.canvas = el("canvas", { tabindex: "0", role: "img", "aria-label": `Pane ${number}: radiograph, ${viewName(image)}` });
    this.name = el("span", { class: "mark name" });
    this.values = el("span", { class: "mark values num" });
    this.loading = el("span", { class: "mark loading", role: "status" }, "Loading\u2026");
    this.node = el("div", { class: "pane" }, this.canvas, this.name, this.values, this.loading);
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.buffer = document.createElement("canvas");
    this.levels = /** @type {import("./window_level.js").Level[]} */ ([]);
    this.units = PLAIN;
    this.window = { center: 127.5, width: 255 };
    this.reach = { low: 0, high: 255 };
    this.first = this.window;
    this.inverted = false;
    this.view = { scale: 1, x: 0, y: 0 };
    this.map = /** @type {any} */ (null);
    this.whole = true;
    this.drawn = "";
    this.frame = 0;
    this.lastFrameMs = 0;
    this.ended = new AbortController();
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.node);
    this.describe();
    this.load();
  }

  async load() {
    try {
      const { level, bits, full, units, window } = await fetchPixels(this.image.pixels, this.ended.signal);
      this.bits = bits;
      this.full = full;
      this.levels = pyramidOf(level);
      this.table = windowTable(bits, this.window, false);
      this.units = units;
      this.first = window;
      this.window = window;
      this.reach = reachOf(level, window);
      this.loading.remove();
      this.node.dataset.ready = "yes";
      this.fit();
    } catch (error) {
      if (!this.ended.signal.aborted) this.loading.textContent = error.message;
    }
  }

  close() {
    this.ended.abort();
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  /** Size of the image as it is shown. */
  get size() {
    return this.levels[0] ?? { width: this.image.width, height: this.image.height };
  }

  get box() {
    return { width: this.canvas.width, height: this.canvas.height };
  }

  get ratio() {
    return window.devicePixelRatio || 1;
  }

  resize() {
    const { clientWidth, clientHeight } = this.node;
    const [width, height] = [Math.round(clientWidth * this.ratio), Math.round(clientHeight * this.ratio)];
    if (width === 0 || height === 0 || (width === this.canvas.width && height === this.canvas.height)) return;
    const [dx, dy] = [(width - this.canvas.width) / 2, (height - this.canvas.height) / 2];
    this.canvas.width = width;
    this.canvas.height = height;
    this.view = this.whole ? fitted(this.size, this.box) : held({ ...this.view, x: this.view.x + dx, y: this.view.y + dy }, this.size, this.box);
    this.paint(); // at once: a resized canvas is black until it is drawn
  }

  fit() {
    this.whole = true;
    this.view = fitted(this.size, this.box);
    this.redraw();
  }

  /** One pixel of the image on one of the screen. */
  original() {
    this.whole = false;
    this.view = placed(1, this.size, this.box);
    this.redraw();
  }

  /**
   * @param {number} factor
   * @param {{x: number, y: number}} [point] in device pixels; the middle where none is given
   */
  zoom(factor, point = { x: this.box.width / 2, y: this.box.height / 2 }) {
    this.whole = false;
    this.view = zoomed(this.view, factor, point, this.size, this.box);
    this.redraw();
  }

  /**
   * @param {number} dx in device pixels
   * @param {number} dy
   */
  pan(dx, dy) {
    this.whole = false;
    this.view = panned(this.view, dx, dy, this.size, this.box);
    this.redraw();
  }

  /**
   * @param {number} dx share of the viewport
   * @param {number} dy
   */
  dragWindow(dx, dy) {
    this.window = draggedWindow(this.window, dx, dy, this.reach);
    this.redraw();
  }

  resetWindow() {
    this.window = this.first;
    this.inverted = false;
    this.redraw();
  }

  invert() {
    this.inverted = !this.inverted;
    this.redraw();
  }

  /**
   * Lays a map over the image; null takes it away.
   * @param {{grid: number[][], top: number, peak: {row: number, column: number} | null, opacity: number} | null} map
   */
  lay(map) {
    this.map = map === null ? null : { ...map, picture: heatPicture(map.grid, map.top) };
    this.node.dataset.map = map === null ? "" : "shown";
    this.redraw();
  }

  redraw() {
    if (this.frame !== 0) return;
    this.frame = requestAnimationFrame(() => this.paint());
  }

  paint() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const { context, view, box } = this;
    if (this.levels.length === 0 || box.width === 0) return;
    const start = performance.now();
    const number = levelFor(view.scale, this.levels.length);
    const level = this.levels[number];
    const ratio = this.size.width / level.width;
    const part = visiblePart(view, level, ratio, box);
    context.fillStyle = "#000";
    context.fillRect(0, 0, box.width, box.height);
    if (part.width > 0 && part.height > 0) {
      this.look(level, number, part);
      const step = view.scale * ratio;
      const rise = view.scale * (this.size.height / level.height);
      context.imageSmoothingEnabled = true;
      context.drawImage(this.buffer, 0, 0, part.width, part.height, view.x + step * part.x, view.y + rise * part.y, step * part.width, rise * part.height); // prettier-ignore
      if (this.map !== null) drawMap(context, view, this.size, this.map, this.ratio);
    }
    this.lastFrameMs = performance.now() - start;
    this.describe();
  }

  /**
   * Brings the part through the window's table into the buffer, unless it stands there already.
   * @param {import("./window_level.js").Level} level
   * @param {number} number
   * @param {{x: number, y: number, width: number, height: number}} part
   */
  look(level, number, part) {
    const state = JSON.stringify([number, part, this.window, this.inverted]);
    if (state === this.drawn) return;
    if (this.buffer.width < part.width || this.buffer.height < part.height) {
      this.buffer.width = Math.max(this.buffer.width, part.width);
      this.buffer.height = Math.max(this.buffer.height, part.height);
    }
    windowTable(this.bits, this.window, this.inverted, this.table);
    if (this.picture?.width !== part.width || this.picture?.height !== part.height) {
      this.picture = new ImageData(part.width, part.height);
    }
    applyTable(level, part, this.table, new Uint32Array(this.picture.data.buffer));
    this.buffer.getContext("2d").putImageData(this.picture, 0, 0);
    this.drawn = state;
  }

  describe() {
    const { width, height } = this.full ?? this.image;
    const position = this.image.position === "unknown" ? "" : this.image.position;
    const reduced = this.full ? `, shown at ${this.size.width}\u00d7${this.size.height}` : "";
    this.name.textContent = [this.number, position, `${width}\u00d7${height}${reduced}`].filter(Boolean).join(" \u00b7 ");
    const scale = Math.round((100 * this.view.scale * this.size.width) / width);
    const values = [windowName(fileWindow(this.window, this.units)), `${scale} %`];
    if (this.inverted) values.push("inverted");
    this.values.textContent = values.join(" \u00b7 ");
    this.values.hidden = this.levels.length === 0;
  }
}
