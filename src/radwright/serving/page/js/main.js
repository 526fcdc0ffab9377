/**
 * Where the page starts: session, then the worklist or a study by the address (#/ or #/study/ID).
 */
import { json, room } from "./api.js";
import { watchConnection } from "./connection.js";
import { el, fill } from "./dom.js";
import { signIn, signInAgain } from "./session.js";
import { addShortcuts, listenForShortcuts, showShortcuts } from "./shortcuts.js";
import { openStudy } from "./study.js";
import { openWorklist } from "./worklist.js";

/**
 * @typedef {object} Surroundings what every view may need
 * @property {import("./session.js").Session} session
 * @property {{model: any, told_clues: boolean, diseases: {name: string, title: string, threshold?: number | null}[], label: string}} model
 * @property {Map<string, string>} titles finding -> its title
 */

const main = document.getElementById("main");
/** @type {() => void} */
let close = () => {};

/** @param {Surroundings} surroundings */
function show(surroundings) {
  close();
  main.focus({ preventScroll: true });
  const study = /^#\/study\/([0-9a-f]+)$/.exec(location.hash);
  close = study ? openStudy(main, study[1], surroundings) : openWorklist(main, surroundings);
}

async function start() {
  const session = await signIn(main);
  const [model, listed] = await Promise.all([json("/v1/model"), json("/v1/findings")]);
  const titles = new Map(listed.findings.map((/** @type {any} */ finding) => [finding.finding, finding.title]));
  const surroundings = { session, model, titles };
  window.addEventListener("hashchange", () => show(surroundings));
  room.addEventListener("signedout", () => signInAgain(session));
  show(surroundings);
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.getElementById("help").addEventListener("click", showShortcuts);
addShortcuts([{ keys: ["?"], label: "this list", group: "Everywhere", run: showShortcuts }]);
listenForShortcuts();
watchConnection();
start().catch((error) => {
  const again = el("button", { type: "button", on: { click: () => location.reload() } }, "Try again");
  fill(main, el("div", { class: "empty" }, el("p", {}, error.message), again));
  room.addEventListener("restored", () => location.reload());
});
