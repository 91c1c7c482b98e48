// Takes of a job in a grid: play together, hear one, pick some, download all.
import { at, element, icon, menu, setText } from "../elements.js";
import { byTake, describe, download, isLocal, isPreview, mainFile, nameOf, source } from "./outputs.js";
import { livePlayer, playsLive } from "./live.js";
import { Playback } from "./playback.js";
import { openViewer, shownIn3d } from "./viewer.js";

export class Takes {
  // onFull(take): render a take in full that has only a preview.
  constructor({ onPick, onFull }) {
    this.onPick = onPick;
    this.onFull = onFull;
    this.shown = "";
    this.entries = [];
    this.figures = new Map(); // of each take
    this.playback = new Playback(() => this.mark());
  }

  // Numbers of the chosen takes, all when none is chosen.
  get picked() {
    const boxes = [...at("grid").querySelectorAll(".pick input:checked")];
    return [...new Set(boxes.length ? boxes.map((box) => Number(box.value)) : this.entries.map(({ take }) => take))];
  }

  get onlyPreviews() {
    return this.entries.length > 0 && this.entries.every(({ video, preview }) => preview && !video);
  }

  show(job) {
    const live = job.live.filter(playsLive).map((output) => ({ ...output, live: true, bytes: 0, attempt: job.attempt, seconds: job.clip_seconds }));
    const files = [...job.outputs, ...live];
    const signature = `${job.id} ${job.state} ${files.map((file) => identity(file)).join()}`;
    if (signature === this.shown) return;
    this.shown = signature;
    this.entries = byTake(files);
    const several = this.entries.length > 1;
    const ended = job.state === "succeeded";
    at("grid").classList.toggle("one", !several);
    this.place(this.entries.map((entry) => this.kept(entry, { several, ended, job: job.id })));
    this.playback.set([...at("grid").querySelectorAll("video")]);
    at("grid").hidden = !this.entries.length;
    this.showBar(several, ended);
    this.mark();
  }

  // A take that has not changed keeps its element, so that it plays on.
  kept(entry, { job, ...options }) {
    const signature = JSON.stringify([job, options, entry.files.map(identity)]);
    const known = this.figures.get(entry.key);
    if (known?.signature === signature) return known.figure;
    const figure = this.continued(known, entry, options) ?? this.figure(entry, options);
    this.figures.set(entry.key, { signature, figure });
    return figure;
  }

  // The video of a take that was watched while it was made plays on.
  continued(known, entry, options) {
    const video = known?.figure.querySelector("video[data-state]");
    if (!video || video.dataset.state === "cut" || entry.video?.live || !entry.video) return null;
    known.figure.querySelector("figcaption").replaceWith(this.caption(entry, options, video));
    return known.figure;
  }

  place(figures) {
    for (const old of [...at("grid").children]) if (!figures.includes(old)) old.remove();
    figures.forEach((figure, index) => {
      const there = at("grid").children[index] ?? null;
      if (there !== figure) at("grid").insertBefore(figure, there);
    });
  }

  hide() {
    this.playback.set([]);
    this.figures.clear();
    this.shown = "";
    at("grid").replaceChildren();
    at("grid").hidden = at("grid-bar").hidden = true;
  }

  showBar(several, ended) {
    at("grid-bar").hidden = !several;
    if (!several) return;
    this.together = element("button", { type: "button", id: "together", className: "compact" });
    this.together.addEventListener("click", () => this.playback.toggle());
    this.together.hidden = this.playback.videos.length < 2;
    const all = element("button", { type: "button", id: "download-all", className: "quiet compact", textContent: "Download all", hidden: !ended });
    all.addEventListener("click", () => this.downloadAll(all));
    at("grid-bar").replaceChildren(this.together, all, element("span", { className: "soft small", textContent: "One take is heard at a time." }));
  }

  // One archive; files in a bucket one by one, because this page may not read them.
  async downloadAll(button) {
    const files = this.entries.flatMap(({ files }) => files);
    if (!files.every(isLocal)) return files.forEach((output) => download(output).click());
    const { saveZip } = await import("./zip.js");
    await saveZip(files, (done) => setText(button, `${done} of ${files.length} …`)).catch((error) => setText(button, error.message));
    setText(button, "Download all");
  }

  figure(entry, options) {
    const playable = this.video(entry, nameOf(entry));
    if (options.several && playable) quiet(playable);
    const nothing = element("div", { className: "nothing", textContent: `${mainFile(entry).name} has no picture here; download it.` });
    return element("figure", { className: "take", data: { take: entry.key } }, playable ?? nothing, this.caption(entry, options, playable));
  }

