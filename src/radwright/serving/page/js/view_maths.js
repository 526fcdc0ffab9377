/**
 * Where an image stands in its pane: fit, zoom around a point, pan, what can be seen, which halved image to draw.
 * Pure functions; a view is {scale, x, y}: screen = image * scale + (x, y), in device pixels.
 */

/** @typedef {{scale: number, x: number, y: number}} Placing */
/** @typedef {{width: number, height: number}} Size */

export const MOST_SCALE = 16;

/**
 * The whole image, centred.
 * @param {Size} image
 * @param {Size} box
 * @returns {Placing}
 */
export function fitted(image, box) {
  const scale = Math.min(box.width / image.width, box.height / image.height);
  return placed(scale, image, box);
}

/**
 * Centred at a scale, on whole pixels of the screen: one to one shows every value as it is.
 * @param {number} scale
 * @param {Size} image
 * @param {Size} box
 * @returns {Placing}
 */
export function placed(scale, image, box) {
  return { scale, x: Math.round((box.width - scale * image.width) / 2), y: Math.round((box.height - scale * image.height) / 2) };
}

/**
 * Zoomed so that what is under a point stays under it.
 * @param {Placing} view
 * @param {number} factor
 * @param {{x: number, y: number}} point on the screen
 * @param {Size} image
 * @param {Size} box
 * @returns {Placing}
 */
export function zoomed(view, factor, point, image, box) {
  const least = 0.5 * fitted(image, box).scale;
  const scale = Math.min(Math.max(MOST_SCALE, least), Math.max(least, view.scale * factor));
  const real = scale / view.scale;
  return held({ scale, x: point.x - real * (point.x - view.x), y: point.y - real * (point.y - view.y) }, image, box);
}

/**
 * Moved by so many pixels.
 * @param {Placing} view
 * @param {number} dx
 * @param {number} dy
 * @param {Size} image
 * @param {Size} box
 * @returns {Placing}
 */
export function panned(view, dx, dy, image, box) {
  return held({ ...view, x: view.x + dx, y: view.y + dy }, image, box);
}

/**
 * Kept where a quarter of the pane at least (or all of a small image) still shows it: nobody loses the image.
 * @param {Placing} view
 * @param {Size} image
 * @param {Size} box
 * @returns {Placing}
 */
export function held(view, image, box) {
  const within = (/** @type {number} */ at, /** @type {number} */ size, /** @type {number} */ room) => {
    const shown = Math.min(size, room / 4);
    return Math.min(room - shown, Math.max(shown - size, at));
  };
  return {
    scale: view.scale,
    x: within(view.x, view.scale * image.width, box.width),
    y: within(view.y, view.scale * image.height, box.height),
  };
}

/**
 * The part of an image (of a level of it, `ratio` times smaller) that can be seen, in whole pixels of that level.
 * @param {Placing} view
 * @param {Size} level
 * @param {number} ratio pixels of the image per pixel of the level
 * @param {Size} box
 */
export function visiblePart(view, level, ratio, box) {
  const step = view.scale * ratio;
  const x = Math.max(0, Math.floor(-view.x / step) - 1);
  const y = Math.max(0, Math.floor(-view.y / step) - 1);
  const right = Math.min(level.width, Math.ceil((box.width - view.x) / step) + 1);
  const bottom = Math.min(level.height, Math.ceil((box.height - view.y) / step) + 1);
  return { x, y, width: Math.max(0, right - x), height: Math.max(0, bottom - y) };
}

/**
 * Which halved image is drawn: the smallest that still has about a pixel for each of the screen's.
 * @param {number} scale screen pixels per image pixel
 * @param {number} count how many there are; level n is 2**n times smaller
 */
export function levelFor(scale, count) {
  const level = Math.floor(Math.log2(1.25 / Math.max(scale, 1e-9)));
  return Math.min(count - 1, Math.max(0, level));
}
