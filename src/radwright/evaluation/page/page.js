"use strict";
// Filter, search, sort and keys; everything is readable without it.
(() => {
  const holder = document.getElementById("rows");
  if (!holder) return;
  const tools = document.getElementById("tools");
  const search = document.getElementById("search");
  const sort = document.getElementById("sort");
  const finding = document.getElementById("class");
  const count = document.getElementById("count");
  const none = document.getElementById("none");
  const keys = [...new Set([...sort.options].map((option) => option.value.split(" ").slice(0, -1).join(" ")))].filter(Boolean);
  const rows = [...holder.children].map((element, order) => ({
    element,
    order,
    flags: element.dataset.flags.split(" "),
    values: element.dataset.values.split(" ").map(Number),
    text: readable(element),
  }));
  tools.hidden = false;
  const firstSort = [...sort.options].find((option) => option.defaultSelected).value;

  // What a person can read of a study, without what is spoken only.
  function readable(element) {
    const parts = element.querySelectorAll("h3, .text, .facts");
    let text = "";
    for (const part of parts) {
      const copy = part.cloneNode(true);
      for (const spoken of copy.querySelectorAll(".spoken")) spoken.remove();
      text += `${copy.textContent.toLowerCase()}\n`;
    }
    return text;
  }

  function chosen() {
    const radio = tools.querySelector("input[name=filter]:checked");
    return radio ? radio.value : "all";
  }

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const filter = chosen();
    const flag = finding && finding.value ? `${filter}:${finding.value}` : filter;
    let shown = 0;
    for (const row of rows) {
      const fits = (flag === "all" || row.flags.includes(flag)) && words.every((word) => row.text.includes(word));
      row.element.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length}`;
    none.hidden = shown > 0;
  }

  function order() {
    const at = sort.value.lastIndexOf(" ");
    const place = keys.indexOf(sort.value.slice(0, at));
    const sign = sort.value.endsWith(" down") ? -1 : 1;
    // Studies without the value come last either way.
    const rank = (row) => (Number.isFinite(row.values[place]) ? sign * row.values[place] : Infinity);
    rows.sort((a, b) => (place < 0 || rank(a) === rank(b) ? a.order - b.order : rank(a) - rank(b)));
    holder.append(...rows.map((row) => row.element));
  }

  function step(from, by) {
    const visible = rows.filter((row) => !row.element.hidden).map((row) => row.element);
    const next = visible[visible.indexOf(from) + by];
    if (next) next.focus();
  }

  // The address keeps what is chosen, so that a reload or a bookmark shows the same.
  function remember() {
    const state = new URLSearchParams();
    if (chosen() !== "all") state.set("show", chosen());
    if (finding && finding.value) state.set("finding", finding.selectedOptions[0].textContent);
    if (sort.value !== firstSort) state.set("sort", sort.value);
    if (search.value) state.set("search", search.value);
    const text = state.toString();
    if (text || location.hash.includes("=")) history.replaceState(null, "", text ? `#${text}` : "#studies");
  }

  function recall() {
    if (!location.hash.includes("=")) return;
    const state = new URLSearchParams(location.hash.slice(1));
    const radios = [...tools.querySelectorAll("input[name=filter]")];
    const radio = radios.find((one) => one.value === (state.get("show") || "all"));
    if (radio) radio.checked = true;
    if (finding) {
      const option = [...finding.options].find((one) => one.textContent === state.get("finding"));
      finding.value = option ? option.value : "";
    }
    const known = [...sort.options].some((one) => one.value === state.get("sort"));
    sort.value = known ? state.get("sort") : firstSort;
    search.value = state.get("search") || "";
  }

  function refresh() {
    show();
    remember();
  }

  tools.addEventListener("change", (event) => {
    if (event.target === sort) order();
    refresh();
  });
  search.addEventListener("input", refresh);
  search.addEventListener("keydown", (event) => {
    const top = rows.find((row) => !row.element.hidden);
    if (event.key === "Enter" && top) top.element.focus();
    if (event.key === "Escape") {
      search.value = "";
      refresh();
    }
  });

  // Letter keys work only while a study has the focus, so that they take nothing away from other tools.
  holder.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = event.target.closest("article");
    if (event.key === "j" || event.key === "k") step(row, event.key === "j" ? 1 : -1);
    else if (event.key === "/") search.focus();
    else return;
    event.preventDefault();
  });

  // A click, or Enter on an image, shows it large.
  const viewer = document.getElementById("viewer");
  function enlarge(image) {
    viewer.replaceChildren(image.cloneNode());
    viewer.showModal();
  }
  for (const image of holder.querySelectorAll("img")) {
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.setAttribute("aria-label", `Enlarge the ${image.alt}`);
    image.addEventListener("click", () => enlarge(image));
    image.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      enlarge(image);
    });
  }
  viewer.addEventListener("click", () => viewer.close());

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  addEventListener("hashchange", () => {
    recall();
    order();
    show();
  });
  // Browsers keep form values over a reload; the address knows better.
  recall();
  order();
  show();
  if (location.hash.includes("=")) document.getElementById("studies").scrollIntoView();
})();
