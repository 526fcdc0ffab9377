"use strict";
// Shows the evidence of one sentence at a time; without it the first sentence's map and every sentence's numbers stand.
(() => {
  const list = document.getElementById("sentences");
  if (!list) return;
  const overlays = [...document.querySelectorAll(".overlay")];
  const panels = [...document.querySelectorAll(".panel")];
  const legends = [...document.querySelectorAll(".scale, .strongest")];
  const kinds = document.getElementById("kinds");
  kinds.hidden = false;

  const checked = (name) => document.querySelector(`input[name=${name}]:checked`).value;

  function show(sentence) {
    const kind = checked("kind");
    for (const part of overlays) part.hidden = part.dataset.sentence !== sentence || part.dataset.kind !== kind;
    for (const part of panels) part.hidden = part.dataset.sentence !== sentence;
    for (const part of legends) part.hidden = part.dataset.kind !== kind;
    for (const label of list.querySelectorAll("label")) label.classList.toggle("shown", label.dataset.sentence === sentence);
  }

  const chosen = () => show(checked("sentence"));

  list.addEventListener("change", chosen);
  kinds.addEventListener("change", chosen);
  // The mouse looks without choosing: what was chosen comes back when it leaves the list.
  for (const label of list.querySelectorAll("label")) {
    label.addEventListener("mouseenter", () => show(label.dataset.sentence));
  }
  list.addEventListener("mouseleave", chosen);
  chosen();
})();
