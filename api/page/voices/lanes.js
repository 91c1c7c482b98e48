// The two lanes: who is shown and who is the partner, from one file, two files, or the microphone.
import { at, clock, setText, span, tenths } from "../elements.js";
import { Unusable, fromSamples, mixed, open, part, wav } from "./audio.js";
import { Recorder, canRecord } from "./recorder.js";
import { Trim } from "./trim.js";
import { Waveform } from "./waveform.js";

const LANES = ["shown", "partner"];
const INPUT = { shown: "audio", partner: "partner" };
const WHOLE = 0.01; // seconds: a part that leaves out less is the whole recording
const LONGEST = 480; // seconds on this page: two channels of WAV stay below the usual limit of an upload
const LIVE = 30; // seconds of the axis when a recording begins
const SLACK = 1; // seconds by which two files of one conversation may differ

export class Voices {
  constructor({ problems, onChange }) {
    this.problems = problems;
    this.onChange = onChange;
    this.lanes = { shown: null, partner: null }; // each { recording, channel }, channel null: all, mixed
    this.limit = 20;
    this.recorder = null;
    this.waves = Object.fromEntries(LANES.map((lane) => [lane, new Waveform(at(`track-${lane}`))]));
    this.hints = Object.fromEntries(LANES.map((lane) => [lane, at(`track-${lane}`).textContent]));
    this.trim = new Trim(() => this.show(), this.waves);
    for (const lane of LANES) this.wire(lane);
    at("swap").addEventListener("click", () => this.swap());
    this.acceptDrops();
  }

  wire(lane) {
    const input = at(INPUT[lane]);
    input.addEventListener("change", async () => {
      const files = [...input.files];
      input.value = ""; // the same file may be chosen again
      await this.addFiles(files, lane);
    });
    at(`clear-${lane}`).addEventListener("click", () => this.clear(lane));
    at(`record-${lane}`).hidden = !canRecord();
    at(`record-${lane}`).addEventListener("click", () => (this.recorder ? this.stop() : this.record(lane)));
  }