  caption(entry, { several, ended }, playable) {
    const name = nameOf(entry);
    const caption = element("figcaption", {}, several ? this.pick(name, entry.take) : element("span", { textContent: name }));
    const output = mainFile(entry);
    if (isPreview(output)) caption.append(element("span", { className: "badge", textContent: "Preview" }));
    if (output.live) caption.append(element("span", { className: "badge", textContent: "Being made" }));
    if (several && playable) caption.append(this.soundButton(name, playable));
    const model = ended && shownIn3d(entry.files);
    if (model && isLocal(model)) caption.append(this.viewerButton(name, model, playable));
    if (ended) {
      const words = `Download ${name.toLowerCase()}`;
      const link = download(output, { className: "button text compact", title: words, ariaLabel: words });
      link.append(icon("M8 2v8M4.5 6.8 8 10.3l3.5-3.5M2.5 13.5h11"));
      caption.append(link, this.more(entry, name));
    }
    return caption;
  }

  video({ video, preview }, name) {
    const output = video ?? preview;
    if (output?.live) return livePlayer(output, output.seconds, name);
    const made = element("video", { controls: true, playsInline: true, preload: "metadata", ariaLabel: name });
    if (!output || !made.canPlayType(output.content_type)) return null;
    made.addEventListener("error", () => {
      made.replaceWith(element("div", { className: "nothing", textContent: "This browser cannot play it; download it." }));
    });
    made.src = source(output);
    return made;
  }

  pick(name, take) {
    const box = element("input", { type: "checkbox", value: String(take), ariaLabel: `Choose ${name.toLowerCase()}` });
    box.addEventListener("change", () => this.onPick());
    return element("label", { className: "check pick" }, box, name);
  }

  soundButton(name, video) {
    const words = `Sound of ${name.toLowerCase()}`;
    const button = element("button", { type: "button", className: "text compact sound", title: words, ariaLabel: words });
    button.append(icon("M2 6v4h2.5L8 13V3L4.5 6zM10.5 5.5a3.5 3.5 0 0 1 0 5M12.5 3.5a6.3 6.3 0 0 1 0 9"));
    button.addEventListener("click", () => this.playback.hear(video));
    return button;
  }

  // A press opens the take in 3D above its caption, the next one closes it.
  viewerButton(name, model, video) {
    const button = element("button", { type: "button", className: "text compact", textContent: "3D", ariaPressed: "false" });
    button.setAttribute("aria-label", `${name} in 3D`);
    button.addEventListener("click", async () => {
      const figure = button.closest("figure");
      const open = figure.querySelector(".viewer");
      button.setAttribute("aria-pressed", String(!open));
      if (open) return open.remove();
      button.disabled = true;
      const failed = () => element("div", { className: "nothing viewer", textContent: "This browser cannot show it in 3D; download it." });
      figure.lastElementChild.before(await openViewer(model, name, video).catch(failed));
      button.disabled = false;
    });
    return button;
  }

  // Every file of the take: each kind of output is one more line.
  more(entry, name) {
    const files = entry.files.map((output) => download(output, { textContent: describe(output) }));
    const full = element("button", { type: "button", textContent: "Render this take in full" });
    full.addEventListener("click", () => this.onFull(entry.take));
    return menu(`Files of ${name.toLowerCase()}`, ...files, ...(entry.video || !entry.preview ? [] : [full]));
  }

  mark() {
    const several = this.entries.length > 1;
    for (const figure of at("grid").children) {
      const video = figure.querySelector("video");
      const heard = several && video !== null && video === this.playback.heard;
      figure.classList.toggle("heard", heard);
      figure.querySelector(".sound")?.setAttribute("aria-pressed", String(heard));
    }
    if (this.together) setText(this.together, this.playback.together ? "Pause all" : "Play all");
  }
}

const identity = ({ name, bytes, attempt }) => `${name}:${bytes}:${attempt ?? ""}`;

// Controls hide the picture of a small video, so they appear when it is pointed at or has the focus.
function quiet(video) {
  video.controls = false;
  video.tabIndex = 0;
  const show = () => (video.controls = true);
  const hide = () => (video.controls = video.matches(":hover, :focus-within, :focus"));
  for (const event of ["pointerenter", "focus"]) video.addEventListener(event, show);
  for (const event of ["pointerleave", "blur"]) video.addEventListener(event, () => setTimeout(hide));
}
