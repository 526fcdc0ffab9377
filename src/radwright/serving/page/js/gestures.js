/**
 * What a hand does to a pane: drag for window or pan, wheel for zoom, two fingers for both zoom and pan.
 */

/**
 * Listens on a pane's canvas.
 * @param {import("./pane.js").Pane} pane
 * @param {{tool: () => "window" | "pan", activate: () => void, enlarge: () => void}} viewer
 */
export function listenToHands(pane, viewer) {
  const { canvas, node } = pane;
  /** @type {Map<number, {x: number, y: number}>} */
  const fingers = new Map();
  let doing = /** @type {"" | "window" | "pan"} */ ("");
  const at = (/** @type {PointerEvent | WheelEvent} */ event) => {
    const corner = canvas.getBoundingClientRect();
    return { x: (event.clientX - corner.left) * pane.ratio, y: (event.clientY - corner.top) * pane.ratio };
  };

  canvas.addEventListener("pointerdown", (event) => {
    viewer.activate();
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, at(event));
    const pan = event.button === 1 || event.button === 2 || space.down || viewer.tool() === "pan";
    doing = pan ? "pan" : "window";
    node.classList.toggle("panning", pan);
    if (event.button === 1) event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (before === undefined) return;
    const now = at(event);
    if (fingers.size >= 2) {
      pinch(pane, fingers, event.pointerId, now);
    } else if (doing === "pan") {
      pane.pan(now.x - before.x, now.y - before.y);
    } else {
      pane.dragWindow((now.x - before.x) / pane.box.width, (now.y - before.y) / pane.box.height);
    }
    fingers.set(event.pointerId, now);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => {
      fingers.delete(/** @type {PointerEvent} */ (event).pointerId);
      if (fingers.size === 0) {
        doing = "";
        node.classList.remove("panning");
      }
    });
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    pane.zoom(Math.exp(-0.0016 * lines * event.deltaY), at(event));
  }, { passive: false }); // prettier-ignore
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", () => viewer.enlarge());
  canvas.addEventListener("focus", () => viewer.activate());
}

/**
 * @param {import("./pane.js").Pane} pane
 * @param {Map<number, {x: number, y: number}>} fingers
 * @param {number} moved
 * @param {{x: number, y: number}} now
 */
function pinch(pane, fingers, moved, now) {
  const before = fingers.get(moved);
  const other = [...fingers].find(([finger]) => finger !== moved)[1];
  const length = (/** @type {{x: number, y: number}} */ point) => Math.hypot(point.x - other.x, point.y - other.y);
  const middle = (/** @type {{x: number, y: number}} */ point) => ({ x: (point.x + other.x) / 2, y: (point.y + other.y) / 2 });
  const [from, to] = [middle(before), middle(now)];
  pane.pan(to.x - from.x, to.y - from.y);
  if (length(before) > 0) pane.zoom(length(now) / length(before), to);
}

const space = { down: false };
window.addEventListener("keydown", (event) => {
  const canvas = event.target instanceof HTMLCanvasElement;
  const free = event.target === document.body && document.querySelector(".viewer") !== null;
  if (event.key === " " && (canvas || free)) {
    space.down = true;
    event.preventDefault();
  }
});
window.addEventListener("keyup", (event) => {
  if (event.key === " ") space.down = false;
});
window.addEventListener("blur", () => (space.down = false));
