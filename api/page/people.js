// The person on the stage, and cards to choose another one.
import { at, element, span } from "./elements.js";
import { local } from "./service.js";

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export const pictureOf = (person) => (person?.picture ? local(person.picture, "people") : null);

export function portrait(person, { alt = "", lazy = true } = {}) {
  const picture = pictureOf(person);
  if (!picture) return null;
  const image = element("img", { src: picture, alt, decoding: "async" });
  if (lazy) image.loading = "lazy";
  return image;
}

// Fill a frame with the picture of a person, or with a silhouette.
export function showPortrait(frame, person, options) {
  const image = portrait(person, options);
  frame.classList.toggle("empty", !image);
  frame.replaceChildren(...(image ? [image] : []));
  image?.addEventListener("error", () => {
    image.remove();
    frame.classList.add("empty");
  });
}

export class People {
  constructor(onChange) {
    this.list = [];
    this.onChange = onChange;
    at("still").addEventListener("click", () => this.toggleLoop());
  }

  get chosen() {
    const name = at("people").querySelector(":checked")?.value;
    return this.list.find((person) => person.name === name) ?? this.list[0];
  }

  find(name) {
    return this.list.find((person) => person.name === name);
  }

  show(list) {
    this.list = list;
    const legend = at("people").querySelector("legend");
    at("people").replaceChildren(legend, ...list.map((person, index) => this.card(person, index === 0)));
    at("people").hidden = list.length < 2;
    this.changed();
  }

  card(person, checked) {
    const frame = element("div", { className: "frame empty" });
    showPortrait(frame, person);
    const radio = element("input", { type: "radio", name: "person", value: person.name, defaultChecked: checked });
    radio.setAttribute("form", "form");
    radio.addEventListener("change", () => this.changed());
    return element("label", { className: "person" }, radio, frame, element("span", { textContent: person.title }));
  }

  choose(name) {
    const radio = at("people").querySelector(`[value="${CSS.escape(name)}"]`);
    if (radio && !radio.checked) {
      radio.checked = true;
      this.changed();
    }
  }

  changed() {
    const person = this.chosen;
    at("person-title").textContent = person?.title ?? "Nobody is here yet";
    at("person-facts").textContent = person
      ? `Speaks with your voice, up to ${span(person.max_seconds)}, and listens to your partner.`
      : "No person is installed. The operator adds one: see docs/your-own-person.md.";
    at("person-licence").textContent = person ? `Licence: ${person.licence}` : "";
    showPortrait(at("portrait"), person, { alt: person?.title ?? "", lazy: false });
    this.startLoop(person);
    if (person) this.onChange(person);
  }

  startLoop(person) {
    at("still").hidden = !person?.loop;
    if (!person?.loop) return;
    this.loop = element("video", { muted: true, loop: true, playsInline: true, preload: "none", tabIndex: -1 });
    this.loop.setAttribute("aria-hidden", "true");
    this.loop.addEventListener("playing", () => at("portrait").append(this.loop), { once: true });
    this.loop.addEventListener("error", () => (at("still").hidden = true));
    this.loop.src = local(person.loop, "people");
    this.playLoop(!calm.matches);
  }

  toggleLoop() {
    this.playLoop(this.loop.paused);
  }

  // The loop rests while a job is on the stage, and for people who want less motion.
  playLoop(plays) {
    if (!this.loop) return;
    if (plays) this.loop.play().catch(() => {});
    else this.loop.pause();
    at("still").textContent = plays ? "Pause" : "Play";
    at("still").ariaLabel = `${plays ? "Pause" : "Play"} the moving picture`;
  }
}
