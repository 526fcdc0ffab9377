/**
 * Window and level: gray values to display values by a table, on a pyramid of halved images. Pure functions.
 *
 * A window is {center, width} in the values of the pixels; what lies under it is black, over it white. What a reader sees
 * is the same window in the units of the file: its slope is negative where the file shows small values bright.
 */

/** @typedef {{center: number, width: number}} Window */
/** @typedef {{pixels: Uint8Array | Uint16Array, width: number, height: number}} Level */
/** @typedef {{slope: number, intercept: number, linear: boolean}} Units linear: windows are named as DICOM's LINEAR names them */

/**
 * Table from a gray value to an opaque RGBA pixel in little-endian order.
 * @param {number} bits 8 or 16
 * @param {Window} window
 * @param {boolean} inverted
 * @param {Uint32Array} [table] written into, where given
 */
export function windowTable(bits, { center, width }, inverted, table = new Uint32Array(bits === 8 ? 256 : 65536)) {
  const low = center - width / 2;
  const slope = 255 / Math.max(width, 1e-6);
  for (let value = 0; value < table.length; value += 1) {
    let shown = (value - low) * slope;
    shown = shown < 0 ? 0 : shown > 255 ? 255 : Math.round(shown);
    if (inverted) shown = 255 - shown;
    table[value] = (0xff000000 | (shown << 16) | (shown << 8) | shown) >>> 0;
  }
  return table;
}

/**
 * Looks up a rectangle of an image.
 * @param {Level} level
 * @param {{x: number, y: number, width: number, height: number}} part in whole pixels, inside the image
 * @param {Uint32Array} table
 * @param {Uint32Array} out at least width x height
 */
export function applyTable(level, part, table, out) {
  const { pixels, width } = level;
  let place = 0;
  for (let row = part.y; row < part.y + part.height; row += 1) {
    let from = row * width + part.x;
    const end = from + part.width;
    while (from < end) out[place++] = table[pixels[from++]];
  }
}

/**
 * The image at half its size, each pixel the mean of up to four.
 * @param {Level} level
 * @returns {Level}
 */
export function halved({ pixels, width, height }) {
  const columns = Math.ceil(width / 2);
  const rows = Math.ceil(height / 2);
  const out = pixels instanceof Uint16Array ? new Uint16Array(columns * rows) : new Uint8Array(columns * rows);
  for (let row = 0; row < rows; row += 1) {
    const upper = 2 * row * width;
    const lower = Math.min(2 * row + 1, height - 1) * width;
    for (let column = 0; column < columns; column += 1) {
      const left = 2 * column;
      const right = Math.min(left + 1, width - 1);
      out[row * columns + column] =
        (pixels[upper + left] + pixels[upper + right] + pixels[lower + left] + pixels[lower + right] + 2) >> 2;
    }
  }
  return { pixels: out, width: columns, height: rows };
}

/**
 * The image and its halves down to about 256 pixels.
 * @param {Level} level
 * @returns {Level[]}
 */
export function pyramidOf(level) {
  const levels = [level];
  while (Math.max(levels[levels.length - 1].width, levels[levels.length - 1].height) > 512) {
    levels.push(halved(levels[levels.length - 1]));
  }
  return levels;
}

/**
 * The window that a fresh image gets: all 8-bit values, of 16-bit ones those between the outer thousandths.
 * @param {Level} level
 * @returns {Window}
 */
export function firstWindow({ pixels }) {
  if (pixels instanceof Uint8Array) return { center: 127.5, width: 255 };
  const counts = new Uint32Array(65536);
  for (const value of pixels) counts[value] += 1;
  const cut = pixels.length / 1000;
  let low = 0;
  for (let seen = counts[0]; seen <= cut && low < 65535; seen += counts[low]) low += 1;
  let high = 65535;
  for (let seen = counts[65535]; seen <= cut && high > 0; seen += counts[high]) high -= 1;
  return high > low ? { center: (low + high) / 2, width: high - low } : { center: low, width: 1 };
}

/**
 * A window in the units of the file as one over the pixels. LINEAR ends one unit before its width, around half a unit less.
 * @param {Window} window
 * @param {Units} units
 * @returns {Window}
 */
export function pixelWindow({ center, width }, { slope, intercept, linear }) {
  const one = linear ? 1 : 0;
  return { center: (center - one / 2 - intercept) / slope, width: Math.max(0, width - one) / Math.abs(slope) };
}

/**
 * A window over the pixels in the units of the file.
 * @param {Window} window
 * @param {Units} units
 * @returns {Window}
 */
export function fileWindow({ center, width }, { slope, intercept, linear }) {
  const one = linear ? 1 : 0;
  return { center: center * slope + intercept + one / 2, width: width * Math.abs(slope) + one };
}

/**
 * A window as the pane names it: whole numbers, but where the window is narrower than a hundred units.
 * @param {Window} window in the units of the file
 */
export function windowName({ center, width }) {
  const digits = Math.min(6, Math.max(0, Math.ceil(2 - Math.log10(Math.max(width, 1e-6)))));
  const rounded = (/** @type {number} */ value) => String(Number(value.toFixed(digits))).replace("-", "\u2212");
  return `W ${rounded(width)} \u00b7 L ${rounded(center)}`;
}

/**
 * How far a window may be dragged: over all pixels, and over all that the first window holds.
 * @param {Level} level
 * @param {Window} first
 */
export function reachOf({ pixels }, first) {
  let low = first.center - first.width / 2;
  let high = first.center + first.width / 2;
  for (const value of pixels) {
    if (value < low) low = value;
    else if (value > high) high = value;
  }
  return { low, high };
}

/**
 * The window after a drag: to the right wider, downwards darker (the level rises), as on a workstation.
 *
 * The pace is that of the window itself, so that a narrow one is set finely, and one drag more brings all values back.
 * @param {Window} window
 * @param {number} dx share of the viewport dragged to the right
 * @param {number} dy share of the viewport dragged downwards
 * @param {{low: number, high: number}} reach
 * @returns {Window}
 */
export function draggedWindow(window, dx, dy, reach) {
  const pace = Math.max(1, window.width);
  const center = window.center + 1.5 * dy * pace;
  const widest = Math.max(1, 2 * (reach.high - reach.low));
  return {
    // Nothing is narrower than a value; a window that came so is left alone until it is dragged sideways.
    width: dx === 0 ? window.width : Math.min(widest, Math.max(1, pace * Math.exp(1.5 * dx))),
    center: Math.min(reach.high, Math.max(reach.low, center)),
  };
}
