/**
 * Building the page: every text of the server becomes a text node, so that nothing of it is ever read as HTML.
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Makes an element.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, unknown>} [props] attributes; `on` takes listeners, `class` may hold falsy parts in a list.
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (name === "class") {
      node.className = Array.isArray(value) ? value.filter(Boolean).join(" ") : String(value);
    } else if (value === true) {
      node.setAttribute(name, "");
    } else {
      node.setAttribute(name, String(value));
    }
  }
  append(node, ...children);
  return node;
}

/**
 * Adds children; strings and numbers as text.
 * @param {Element} node
 * @param {...(Child | Child[])} children
 */
export function append(node, ...children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

/**
 * Puts other children in place of those there.
 * @param {Element} node
 * @param {...(Child | Child[])} children
 */
export function fill(node, ...children) {
  node.replaceChildren();
  append(node, ...children);
}

/**
 * A bar from 0 to 1, with a tick where a threshold lies. Its number stands beside it, so it is hidden from readers.
 * @param {number} share
 * @param {{threshold?: number | null | undefined, check?: boolean}} [options]
 */
export function bar(share, { threshold = null, check = false } = {}) {
  const part = el("i");
  part.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  const node = el("span", { class: ["bar", check && "check"], "aria-hidden": "true" }, part);
  if (threshold !== null && threshold !== undefined) {
    const tick = el("b");
    tick.style.left = `${100 * threshold}%`;
    node.append(tick);
  }
  return node;
}

/**
 * Says something in passing: seen for a while, and read out.
 * @param {string} text
 */
export function toast(text) {
  const node = el("div", { class: "toast" }, text);
  document.getElementById("toasts").append(node);
  announce(text);
  setTimeout(() => node.remove(), 6000);
}

/**
 * Has a screen reader say something.
 * @param {string} text
 */
export function announce(text) {
  document.getElementById("live").textContent = text;
}
