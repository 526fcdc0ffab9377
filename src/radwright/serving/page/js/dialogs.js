/**
 * Dialogs: the browser's own, so that focus stays inside, Escape closes, and focus goes back.
 */
import { el } from "./dom.js";

/**
 * @typedef {object} Action
 * @property {string} label
 * @property {string} [key] shown beside the label
 * @property {boolean} [primary]
 * @property {() => (void | boolean | Promise<void | boolean>)} [run] false keeps the dialog open.
 */

/**
 * Opens a dialog.
 * @param {{title: string, body: (Node | string)[], actions?: Action[], wide?: boolean, onClose?: () => void}} options
 * @returns {{close: () => void, node: HTMLDialogElement}}
 */
export function openDialog({ title, body, actions = [], wide = false, onClose }) {
  const before = document.activeElement;
  const heading = el("h2", { id: `dialog-${Date.now()}` }, title);
  const node = el("dialog", { class: wide && "wide", "aria-labelledby": heading.id });
  const close = () => node.close();
  const buttons = actions.map((action) => {
    const button = el("button", { type: "button", class: action.primary && "primary" }, action.label, action.key && el("kbd", {}, action.key));
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        if ((await action.run?.()) !== false) close();
      } finally {
        button.disabled = false;
      }
    });
    return button;
  });
  node.append(heading, el("div", { class: "dialog-body" }, body));
  if (buttons.length > 0) node.append(el("div", { class: "dialog-actions" }, buttons));
  node.addEventListener("close", () => {
    node.remove();
    if (before instanceof HTMLElement && before.isConnected) before.focus();
    onClose?.();
  });
  document.body.append(node);
  node.showModal();
  const first = node.querySelector("[autofocus]") ?? buttons.find((_, place) => actions[place].primary);
  if (first instanceof HTMLElement) first.focus();
  return { close, node };
}

/** Whether one is open. */
export function dialogIsOpen() {
  return document.querySelector("dialog[open]") !== null;
}
