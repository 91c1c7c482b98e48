// The page: people, two voices, the job on the stage, my videos; wired together here.
import { ask, door, enter } from "./door.js";
import { announce, at, element, isActive } from "./elements.js";
import { fieldElement, fill, formFields, invalid, offerPeople, renderFields, showNeeded, showPerson, values } from "./form.js";
import { JobView } from "./jobs/job.js";
import { JobList } from "./jobs/list.js";
import { Streams } from "./jobs/stream.js";
import { People } from "./people.js";
import { Problems } from "./problems.js";
import { onConnection, post, read, remove, send } from "./service.js";
import { Voices } from "./voices/lanes.js";
import { offerListening } from "./voices/listen.js";

const JOB_ID = /^#[0-9a-f-]{8,}$/i;
const CHANNEL = "person_channel"; // set by swapping the lanes, so its input is left out
const PREVIEW = "preview";
const SAMPLE = "conversation.m4a";

const form = at("form");
const problems = new Problems(form, at("problem"));
let fields = []; // of the form, from /openapi.json
let sending = false;
let onceKey = null; // the same press sent twice makes one job
let older = null; // cursor of the next page of the list

const service = {
  cancel: (job) => act(() => post(`jobs/${job.id}/cancel`), show),
  retry: (job) => act(() => post(`jobs/${job.id}/retry`), (again) => begin(again)),
  remove: (job) => act(() => remove(`jobs/${job.id}`), () => gone(job.id)),
  reuse: (job) => reuse(job),
  render: async (job, changes) => begin(await post(`jobs/${job.id}/render`, changes)),
  full: (job, takes) => act(() => post(`jobs/${job.id}/render`, { takes, outputs: ["video"] }), begin),
};
const people = new People((person) => {
  voices.setLimit(person.max_seconds);
  showPerson(form, fields, person);
});
const voices = new Voices({ problems, onChange: () => (onceKey = null) });
const view = new JobView({ people, service });
const list = new JobList({ people, service });
const streams = new Streams({
  onJob: show,
  onGone: gone,
  onEnd: () => watch(),
  onError: (error) => complain(error),
});
const endListening = offerListening(voices);

onConnection({
  lost: () => banner("Connection lost, trying again …"),
  found: () => banner(""),
  refused: ask,
});

function banner(text) {
  if (at("connection").textContent !== text) at("connection").textContent = text;
  at("connection").hidden = !text;
}

function complain(error) {
  if (error.status === 401) return;
  at("problem").textContent = error.message;
  at("problem").hidden = false;
}

async function act(request, then) {
  try {
    then(await request());
  } catch (error) {
    complain(error);
    announce(error.message);
  }
}

// A job as the service describes it now: in the list, and on the stage if it is open there.
function show(job) {
  list.add(job);
  if (view.id === job.id) view.show(job);
  watch();
}

function gone(id) {
  list.drop(id);
  if (view.id === id) {
    if (view.job) location.hash = "";
    else view.missing();
  }
  watch();
}

// Follow the open job, and the oldest other one that is not done.
function watch() {
  const open = view.id && (!view.job || isActive(view.job)) ? [view.id] : [];
  const other = list.active.map(({ id }) => id).filter((id) => id !== view.id).sort();
  streams.watch([...open, ...(document.hidden ? [] : other.slice(0, 1))]);
}

// A new job, or one that runs again, on the stage.
function begin(job) {
  show(job);
  if (location.hash === `#${job.id}`) return watch();
  history.pushState(null, "", `#${job.id}`);
  openHash({ focus: false });
  at("job").scrollIntoView({ block: "nearest" });
}

