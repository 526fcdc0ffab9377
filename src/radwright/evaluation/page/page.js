"use strict";
// Filter, search, sort and keys; everything is readable without it.
(() => {
  const holder = document.getElementById("rows");
  if (!holder) return;
  const tools = document.getElementById("tools");
  const search = document.getElementById("search");
  const sort = document.getElementById("sort");
  const count = document.getElementById("count");
  const none = document.getElementById("none");
  const keys = [...new Set([...sort.options].map((option) => option.value.split(" ").slice(0, -1).join(" ")))].filter(Boolean);
  const rows = [...holder.children].map((element, order) => ({
    element,
    order,
    flags: element.dataset.flags.split(" "),
    values: element.dataset.values.split(" ").map(Number),
    text: element.textContent.toLowerCase(),
  }));
  tools.hidden = false;

  function chosen() {
    const radio = tools.querySelector("input[name=filter]:checked");
    return radio ? radio.value : "all";
  }

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const filter = chosen();
    let shown = 0;
    for (const row of rows) {
      const fits = (filter === "all" || row.flags.includes(filter)) && words.every((word) => row.text.includes(word));
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

  tools.addEventListener("change", (event) => {
    if (event.target === sort) order();
    show();
  });
  search.addEventListener("input", show);
  search.addEventListener("keydown", (event) => {
    const first = rows.find((row) => !row.element.hidden);
    if (event.key === "Enter" && first) first.element.focus();
    if (event.key === "Escape") {
      search.value = "";
      show();
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
  // Browsers keep form values over a reload.
  order();
  show();
})();
