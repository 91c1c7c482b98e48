// Two handles that choose the part of the recording to use, and a player of that part.
import { at, setText, span, tenths } from "../elements.js";

const SHORTEST = 0.1; // seconds, of the service
const STEP = 0.1;

export class Trim {
  constructor(onChange, waves) {
    this.waves = Object.values(waves);
    this.seconds = null;
    this.from = 0;
    this.to = 0;
    this.limit = 0;
    at("from").addEventListener("input", () => this.move("from", Number(at("from").value), onChange));
    at("to").addEventListener("input", () => this.move("to", Number(at("to").value), onChange));
  }

  // seconds: length of the recording, null if it cannot be cut here.
  set(seconds, limit, { keeps = false } = {}) {
    const same = keeps && seconds === this.seconds && this.to - this.from <= limit + 1e-6;
    this.seconds = seconds;
    this.limit = limit;
    at("trim").hidden = seconds === null;
    if (seconds === null) return;
    if (!same) [this.from, this.to] = [0, Math.min(seconds, limit)];
    for (const handle of ["from", "to"]) at(handle).max = Math.ceil(seconds / STEP) * STEP;
    this.show();
  }

  // Moving one handle takes the other along where the part would be too long or too short.
  move(handle, value, onChange) {
    if (handle === "from") {
      this.from = Math.max(0, Math.min(value, this.seconds - SHORTEST));
      this.to = Math.min(this.seconds, Math.max(this.to, this.from + SHORTEST), this.from + this.limit);
    } else {
      this.to = Math.min(this.seconds, Math.max(value, SHORTEST));
      this.from = Math.max(0, Math.min(this.from, this.to - SHORTEST), this.to - this.limit);
    }
    this.show();
    onChange();
  }

  show() {
    for (const handle of ["from", "to"]) {
      at(handle).value = this[handle];
      at(handle).setAttribute("aria-valuetext", `${this[handle].toFixed(1)} seconds`);
    }
    setText(at("part"), `${tenths(this.from)} – ${tenths(this.to)} · ${(this.to - this.from).toFixed(1)} s of up to ${span(this.limit)}`);
    for (const wave of this.waves) wave.select(this.from, this.to);
  }
}
