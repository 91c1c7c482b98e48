// One job on the stage: waiting with one bar, done with its takes, or ended without.
import { announce, at, countTakes, element, isActive, setText, timeLeft, titleOf } from "../elements.js";
import { showPortrait } from "../people.js";
import { Again } from "./again.js";
import { actionsOf } from "./actions.js";
import { Takes } from "./takes.js";

const WORDS = { succeeded: "Done", failed: "Failed", canceled: "Canceled" };

// Text of an active job: its stage and what is known of the time.
export function waiting(job, labels) {
  if (job.state === "queued") {
    return { stage: labels.queued ?? "Waiting", left: job.position > 1 ? `number ${job.position} in the queue` : "next in the queue" };
  }
  return { stage: labels[job.stage] ?? job.stage, left: timeLeft(job.seconds_left) };
}

export const percent = (job) => `${Math.round(job.progress * 100)} %`;

export class JobView {
  constructor({ people, service }) {
    this.people = people;
    this.service = service; // what can be done with a job: see page.js
    this.job = null;
    this.labels = {};
    this.spoken = "";
    this.takes = new Takes({
      onPick: () => this.again.showTakes(this.takes.picked),
      onFull: (take) => this.service.full(this.job, [take]),
    });
    this.again = new Again({ onRender: (changes) => this.service.render(this.job, { ...changes, takes: this.takes.picked }) });
  }

  get id() {
    return this.opened ?? null;
  }

  // Open a job by its id; its contents follow with the first event.
  open(id, { focus = false } = {}) {
    if (this.opened !== id) {
      this.opened = id;
      this.job = null;
      this.spoken = "";
      this.takes.hide();
      at("again").hidden = at("again").open = false;
      for (const part of ["wait", "outcome", "warnings", "stages-fold"]) at(part).hidden = true;
      setText(at("job-title"), "Loading …");
      setText(at("job-facts"), "");
      at("job-actions").replaceChildren();
    }
    at("idle").hidden = true;
    at("job").hidden = false;
    this.people.playLoop(false);
    if (focus) at("job-title").focus({ preventScroll: true });
  }

  close() {
    this.opened = this.job = null;
    this.takes.hide();
    at("job").hidden = true;
    at("idle").hidden = false;
    document.title = "visavis";
  }

  missing() {
    setText(at("job-title"), "Not found");
    this.outcome("This video does not exist", "It may have been deleted, or it belongs to another key.");
    at("wait").hidden = at("stages-fold").hidden = at("again").hidden = true;
    at("job-actions").replaceChildren();
    document.title = "visavis";
  }

  show(job) {
    const before = this.job;
    this.job = job;
    const active = isActive(job);
    setText(at("job-title"), titleOf(job));
    setText(at("job-facts"), this.facts(job));
    at("wait").hidden = at("stages-fold").hidden = !active;
    if (active) this.showWaiting(job, before);
    else this.showEnd(job);
    this.showWarnings(job.warnings);
    this.showTakes(job);
    if (before?.state !== job.state) this.showActions(job);
    document.title = active ? `${percent(job)} · visavis` : `${WORDS[job.state]} · ${titleOf(job)}`;
    this.speak(job);
  }

  showActions(job) {
    const full = element("button", { type: "button", id: "full", className: "compact", textContent: "Make the full video" });
    full.addEventListener("click", () => this.service.full(this.job, this.takes.picked));
    const only = job.state === "succeeded" && !job.expired && this.takes.onlyPreviews;
    at("job-actions").replaceChildren(...(only ? [full] : []), ...actionsOf(job, this.service));
  }

  facts(job) {
    const { request } = job;
    const person = this.people.find(request.person);
    const shown = request.both ? [request.person, request.partner_person ?? request.person] : [request.person];
    const titles = shown.map((name) => this.people.find(name)?.title ?? name);
    const takes = countTakes(job);
    const size = (request.size ?? person?.defaults.size ?? "").replace("x", " × ");
    const views = (request.views ?? person?.default_views ?? []).join(" + ");
    const parts = [titles.join(" and "), `${job.clip_seconds.toFixed(1)} s`, size, views, takes > 1 ? `${takes} takes` : "", `seed ${request.seed}`];
    return parts.filter(Boolean).join(" · ");
  }

  showWaiting(job, before) {
    if (before === null || !isActive(before)) showPortrait(at("wait-picture"), this.people.find(job.request.person), { lazy: false });
    at("outcome").hidden = at("again").hidden = true;
    const { stage, left } = waiting(job, this.labels);
    setText(at("stage"), `${stage} …`);
    setText(at("left"), left);
    setText(at("percent"), percent(job));
    at("overall").value = job.progress;
    this.showStages(job);
  }

  // Rows are made once, so nothing moves and the focus stays.
  showStages(job) {
    const stages = job.stages.filter(({ name }) => name !== "queued");
    if (at("stages").children.length !== stages.length) at("stages").replaceChildren(...stages.map(({ name }) => this.stageRow(name)));
    stages.forEach((stage, index) => {
      const row = at("stages").children[index];
      row.className = job.state === "running" && stage.name === job.stage ? "now" : "";
      row.querySelector("progress").value = stage.progress;
      setText(row.lastElementChild, `${Math.round(stage.progress * 100)} %`);
    });
  }

  stageRow(name) {
    const label = this.labels[name] ?? name;
    const bar = element("progress", { max: 1, value: 0, ariaLabel: label });
    return element("li", {}, element("span", { textContent: label }), bar, element("span", { className: "number" }));
  }

  showEnd(job) {
    const texts = {
      succeeded: job.expired ? ["Its files were removed", "They were kept for a while; send the recording again."] : null,
      failed: ["It did not work", job.error?.detail ?? "The reason is not known."],
      canceled: ["Canceled", job.error?.detail ?? "It was canceled before it was done."],
    };
    const text = texts[job.state];
    at("outcome").hidden = !text;
    if (text) this.outcome(...text);
    at("again").hidden = job.state !== "succeeded" || job.expired;
    if (!at("again").hidden) this.again.show(job, this.people.find(job.request.person), this.takes.picked);
  }

  outcome(title, detail) {
    setText(at("outcome-title"), title);
    setText(at("outcome-detail"), detail);
    at("outcome").hidden = false;
  }

  showWarnings(warnings) {
    const texts = warnings.map(({ detail }) => detail);
    const shown = [...at("warnings").children].map((item) => item.textContent);
    if (texts.join("\n") !== shown.join("\n")) at("warnings").replaceChildren(...texts.map((textContent) => element("li", { textContent })));
    at("warnings").hidden = !texts.length;
  }

  // Takes of a job that has ended, or the previews that exist so far.
  showTakes(job) {
    const visible = (job.outputs.length > 0 || job.live.length > 0) && !job.expired;
    at("wait-picture").hidden = visible;
    at("wait").classList.toggle("plain", visible);
    if (!visible) return this.takes.hide();
    this.takes.show(job);
    this.again.showTakes(this.takes.picked);
  }

  // At most one sentence for each stage.
  speak(job) {
    const sentence = isActive(job) ? waiting(job, this.labels).stage : `${titleOf(job)}: ${WORDS[job.state].toLowerCase()}`;
    if (sentence === this.spoken) return;
    if (this.spoken || isActive(job)) announce(sentence);
    this.spoken = sentence;
  }
}