  // A file that is dropped beside a lane must not open in the tab.
  acceptDrops() {
    const over = (event, is) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      at("voices").classList.toggle("over", is);
    };
    document.addEventListener("dragover", (event) => over(event, true));
    document.addEventListener("dragleave", (event) => over(event, false));
    document.addEventListener("drop", (event) => {
      over(event, false);
      const lane = event.target.closest?.(".lane.partner") ? "partner" : "shown";
      if (event.dataTransfer.files.length) this.addFiles([...event.dataTransfer.files], lane);
    });
  }

  // One file for a lane, or two files for both.
  async addFiles(files, lane) {
    if (!files.length) return;
    await this.stop();
    if (files.length > 2) return this.problems.show(INPUT[lane], "Choose one file, or two: one for each voice.");
    const lanes = files.length === 2 ? LANES : [lane];
    for (const [index, each] of lanes.entries()) {
      this.problems.clear(INPUT[each]);
      setText(at(`track-${each}`), `Reading ${files[index].name} …`);
      try {
        this.put(each, await open(files[index]));
      } catch (error) {
        if (!(error instanceof Unusable)) throw error;
        this.show();
        this.problems.show(INPUT[each], error.message);
      }
    }
  }

  // A recording with two channels fills both lanes, unless the other one has a voice from elsewhere.
  put(lane, recording) {
    const other = this.lanes[lane === "shown" ? "partner" : "shown"];
    const old = this.lanes[lane]?.recording;
    if (recording.channels?.length === 2 && (!other || other.recording === old || lane === "shown")) {
      this.lanes = { shown: { recording, channel: 0 }, partner: { recording, channel: 1 } };
    } else {
      if (lane === "shown" && other && other.recording === old) this.lanes.partner = null;
      this.lanes[lane] = { recording, channel: null };
    }
    this.changed();
  }

  clear(lane) {
    this.lanes[lane] = null;
    this.problems.clear(INPUT[lane]);
    this.changed();
    at(INPUT[lane]).focus();
  }

  swap() {
    if (!this.lanes.shown || !this.lanes.partner) return;
    this.lanes = { shown: this.lanes.partner, partner: this.lanes.shown };
    this.changed({ keepsTrim: true });
  }

  setLimit(seconds) {
    this.limit = Math.min(seconds, LONGEST);
    this.changed({ keepsTrim: true });
  }

  get seconds() {
    const lengths = LANES.map((lane) => this.lanes[lane]?.recording.seconds).filter(Number.isFinite);
    return lengths.length ? Math.max(...lengths) : null;
  }

  get decoded() {
    const used = LANES.map((lane) => this.lanes[lane]).filter(Boolean);
    return used.length > 0 && used.every(({ recording }) => recording.channels);
  }

  changed({ keepsTrim = false } = {}) {
    const cuttable = this.decoded;
    this.trim.set(cuttable ? this.seconds : null, this.limit, { keeps: keepsTrim });
    this.show();
    this.onChange();
  }

  show() {
    const axis = this.seconds;
    for (const lane of LANES) this.showLane(lane, axis);
    at("swap").disabled = !(this.lanes.shown && this.lanes.partner);
    setText(at("trim-note"), this.note());
  }

  showLane(lane, axis) {
    const voice = this.lanes[lane];
    const track = at(`track-${lane}`);
    track.classList.toggle("empty", !voice?.recording.channels);
    at(`clear-${lane}`).hidden = !voice;
    setText(at(`${INPUT[lane]}-label`), voice ? "Change" : "Choose file");
    at(`name-${lane}`).hidden = !voice;
    if (!voice) {
      this.waves[lane].remove();
      return setText(track, this.hints[lane]);
    }
    const { recording, channel } = voice;
    const side = channel === null ? "" : `, ${["left", "right"][channel]} channel`;
    setText(at(`name-${lane}`), `${recording.name}${side}`);
    if (!recording.channels) return setText(track, "This browser shows no waveform of this format; the file is sent as it is.");
    if (this.waves[lane].state?.samples !== this.samples(voice) || this.waves[lane].state?.seconds !== axis) {
      const label = `Waveform of the ${lane === "shown" ? "person shown" : "partner"}: ${recording.name}${side}`;
      this.waves[lane].show(this.samples(voice), recording.rate, axis, label);
    }
    this.waves[lane].select(this.trim.from, this.trim.to);
  }

  note() {
    const [shown, partner] = LANES.map((lane) => this.lanes[lane]?.recording.seconds);
    const long = this.seconds > this.limit + WHOLE ? `The recording is ${clock(this.seconds)} long, and up to ${span(this.limit)} can be used: move the ends to choose the part. ` : "";
    const differ = Number.isFinite(shown) && Number.isFinite(partner) && Math.abs(shown - partner) > SLACK;
    return long + (differ ? `The ${shown < partner ? "shown" : "partner's"} file is ${Math.abs(shown - partner).toFixed(1)} s shorter; it ends in silence.` : "");
  }

  samples({ recording, channel }) {
    if (channel !== null) return recording.channels[channel];
    recording.mix ??= mixed(recording.channels);
    return recording.mix;
  }

  async record(lane) {
    this.problems.clear(INPUT[lane]);
    const other = this.lanes[lane === "shown" ? "partner" : "shown"];
    const axis = Math.max(Math.min(this.limit, LIVE), other?.recording.seconds ?? 0);
    const levels = [];
    try {
      this.recorder = await Recorder.start({
        limit: this.limit,
        onBlock: (peak, seconds) => {
          levels.push([seconds, peak]);
          this.showClock(seconds, peak);
          this.waves[lane].showLive(levels, Math.max(axis, seconds));
        },
        onEnd: () => this.stop(),
      });
    } catch {
      this.problems.show(INPUT[lane], "The microphone could not be opened. Allow it for this page, or choose a file.");
      return;
    }
    this.recording = lane;
    setText(at(`record-${lane}`), "Stop");
    at(`record-${lane}`).classList.add("recording");
    at(`track-${lane}`).classList.remove("empty");
    at("trim").hidden = true;
    at(`track-${lane}`).after(at("live"));
    at("live").hidden = false;
    this.showClock(0, 0);
  }

  showClock(seconds, peak) {
    setText(at("clock"), clock(seconds));
    setText(at("clock-left"), `${clock(Math.ceil(this.limit - seconds))} left`);
    at("level").value = peak;
  }

  // End the recording and keep what was said; nothing happens without one.
  async stop() {
    const recorder = this.recorder;
    if (!recorder) return;
    this.recorder = null;
    const lane = this.recording;
    const { samples, rate } = await recorder.stop();
    at("live").hidden = true;
    at(`record-${lane}`).classList.remove("recording");
    setText(at(`record-${lane}`), "Record again");
    this.waves[lane].remove();
    if (samples.length) this.put(lane, fromSamples(samples, rate, lane === "shown" ? "recording.wav" : "partner.wav"));
    else this.changed({ keepsTrim: true });
  }

  // The files to send, and which channel is the person; null without a voice.
  files() {
    const { shown, partner } = this.lanes;
    if (!shown) return null;
    const together = partner && shown.recording === partner.recording;
    if (together) return { audio: this.whole(shown.recording), channel: shown.channel === 1 ? "right" : "left" };
    return { audio: this.single(shown), partner: partner ? this.single(partner) : null, channel: "left" };
  }

  get cut() {
    return this.trim.seconds !== null && (this.trim.from > WHOLE || this.trim.to < this.trim.seconds - WHOLE);
  }

  whole(recording) {
    if (!this.cut || !recording.channels) return recording.file;
    return this.written(recording.channels, recording);
  }

  single(voice) {
    const { recording } = voice;
    const original = recording.file && (!recording.channels || recording.channels.length === 1);
    if (original && !this.cut) return recording.file;
    return recording.channels ? this.written([this.samples(voice)], recording) : recording.file;
  }

  written(channels, { rate, name, seconds }) {
    const [start, end] = this.cut ? [this.trim.from, this.trim.to] : [0, seconds];
    return wav(channels.map((each) => part(each, rate, start, end)), rate, name);
  }

  // The chosen part as a buffer for listening: shown on the left, partner on the right.
  buffer() {
    const used = LANES.map((lane) => this.lanes[lane]);
    const { rate } = (used[0] ?? used[1]).recording;
    const made = new AudioBuffer({ numberOfChannels: 2, length: Math.max(1, Math.floor((this.trim.to - this.trim.from) * rate)), sampleRate: rate });
    used.forEach((voice, index) => {
      if (voice && voice.recording.rate === rate) made.copyToChannel(part(this.samples(voice), rate, this.trim.from, this.trim.to), index);
    });
    return made;
  }

  describe() {
    return tenths(this.trim.to - this.trim.from);
  }
}
