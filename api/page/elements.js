// Elements and texts that several modules use.
export const at = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const { data = {}, ...own } = properties;
  const made = Object.assign(document.createElement(name), own);
  Object.assign(made.dataset, data);
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

// An icon of lines, 16 by 16.
export function icon(path) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 16 16");
  drawing.setAttribute("class", "icon line");
  drawing.setAttribute("aria-hidden", "true");
  drawing.append(document.createElementNS(SVG, "path"));
  drawing.firstChild.setAttribute("d", path);
  return drawing;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export const clock = (seconds) => {
  const whole = Math.floor(seconds + 1e-6);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};

export const tenths = (seconds) => {
  const rounded = Math.round(seconds * 10) / 10;
  return `${Math.floor(rounded / 60)}:${(rounded % 60).toFixed(1).padStart(4, "0")}`;
};

export function span(seconds) {
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

export function megabytes(bytes) {
  return bytes < 1e5 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

export function timeLeft(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 2) return "almost done";
  if (seconds < 10) return `about ${Math.round(seconds)} s left`;
  if (seconds < 90) return `about ${5 * Math.round(seconds / 5)} s left`;
  return `about ${Math.round(seconds / 60)} min left`;
}

export function ago(moment, now = Date.now()) {
  const seconds = Math.max(0, (now - new Date(moment)) / 1000);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(moment).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
}

export const isActive = (job) => job.state === "queued" || job.state === "running";

export const titleOf = (job) => job.filename ?? `Recording of ${job.clip_seconds.toFixed(1)} s`;

export const countTakes = ({ request }) => request.shown?.length ?? request.takes;

// One sentence for screen readers, in the only live region that changes while a job runs.
export function announce(sentence) {
  at("said").textContent = sentence;
}

// A menu that closes on a click elsewhere and on Escape, which gives the focus back.
export function menu(label, ...entries) {
  const summary = element("summary", { ariaLabel: label, title: label, textContent: "⋯" });
  const made = element("details", { className: "menu" }, summary, element("div", {}, ...entries));
  made.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !made.open) return;
    made.open = false;
    summary.focus();
  });
  return made;
}

document.addEventListener?.("click", (event) => {
  for (const open of document.querySelectorAll(".menu[open]")) {
    if (!open.contains(event.target) || event.target.closest(".menu > div > *")) open.open = false;
  }
});