function openHash({ focus = true } = {}) {
  const id = JOB_ID.test(location.hash) ? location.hash.slice(1) : null;
  list.mark(id);
  if (!id) {
    view.close();
    people.playLoop(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  } else if (view.id !== id) {
    view.open(id, { focus });
    const known = list.get(id);
    if (known) view.show(known);
  }
  watch();
}

function reuse(job) {
  people.choose(job.request.person);
  fill(form, fields, job.request);
  location.hash = "";
  form.scrollIntoView({ block: "nearest" });
  at("audio").focus();
  announce("The settings are filled in. Choose a recording.");
}

function filledIn(extra) {
  const files = voices.files();
  const data = new FormData();
  data.set("audio", files.audio, files.audio.name);
  if (files.partner) data.set("partner", files.partner, files.partner.name);
  data.set("person", people.chosen.name);
  if (files.channel !== "left") data.set(CHANNEL, files.channel);
  for (const [name, texts] of Object.entries({ ...values(form, fields), ...extra })) {
    for (const text of texts) data.append(name, text);
  }
  return data;
}

function faults() {
  const found = invalid(form, fields);
  if (!people.chosen) found.push({ field: "audio", detail: "No person is installed; ask the operator to add one." });
  else if (!voices.files()) found.unshift({ field: "audio", detail: "Choose a file or record a voice first, or try the sample conversation." });
  return found;
}

// Send what the form says. The button keeps the focus: it is not disabled, and a second press does nothing.
async function submit(extra = {}) {
  if (sending) return;
  sending = true;
  problems.clearAll();
  try {
    endListening();
    await voices.stop(); // a recording ends here, and what was said is sent
    const found = faults();
    for (const { field, detail } of found) problems.show(field, detail);
    if (found.length) return problems.focusFirst();
    announce("Sending");
    at("send").setAttribute("aria-busy", "true");
    onceKey ??= [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const response = await send("generate", { method: "POST", body: filledIn(extra), headers: { "Idempotency-Key": onceKey } });
    onceKey = null;
    begin(await response.json());
  } catch (error) {
    if (error.status !== 401) problems.report(error);
  } finally {
    sending = false;
    at("send").removeAttribute("aria-busy");
  }
}

async function trySample() {
  if (sending) return;
  at("sample").setAttribute("aria-busy", "true");
  try {
    const response = await send(`page/${SAMPLE}`);
    const file = new File([await response.blob()], SAMPLE, { type: "audio/mp4" });
    await voices.addFiles([file], "shown");
    await submit();
  } catch (error) {
    complain(error);
  } finally {
    at("sample").removeAttribute("aria-busy");
  }
}

function buildForm(api) {
  fields = formFields(api).filter(({ name }) => name !== CHANNEL);
  view.labels = list.labels = api["x-visavis"]?.stages ?? {};
  const isLast = ({ schema, form }) => Number(schema.type === "boolean" || Boolean(form.needs));
  for (const field of [...fields].sort((a, b) => isLast(a) - isLast(b))) at(field.form.main ? "fields" : "more-fields").append(fieldElement(field));
  showNeeded(form);
  view.again.build(renderFields(api));
  const outputs = fields.find(({ schema }) => schema.items?.enum?.includes(PREVIEW));
  if (!outputs) return;
  const preview = element("button", { type: "button", id: "preview", className: "quiet", textContent: "Preview first" });
  preview.addEventListener("click", () => submit({ [outputs.name]: [PREVIEW] }));
  at("send").append(preview);
}

const pageOfJobs = () => read(`jobs?limit=24${older ? `&cursor=${encodeURIComponent(older)}` : ""}`);

function listJobs(page) {
  for (const job of page.jobs) list.add(job);
  list.showEmpty();
  older = page.next;
  at("older").hidden = !older;
}

async function start() {
  try {
    const [found, api, page] = await Promise.all([read("people"), fields.length ? null : read("openapi.json"), pageOfJobs()]);
    enter();
    if (api) buildForm(api);
    people.show(found.people);
    offerPeople(form, found.people);
    listJobs(page);
    at("sample").hidden = !found.people.length;
    view.again.job = null;
    openHash({ focus: false });
  } catch (error) {
    if (error.status === 401) return;
    enter();
    complain(error);
  } finally {
    at("main").classList.remove("loading");
    at("main").removeAttribute("aria-busy");
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
form.addEventListener("input", () => {
  onceKey = null;
  showNeeded(form);
});
at("sample").addEventListener("click", trySample);
at("older").addEventListener("click", () => act(pageOfJobs, listJobs));
addEventListener("hashchange", () => openHash());
addEventListener("popstate", () => openHash());
document.addEventListener("visibilitychange", watch);
door(start);
start();
