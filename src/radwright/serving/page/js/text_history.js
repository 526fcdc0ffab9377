/**
 * Undo for a text that the page itself may also replace (the browser's own forgets at every such change). Pure.
 */

const PAUSE_MS = 800;

/** States of a text, and where among them one is. */
export class TextHistory {
  /** @param {string} text */
  constructor(text) {
    this.states = [text];
    this.place = 0;
    this.last = -Infinity;
  }

  get text() {
    return this.states[this.place];
  }

  get canUndo() {
    return this.place > 0;
  }

  get canRedo() {
    return this.place < this.states.length - 1;
  }

  /**
   * Takes a new state. Typing without a pause is one step; whatever else is a step of its own.
   * @param {string} text
   * @param {{typed?: boolean, now?: number}} [how]
   */
  push(text, { typed = false, now = Date.now() } = {}) {
    if (text === this.text) return;
    const goesOn = typed && this.place > 0 && !this.canRedo && now - this.last < PAUSE_MS;
    if (!goesOn) this.place += 1;
    this.states.length = this.place;
    this.states.push(text);
    this.last = typed ? now : -Infinity;
  }

  /** @returns {string} */
  undo() {
    if (this.canUndo) this.place -= 1;
    this.last = -Infinity;
    return this.text;
  }

  /** @returns {string} */
  redo() {
    if (this.canRedo) this.place += 1;
    this.last = -Infinity;
    return this.text;
  }
}
