/**
 * A lost connection: a banner, tries that come ever more seldom, and word to the view when the server is back.
 */
import { room } from "./api.js";
import { el, fill, toast } from "./dom.js";

const WAITS_S = [1, 2, 4, 8, 15, 30];
let lost = false;
let timer = 0;

/** Watches from now on. */
export function watchConnection() {
  room.addEventListener("lost", () => {
    if (!lost) {
      lost = true;
      wait(0);
    }
  });
  window.addEventListener("offline", () => room.dispatchEvent(new Event("lost")));
}

/** @param {number} tries that failed already */
function wait(tries) {
  const banner = document.getElementById("banner");
  let left = WAITS_S[Math.min(tries, WAITS_S.length - 1)];
  const when = el("span", { class: "num" });
  const now = el("button", { type: "button", on: { click: () => attempt(tries) } }, "Try now");
  // Only the first words are an alert: a count that a screen reader reads out every second helps nobody.
  const words = el("span", {}, "The connection to the server is lost. What you type is kept on this page.");
  if (banner.hidden) fill(banner, words);
  banner.querySelectorAll("button, .count").forEach((node) => node.remove());
  banner.append(el("span", { class: "count", "aria-live": "off" }, "Next try in ", when), now);
  banner.hidden = false;
  const tick = () => {
    when.textContent = `${left} s`;
    if (left <= 0) attempt(tries);
    else {
      left -= 1;
      timer = window.setTimeout(tick, 1000);
    }
  };
  tick();
}

/** @param {number} tries */
async function attempt(tries) {
  window.clearTimeout(timer);
  const alive = await fetch("/healthz", { cache: "no-store" }).then(
    () => true,
    () => false,
  );
  if (!alive) {
    wait(tries + 1);
    return;
  }
  lost = false;
  document.getElementById("banner").hidden = true;
  toast("The server is back.");
  room.dispatchEvent(new Event("restored"));
}
