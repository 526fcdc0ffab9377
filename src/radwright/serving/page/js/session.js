/**
 * Who reads: asks for the token where the server wants one, shows the name, signs out.
 */
import { json, room } from "./api.js";
import { dialogIsOpen, openDialog } from "./dialogs.js";
import { el, fill } from "./dom.js";

/** @typedef {{name: string, role: "reader" | "radiologist" | "admin", needs_token: boolean, signed_in: boolean}} Session */

/**
 * The session; shows the form and waits where nobody is signed in.
 * @param {HTMLElement} main
 * @returns {Promise<Session>}
 */
export async function signIn(main) {
  for (;;) {
    /** @type {Session} */
    const session = await json("/v1/session");
    if (session.signed_in || !session.needs_token) {
      showWho(session);
      return session;
    }
    await new Promise((done) => {
      const form = tokenForm(() => done(undefined));
      form.prepend(el("h1", {}, "Sign in to the reading room"));
      fill(main, form);
      form.querySelector("#token").focus();
    });
  }
}

/**
 * Asks again, over whatever is shown, when a session has ended: text that is being written stays where it is.
 * @param {Session} session brought up to date: it may be another person
 */
export function signInAgain(session) {
  if (dialogIsOpen()) return;
  const dialog = openDialog({
    title: "Your session has ended",
    body: [
      tokenForm(async () => {
        await refresh(session);
        dialog.close();
        room.dispatchEvent(new Event("restored"));
      }),
    ],
  });
}

/**
 * Brings a session up to date.
 * @param {Session} session
 */
export async function refresh(session) {
  Object.assign(session, await json("/v1/session"));
  showWho(session);
}

/** @param {Session} session */
function showWho(session) {
  const out = el("button", { type: "button", class: "quiet" }, "Sign out");
  out.addEventListener("click", async () => {
    await json("/v1/session", { method: "DELETE" });
    location.reload();
  });
  const name = el("span", {}, session.needs_token ? `${session.name} (${session.role})` : "this computer");
  fill(document.getElementById("who"), name, session.needs_token && out);
}

/** @param {() => void} done */
function tokenForm(done) {
  const token = el("input", {
    type: "password",
    id: "token",
    autocomplete: "current-password",
    required: true,
    "aria-describedby": "token-wrong",
  });
  const wrong = el("p", { class: "wrong", id: "token-wrong", role: "alert" });
  const form = el(
    "form",
    { class: "signin" },
    // Password keepers want a name to keep the token under.
    el("input", { type: "text", autocomplete: "username", value: "reading room", hidden: true }),
    el("div", { class: "field" }, el("label", { for: "token" }, "Your token"), token, wrong),
    el("button", { type: "submit", class: "primary" }, "Sign in"),
    el("p", { class: "muted" }, "Whoever runs this server gives out tokens. The page does not keep yours."),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    wrong.textContent = "";
    try {
      await json("/v1/session", { method: "POST", body: { token: token.value } });
      done();
    } catch (error) {
      wrong.textContent = error.message;
      token.select();
    }
  });
  return form;
}
