/**
 * The upload dialog: files by drop or picker, indication, accession; the server's refusals where they belong.
 */
import { ask } from "./api.js";
import { openDialog } from "./dialogs.js";
import { announce, el, fill, toast } from "./dom.js";
import { fileSize } from "./words.js";

function randomKey() {
  return [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(16)).join("-");
}

/**
 * Opens the dialog.
 * @param {File[]} files chosen already
 */
export function openUpload(files) {
  /** @type {File[]} */
  let chosen = [...files];
  // However often this dialog is sent, the server makes one study of it; other files are another request.
  let key = randomKey();
  const list = el("ul", { class: "files" });
  const picker = el("input", { type: "file", multiple: true, class: "unseen", tabindex: "-1", "aria-label": "Image files" });
  const pick = el("button", { type: "button", autofocus: true, on: { click: () => picker.click() } }, "Choose files");
  const drop = el(
    "div",
    { class: "drop" },
    el("p", {}, "Drop the views of one study here, or"),
    pick,
    el("p", { class: "muted" }, "DICOM (any file name), PNG or JPEG. All files together are one study."),
    picker,
  );
  const indication = el("textarea", { id: "indication", rows: 2, autocomplete: "off", spellcheck: "false", "aria-describedby": "indication-wrong" });
  const accession = el("input", { type: "text", id: "accession", autocomplete: "off", "aria-describedby": "accession-wrong" });
  const wrong = Object.fromEntries(
    ["files", "indication", "accession"].map((name) => [name, el("p", { class: "wrong", id: `${name}-wrong`, role: "alert" })]),
  );
  const add = (/** @type {Iterable<File>} */ more) => {
    for (const file of more) {
      if (!chosen.some((other) => other.name === file.name && other.size === file.size)) chosen.push(file);
    }
    key = randomKey();
    draw();
  };
  picker.addEventListener("change", () => {
    add(picker.files ?? []);
    picker.value = "";
  });
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    drop.classList.remove("over");
    add(event.dataTransfer?.files ?? []);
  });

  function draw() {
    fill(
      list,
      chosen.map((file, place) => {
        const away = el("button", { type: "button", class: "quiet", "aria-label": `Leave out ${file.name}` }, "\u00d7");
        away.addEventListener("click", () => {
          chosen.splice(place, 1);
          key = randomKey();
          draw();
          pick.focus();
        });
        return el("li", {}, el("span", {}, file.name), el("span", { class: "num muted" }, fileSize(file.size)), away);
      }),
    );
  }

  async function send() {
    Object.values(wrong).forEach((node) => (node.textContent = ""));
    if (chosen.length === 0) {
      wrong.files.textContent = "Choose at least one image.";
      return false;
    }
    const form = new FormData();
    chosen.forEach((file) => form.append("files", file, file.name));
    if (indication.value.trim()) form.append("indication", indication.value.trim());
    if (accession.value.trim()) form.append("accession", accession.value.trim());
    announce("Uploading");
    try {
      const answer = await ask("/v1/studies", {
        method: "POST",
        body: form,
        headers: { "Idempotency-Key": key },
        again: true,
        onWait: (seconds) => (wrong.files.textContent = `The queue is full; sending again in ${seconds} s.`),
      });
      const { study } = await answer.json();
      toast("Uploaded. The draft is being written.");
      location.hash = `#/study/${study.id}`;
      return true;
    } catch (error) {
      const later = error.retryAfter > 0 ? ` Try again in ${error.retryAfter} s.` : "";
      // A line for each file that was refused.
      (wrong[error.field] ?? wrong.files).textContent = error.message + later;
      return false;
    }
  }

  const field = (/** @type {string} */ name, /** @type {string} */ label, /** @type {HTMLElement} */ input) =>
    el("div", { class: "field" }, el("label", { for: name }, label), input, wrong[name]);
  openDialog({
    title: "Upload a study",
    body: [
      drop,
      list,
      wrong.files,
      field("indication", "Indication (the network may read it)", indication),
      field("accession", "Accession number", accession),
    ],
    actions: [{ label: "Cancel" }, { label: "Upload", primary: true, run: send }],
  });
  draw();
}
