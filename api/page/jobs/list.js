// My videos: every job of this key, newest first, with its picture, state and menu.
import { ago, at, countTakes, element, isActive, menu, setText, timeLeft, titleOf } from "../elements.js";
import { showPortrait } from "../people.js";
import { actionsOf } from "./actions.js";
import { percent, waiting } from "./job.js";
import { byTake, mainFile, source } from "./outputs.js";

const STATES = { queued: "Waiting", running: "Running", succeeded: "Done", failed: "Failed", canceled: "Canceled" };
const MINUTE = 60_000;
const POSTER = 0.4; // seconds into the video

export class JobList {
  constructor({ people, service }) {
    this.people = people;
    this.service = service;
    this.jobs = new Map();
    this.rows = new Map();
    this.labels = {};
    this.near = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) this.loadPicture(target);
    }, { rootMargin: "300px" });
    setInterval(() => this.rows.forEach((row, id) => this.update(row, this.jobs.get(id))), MINUTE);
  }

  get(id) {
    return this.jobs.get(id);
  }

  get active() {
    return [...this.jobs.values()].filter(isActive);
  }

  add(job) {
    this.jobs.set(job.id, job);
    let row = this.rows.get(job.id);
    if (!row) {
      row = this.row(job);
      this.rows.set(job.id, row);
      const older = [...at("jobs").children].find((each) => each.dataset.id < job.id); // ids ascend with time
      at("jobs").insertBefore(row, older ?? null);
    }
    this.update(row, job);
    this.showEmpty();
  }

  drop(id) {
    const row = this.rows.get(id);
    const next = row?.nextElementSibling ?? row?.previousElementSibling;
    const focused = row?.contains(document.activeElement);
    row?.remove();
    this.rows.delete(id);
    this.jobs.delete(id);
    if (focused) (next?.querySelector(".name") ?? at("audio")).focus();
    this.showEmpty();
  }

  showEmpty() {
    at("no-jobs").hidden = this.jobs.size > 0;
    setText(at("no-jobs"), "Nothing here yet. Every video that you make stays in this list.");
  }

  mark(id) {
    this.rows.forEach((row, each) => row.classList.toggle("open", each === id));
  }

  row(job) {
    const frame = element("div", { className: "frame empty" });
    const thumb = element("a", { className: "thumb", href: `#${job.id}`, tabIndex: -1 }, frame);
    thumb.setAttribute("aria-hidden", "true");
    showPortrait(frame, this.people.find(job.request.person));
    const name = element("a", { className: "name", href: `#${job.id}` });
    const facts = element("p", { className: "facts" }, element("span"), " · ", element("time"), element("span"));
    const about = element("div", { className: "about" }, name, facts);
    return element("li", { data: { id: job.id } }, thumb, about);
  }

  // Texts change in place; the menu is made again only when the state changes.
  update(row, job) {
    const [state, time, more] = row.querySelectorAll(".facts > *");
    setText(row.querySelector(".name"), titleOf(job));
    state.className = `state ${job.state}`;
    setText(state, job.state === "running" ? `${waiting(job, this.labels).stage} ${percent(job)}` : STATES[job.state]);
    time.dateTime = job.created_at;
    setText(time, ago(job.created_at));
    const left = job.state === "running" ? timeLeft(job.seconds_left) : "";
    setText(more, left ? ` · ${left}` : countTakes(job) > 1 ? ` · ${countTakes(job)} takes` : "");
    this.showBar(row, job);
    if (row.dataset.state === job.state) return;
    row.dataset.state = job.state;
    const made = menu(`More for ${titleOf(job)}`, ...actionsOf(job, this.service, { quiet: true }));
    const old = row.querySelector(".menu");
    const focused = old?.contains(document.activeElement);
    if (old) old.replaceWith(made);
    else row.querySelector(".about").append(made);
    if (focused) made.querySelector("summary").focus();
    this.near.observe(row);
  }

  showBar(row, job) {
    const bar = row.querySelector("progress");
    if (!isActive(job)) return bar?.remove();
    const shown = bar ?? element("progress", { max: 1, ariaLabel: `Progress of ${titleOf(job)}` });
    shown.value = job.progress;
    if (!bar) row.querySelector(".about").append(shown);
  }

  // The first take's own picture, once the row is near the window.
  loadPicture(row) {
    this.near.unobserve(row);
    const job = this.jobs.get(row.dataset.id);
    if (job?.state !== "succeeded" || job.expired || !job.outputs.length) return;
    const take = byTake(job.outputs)[0];
    const output = take.preview ?? mainFile(take);
    const frame = row.querySelector(".frame");
    if (!output.content_type.startsWith("video/") || frame.querySelector("video")) return;
    const video = element("video", { muted: true, preload: "metadata", tabIndex: -1, playsInline: true });
    video.addEventListener("loadeddata", () => {
      frame.classList.remove("empty");
      frame.replaceChildren(video);
    });
    video.src = `${source(output)}#t=${POSTER}`;
  }
}
