/**
 * The strip under the images: evidence on or off, which kind, how opaque, and one scale with its unit.
 */
import { el, fill } from "./dom.js";
import { LEAST_TOP } from "./overlay.js";

/** Said while no sentence is looked at. */
export const CHOOSE = "Choose a sentence to see what it rests on.";
const KINDS = { occlusion: "Hiding regions", attention: "Attention" };

/** What of the evidence is shown, and its scale. */
export class Legend {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    this.on = true;
    this.kind = "occlusion";
    this.opacity = 0.5;
    this.state = el("span", { class: "muted", role: "status" }, CHOOSE);
    this.toggleButton = el("button", { type: "button", "aria-pressed": "true", title: "Evidence on, off (v)" }, "Evidence ", el("kbd", {}, "v"));
    this.toggleButton.addEventListener("click", () => this.toggle());
    const slider = el("input", { type: "range", min: "0.1", max: "1", step: "0.05", "aria-label": "Opacity of the evidence" });
    slider.value = String(this.opacity);
    slider.addEventListener("input", () => {
      this.opacity = Number(slider.value);
      this.changed();
    });
    this.opacityBox = el("label", { hidden: true }, "Opacity", slider);
    this.kinds = el("select", { "aria-label": "Kind of evidence", hidden: true });
    this.kinds.addEventListener("change", () => {
      this.kind = this.kinds.value;
      this.changed();
    });
    this.low = el("span", { class: "num" });
    this.high = el("span", { class: "num" });
    this.ramp = el("span", { class: "ramp", "aria-hidden": "true" });
    this.scale = el("div", { class: "scale", hidden: true }, this.low, this.ramp, this.high);
    this.node = el("div", { class: "legend", role: "group", "aria-label": "Evidence" }, this.toggleButton, this.kinds, this.opacityBox, this.scale, this.state);
  }

  toggle() {
    this.on = !this.on;
    this.toggleButton.setAttribute("aria-pressed", String(this.on));
    this.changed();
  }

  /** @param {string} text while there is nothing to show */
  say(text) {
    this.state.textContent = text;
  }

  /** @param {any} evidence */
  offer(evidence) {
    const kinds = Object.keys(KINDS).filter((kind) => evidence?.maps?.[kind]?.length > 0);
    if (kinds.length > 0 && !kinds.includes(this.kind)) this.kind = kinds[0];
    fill(this.kinds, kinds.map((kind) => el("option", { value: kind }, KINDS[kind])));
    this.kinds.value = this.kind;
    this.kinds.hidden = kinds.length < 2;
    this.opacityBox.hidden = kinds.length === 0;
    this.offered = kinds.length > 0;
  }

  /**
   * @param {number} top
   * @param {{value: number} | null} peak
   * @param {string} view
   * @param {string} unit
   */
  describe(top, peak, view, unit) {
    this.scale.hidden = !this.offered || !this.on;
    if (!this.offered) return;
    if (!this.on) {
      this.say("The evidence is hidden.");
      return;
    }
    const nats = this.kind === "occlusion";
    this.ramp.classList.toggle("signed", nats);
    const end = nats ? top.toFixed(2) : `${(100 * top).toFixed(1)} %`;
    this.low.textContent = nats ? `\u2212${end}` : "0";
    this.high.textContent = nats ? `+${end} ${unit}` : `${end} of its attention`;
    if (peak === null) this.say("No region speaks for it.");
    else if (nats && peak.value < LEAST_TOP.occlusion) this.say("Weak: no region matters much.");
    else if (nats) this.say(`Peak ${peak.value.toFixed(2)} ${unit}, ${view}`);
    else this.say(`Peak ${(100 * peak.value).toFixed(1)} %, ${view}`);
  }
}
