// The page of one job: send a recording, follow its stages, show its outputs.
import { addValues, fieldLabels, formFields, showDefaults } from "./form.js";

const at = (id) => document.getElementById(id);
const form = at("form");
let stageLabels = {}; // of each stage, from /openapi.json
let fields = []; // request fields, from /openapi.json
const KEPT = "visavis-key"; // of this tab only
let recording = null; // a File from the microphone, used instead of a chosen one
let followed = 0; // number of followed jobs: answers to polls of an earlier one are dropped

async function call(path, options = {}) {
  const key = sessionStorage.getItem(KEPT);
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) at("door").hidden = false;
  return response;
}

async function answer(response) {
  const body = await response.json().catch(() => ({ detail: `The server answered ${response.status}.` }));
  if (!response.ok) throw new Error(body.detail);
  return body;
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function fail(message) {
  at("error").textContent = message;
  at("error").hidden = !message;
}

async function listPeople() {
  const { people } = await answer(await call("/people"));
  at("person").replaceChildren(
    ...people.map((person) => element("option", { value: person.name, textContent: person.title })),
  );
  const describe = () => {
    const person = people.find((each) => each.name === at("person").value);
    if (!person) return;
    at("person-hint").textContent = `Up to ${person.max_seconds} s of audio. ${person.licence}.`;
    showDefaults(form, { ...person.defaults, views: person.default_views.join(",") });
    if (form.elements.views) form.elements.views.title = person.views.join(", ");
  };
  at("person").addEventListener("change", describe);
  describe();
  if (!people.length) fail("No person is installed. Ask the operator to add one.");
}

function choose(file) {
  recording = null;
  at("chosen").textContent = file ? file.name : "Choose a file or drop one here";
  listenTo(file);
}

function listenTo(file) {
  const player = at("listen");
  if (player.src) URL.revokeObjectURL(player.src);
  player.hidden = !file;
  if (file) player.src = URL.createObjectURL(file);
}

function acceptDrops() {
  const drop = at("drop");
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
    });
  }
  drop.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    at("audio").files = event.dataTransfer.files;
    choose(at("audio").files[0]);
  });
  at("audio").addEventListener("change", () => choose(at("audio").files[0]));
}

function offerRecording() {
  const button = at("record");
  if (!navigator.mediaDevices || !window.MediaRecorder) return;
  button.hidden = false;
  let recorder = null;
  button.addEventListener("click", async () => {
    if (recorder) return recorder.stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const parts = [];
      recorder = new MediaRecorder(stream);
      recorder.ondataavailable = (event) => parts.push(event.data);
      recorder.onstop = () => {
        stream.getTracks().forEach((track) => track.stop());
        const kind = recorder.mimeType.includes("mp4") ? "m4a" : "webm";
        recorder = null;
        button.textContent = "Record again";
        at("chosen").textContent = "Your recording";
        recording = new File(parts, `recording.${kind}`);
        listenTo(recording);
      };
      recorder.start();
      button.textContent = "Stop";
    } catch {
      fail("The microphone could not be opened. Allow it for this page, or choose a file.");
    }
  });
}

function filledIn() {
  const data = new FormData();
  const file = recording ?? at("audio").files[0];
  if (!file) throw new Error("Choose a recording first.");
  data.set("audio", file);
  const partner = at("partner").files[0];
  if (partner) data.set("partner", partner);
  data.set("person", at("person").value);
  addValues(data, form, fields);
  return data;
}

async function submit(event) {
  event.preventDefault();
  fail("");
  at("go").disabled = true;
  try {
    const job = await answer(await call("/generate", { method: "POST", body: filledIn() }));
    history.replaceState(null, "", `#${job.id}`);
    follow(job.id);
    at("job").scrollIntoView({ block: "nearest" });
  } catch (error) {
    fail(error.message);
    at("error").scrollIntoView({ block: "nearest" });
  } finally {
    at("go").disabled = false;
  }
}

