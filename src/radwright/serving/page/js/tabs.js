/**
 * Tabs, with arrow keys between them as the ARIA practices have it.
 */
import { el } from "./dom.js";

/**
 * @param {{name: string, label: string, panel: HTMLElement}[]} tabs
 * @param {string} [chosen]
 * @returns {{node: HTMLElement, choose: (name: string) => void, chosen: () => string}}
 */
export function makeTabs(tabs, chosen = tabs[0].name) {
  let current = chosen;
  const buttons = tabs.map((tab) =>
    el("button", { type: "button", role: "tab", id: `tab-${tab.name}`, "aria-controls": `panel-${tab.name}` }, tab.label),
  );
  tabs.forEach((tab, place) => {
    tab.panel.id = `panel-${tab.name}`;
    tab.panel.setAttribute("role", "tabpanel");
    tab.panel.setAttribute("aria-labelledby", `tab-${tab.name}`);
    buttons[place].addEventListener("click", () => choose(tab.name));
    buttons[place].addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const next = (place + step + tabs.length) % tabs.length;
      choose(tabs[next].name);
      buttons[next].focus();
    });
  });
  function choose(/** @type {string} */ name) {
    if (!tabs.some((tab) => tab.name === name)) return;
    current = name;
    tabs.forEach((tab, place) => {
      const here = tab.name === name;
      tab.panel.hidden = !here;
      buttons[place].setAttribute("aria-selected", String(here));
      buttons[place].tabIndex = here ? 0 : -1;
    });
  }
  choose(current);
  const node = el("div", { class: "panel" }, el("div", { class: "tabs", role: "tablist" }, buttons), tabs.map((tab) => tab.panel));
  return { node, choose, chosen: () => current };
}
