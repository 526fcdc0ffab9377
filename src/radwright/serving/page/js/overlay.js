/**
 * Maps of evidence: numbers on a grid over the image, their colours, their scale, their peak.
 *
 * Both ramps run in lightness (dark to bright), one through orange to yellow, one through blue, so that they are
 * told apart with any colour vision; how opaque a cell is rises with its strength too.
 */

/** @typedef {{place: number, grid: number[][]}} EvidenceMap */

/** Under so many nats the whole map counts as weak: the scale never shrinks below, so that noise does not glow. */
export const LEAST_TOP = { occlusion: 0.25, attention: 0.001 };
const WARM = [[122, 43, 0], [230, 97, 1], [255, 220, 60]]; // prettier-ignore
const COLD = [[8, 48, 96], [45, 120, 190], [111, 195, 255]]; // prettier-ignore

/**
 * Colour of a value, as [red, green, blue, alpha] in 0..255.
 * @param {number} value
 * @param {number} top where the scale ends
 * @returns {[number, number, number, number]}
 */
export function heat(value, top) {
  if (!Number.isFinite(value) || top <= 0) return [0, 0, 0, 0];
  const strength = Math.min(1, Math.abs(value) / top);
  const ramp = value >= 0 ? WARM : COLD;
  const at = strength * (ramp.length - 1);
  const from = Math.min(ramp.length - 2, Math.floor(at));
  const share = at - from;
  const [red, green, blue] = ramp[from].map((start, place) => Math.round(start + share * (ramp[from + 1][place] - start)));
  return [red, green, blue, Math.round(255 * strength ** 0.9)];
}

/**
 * Where the scale of some maps ends.
 * @param {EvidenceMap[]} maps
 * @param {string} kind
 */
export function scaleTop(maps, kind) {
  let top = LEAST_TOP[kind] ?? 0;
  for (const { grid } of maps) for (const row of grid) for (const value of row) if (Number.isFinite(value)) top = Math.max(top, Math.abs(value));
  return top;
}

/**
 * The largest value over all views; null where none is above 0. A window that was hidden spans several cells of one value:
 * of cells beside the first that are as high, the middle.
 * @param {EvidenceMap[]} maps
 * @returns {{place: number, row: number, column: number, value: number} | null}
 */
export function peakOf(maps) {
  let peak = null;
  for (const { place, grid } of maps) {
    grid.forEach((values, row) =>
      values.forEach((value, column) => {
        if (value > (peak?.value ?? 0)) peak = { place, row, column, value };
      }),
    );
  }
  if (peak === null) return null;
  const grid = maps.find((map) => map.place === peak.place).grid;
  const isHigh = (/** @type {number} */ row, /** @type {number} */ column) => grid[row]?.[column] === peak.value;
  let [down, right] = [0, 0];
  while (isHigh(peak.row, peak.column + right + 1)) right += 1;
  while (isHigh(peak.row + down + 1, peak.column)) down += 1;
  return { ...peak, row: peak.row + down / 2, column: peak.column + right / 2 };
}

/**
 * The middle of a cell, in pixels of an image that the grid covers exactly.
 * @param {number[][]} grid
 * @param {number} row
 * @param {number} column
 * @param {{width: number, height: number}} image
 */
export function cellCentre(grid, row, column, image) {
  return { x: ((column + 0.5) / grid[0].length) * image.width, y: ((row + 0.5) / grid.length) * image.height };
}

/**
 * The cell that holds a point of the image; null outside.
 * @param {number[][]} grid
 * @param {number} x
 * @param {number} y
 * @param {{width: number, height: number}} image
 */
export function cellAt(grid, x, y, image) {
  if (x < 0 || y < 0 || x >= image.width || y >= image.height) return null;
  return { row: Math.floor((y / image.height) * grid.length), column: Math.floor((x / image.width) * grid[0].length) };
}

/**
 * A grid as a small picture, one pixel a cell.
 * @param {number[][]} grid
 * @param {number} top
 */
export function heatPicture(grid, top) {
  const canvas = document.createElement("canvas");
  canvas.width = grid[0].length;
  canvas.height = grid.length;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  grid.flat().forEach((value, place) => picture.data.set(heat(value, top), 4 * place));
  context.putImageData(picture, 0, 0);
  return canvas;
}

/**
 * Draws a map over the image, and the mark of the peak.
 * @param {CanvasRenderingContext2D} context
 * @param {import("./view_maths.js").Placing} view
 * @param {{width: number, height: number}} image
 * @param {{picture: HTMLCanvasElement, grid: number[][], peak: {row: number, column: number} | null, opacity: number}} map
 * @param {number} ratio device pixels per CSS pixel
 */
export function drawMap(context, view, image, map, ratio) {
  context.save();
  context.globalAlpha = map.opacity;
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.beginPath();
  context.rect(view.x, view.y, view.scale * image.width, view.scale * image.height);
  context.clip();
  context.drawImage(map.picture, view.x, view.y, view.scale * image.width, view.scale * image.height);
  context.restore();
  if (map.peak === null) return;
  const centre = cellCentre(map.grid, map.peak.row, map.peak.column, image);
  const x = view.x + view.scale * centre.x;
  const y = view.y + view.scale * centre.y;
  const radius = 13 * ratio;
  context.save();
  for (const [colour, width] of /** @type {[string, number][]} */ ([["#000", 4.5], ["#fff", 2]])) {
    context.strokeStyle = colour;
    context.lineWidth = width * ratio;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * radius, y + dy * radius);
      context.lineTo(x + dx * (radius + 7 * ratio), y + dy * (radius + 7 * ratio));
    }
    context.stroke();
  }
  context.restore();
}