async function follow(id) {
  const mine = ++followed;
  at("outputs").replaceChildren();
  warn([]);
  while (mine === followed) {
    let wait = 1;
    try {
      const response = await call(`/jobs/${encodeURIComponent(id)}`);
      wait = Number(response.headers.get("Retry-After")) || 0;
      const job = await answer(response);
      if (mine !== followed) return;
      fail("");
      show(job);
      if (!wait) return;
    } catch (error) {
      fail(error.message);
      if (!(error instanceof TypeError)) return; // a TypeError is a network error: poll again
      wait = 2;
    }
    await new Promise((resume) => setTimeout(resume, wait * 1000));
  }
}

function show(job) {
  const texts = {
    queued: ["Waiting", job.position > 1 ? `Number ${job.position} in the queue.` : "Next in the queue."],
    running: [`${label(job.stage)}…`, `${Math.round(job.progress * 100)} % of ${job.clip_seconds.toFixed(1)} s of audio.`],
    succeeded: ["Done", `Seed ${job.request.seed} gives the same motion again.`],
    failed: ["The job failed", ""],
    canceled: ["Canceled", ""],
  };
  [at("headline").textContent, at("sentence").textContent] = texts[job.state];
  at("overall").value = job.progress;
  at("overall").hidden = at("stages").hidden = !["queued", "running"].includes(job.state);
  at("stages").replaceChildren(...job.stages.filter((stage) => stage.name !== "queued").map((stage) => bar(stage, job)));
  warn(job.warnings);
  if (job.error) fail(job.error.detail);
  if (job.state === "succeeded") at("outputs").replaceChildren(...job.outputs.map(figure));
}

function warn(warnings) {
  at("warnings").replaceChildren(...warnings.map((each) => element("li", { textContent: each.detail })));
  at("warnings").hidden = !warnings.length;
}

function bar(stage, job) {
  const name = label(stage.name);
  const percent = `${Math.round(stage.progress * 100)} %`;
  return element(
    "li",
    { className: job.state === "running" && stage.name === job.stage ? "now" : "" },
    element("span", { textContent: name }),
    Object.assign(element("progress", { max: 1, value: stage.progress }), { ariaLabel: name }),
    element("output", { textContent: percent }),
  );
}

// A <video> cannot send a key: with a key it uses the signed link, which needs none.
function source(output) {
  if (!sessionStorage.getItem(KEPT)) return output.path;
  const link = new URL(output.url);
  return link.pathname.startsWith("/files/") ? link.pathname + link.search : output.url;
}

function figure(output) {
  const megabytes = (output.bytes / 1e6).toFixed(output.bytes < 1e6 ? 2 : 1);
  const caption = element(
    "figcaption",
    {},
    element("span", { textContent: output.name }),
    element("a", { className: "button quiet", href: output.url, download: output.name, textContent: `Download (${megabytes} MB)` }),
  );
  const video = element("video", { controls: true, playsInline: true, preload: "metadata" });
  if (!output.content_type.startsWith("video/") || !video.canPlayType(output.content_type)) return element("figure", {}, caption);
  video.addEventListener("error", () => video.remove()); // canPlayType was "maybe"
  video.src = source(output);
  video.ariaLabel = `Video ${output.name}`;
  return element("figure", {}, video, caption);
}

const label = (stage) => stageLabels[stage] ?? stage;

async function buildForm() {
  const api = await answer(await call("/openapi.json"));
  stageLabels = api["x-visavis"]?.stages ?? {};
  fields = formFields(api);
  for (const field of fields) at(field.form.main ? "fields" : "more-fields").append(...fieldLabels(field));
}

async function begin() {
  fail("");
  try {
    if (!fields.length) await buildForm();
    await listPeople();
  } catch (error) {
    fail(error.message);
  }
  if (location.hash.length > 1) follow(location.hash.slice(1));
}

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEPT, at("key").value.trim());
  at("key").value = "";
  at("door").hidden = true;
  begin();
});
form.addEventListener("submit", submit);
acceptDrops();
offerRecording();
begin();
