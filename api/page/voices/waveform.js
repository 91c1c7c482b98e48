// A waveform as bars on a canvas, in the colour of its lane.
import { peaks } from "./audio.js";

const BAR = 3; // pixels of CSS, with the gap of 2 after it
const STEP = 5;
const FAINT = 0.28;

export class Waveform {
  constructor(track) {
    this.track = track;
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.state = null;
    new ResizeObserver(() => this.draw()).observe(track);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // samples of one lane on a time axis of `seconds`; label: for screen readers.
  show(samples, rate, seconds, label) {
    this.state = { samples, rate, seconds, from: 0, to: seconds, now: null, heights: null };
    this.canvas.setAttribute("aria-label", label);
    this.attach();
  }

  // Levels of a recording in progress, each with its time, on an axis of `seconds`.
  showLive(levels, seconds) {
    this.state = { levels, seconds, from: 0, to: seconds, now: null };
    this.canvas.setAttribute("aria-label", "Recording");
    this.attach();
  }

  attach() {
    if (!this.canvas.isConnected) this.track.replaceChildren(this.canvas);
    this.draw();
  }

  select(from, to) {
    if (this.state) Object.assign(this.state, { from, to });
    this.draw();
  }

  playhead(now) {
    if (this.state) this.state.now = now;
    this.draw();
  }

  remove() {
    this.state = null;
    this.canvas.remove();
  }

  heights(count) {
    const { samples, rate, seconds, levels } = this.state;
    if (levels) {
      const found = new Array(count).fill(0);
      for (const [time, level] of levels) {
        const index = Math.min(count - 1, Math.floor((time / seconds) * count));
        found[index] = Math.max(found[index], level);
      }
      return found;
    }
    if (this.state.heights?.length !== count) {
      const own = Math.max(1, Math.round((count * samples.length) / rate / seconds));
      const found = peaks(samples, own);
      const loudest = Math.max(0.05, ...found);
      this.state.heights = Array.from({ length: count }, (_, index) => (found[index] ?? 0) / loudest);
    }
    return this.state.heights;
  }

  draw() {
    const { width, height } = this.track.getBoundingClientRect();
    if (!this.state || !this.canvas.isConnected || width < STEP) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.fillStyle = getComputedStyle(this.canvas).color;
    const count = Math.floor(width / STEP);
    const { seconds, from, to, now } = this.state;
    this.heights(count).forEach((value, index) => {
      const time = ((index + 0.5) / count) * seconds;
      context.globalAlpha = time >= from && time <= to ? 1 : FAINT;
      const tall = Math.max(2, value * (height - 14));
      context.beginPath();
      context.roundRect(index * STEP + 1, (height - tall) / 2, BAR, tall, BAR / 2);
      context.fill();
    });
    if (now !== null) {
      context.globalAlpha = 1;
      context.fillRect((now / seconds) * width - 1, 0, 2, height);
    }
  }
}
