// Problems stay beside their field until the field is edited.
import { Problem } from "./service.js";
import { at } from "./elements.js";

// Codes without a field: the part of the page that they are about.
const ABOUT = [
  [/^(audio|clip|upload)_/, "audio"],
  [/^(partner)_/, "partner"],
];

// Marks of one form. general: the element for problems that no field has.
export class Problems {
  constructor(form, general) {
    this.form = form;
    this.general = general;
    form.addEventListener("input", (event) => this.clear(event.target.name || event.target.id));
    form.addEventListener("change", (event) => this.clear(event.target.name || event.target.id));
  }

  control(name) {
    const found = this.form.querySelector(`[id="${name}"], [id="${this.form.id}-${name}"]`) ?? this.form.elements[name];
    return found instanceof RadioNodeList ? found[0] : found;
  }

  place(control) {
    const known = at(`${control.id}-problem`);
    if (known) return known;
    const made = Object.assign(document.createElement("p"), { id: `${control.id}-problem`, className: "problem" });
    (control.closest(".field") ?? control).append(made);
    return made;
  }

  // Show a sentence at a field; false if the form has no such field.
  show(name, sentence) {
    const control = this.control(name);
    if (!control) return false;
    const place = this.place(control);
    place.textContent = sentence;
    place.hidden = false;
    control.setAttribute("aria-invalid", "true");
    const described = (control.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean);
    control.setAttribute("aria-describedby", [...new Set([...described, place.id])].join(" "));
    return true;
  }

  clear(name) {
    const control = name && this.control(name);
    if (control?.getAttribute("aria-invalid")) {
      control.removeAttribute("aria-invalid");
      this.place(control).hidden = true;
    }
    this.general.hidden = true;
  }

  clearAll() {
    for (const control of this.form.querySelectorAll("[aria-invalid]")) this.clear(control.id);
    this.general.hidden = true;
  }

  focusFirst() {
    const first = this.form.querySelector("[aria-invalid]");
    const folded = first?.closest("details");
    if (folded) folded.open = true;
    first?.focus();
    (first ?? this.general).scrollIntoView({ block: "nearest" });
  }

  // Show an error of a request, each of its fields where it belongs, the rest above the button.
  report(error) {
    const fields = error instanceof Problem ? [...error.fields] : [];
    const about = ABOUT.find(([pattern]) => pattern.test(error.code ?? ""));
    if (!fields.length && about) fields.push({ field: about[1], detail: error.message });
    const rest = fields.filter(({ field, detail }) => !this.show(field.split(".")[0], sentence(detail)));
    if (!fields.length || rest.length) {
      this.general.textContent = rest.length ? rest.map(({ field, detail }) => `${field}: ${detail}`).join("; ") : error.message;
      this.general.hidden = false;
    }
    this.focusFirst();
  }
}

function sentence(detail) {
  const text = detail.charAt(0).toUpperCase() + detail.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
