// The form that renders the motion of a job again: other cameras, size, background, format.
import { at, setText } from "../elements.js";
import { fieldElement, fill, invalid, jsonValues, showPerson } from "../form.js";
import { Problems } from "../problems.js";

const PREFIX = "again-form-";

// Of previews alone, videos are rendered: their outputs are not the wish for the next time.
const withoutPreview = ({ outputs, ...request }) => (outputs?.join() === "preview" ? request : { outputs, ...request });

export class Again {
  constructor({ onRender }) {
    this.fields = [];
    this.form = at("again-form");
    this.problems = new Problems(this.form, at("again-problem"));
    this.form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (this.sending) return;
      this.sending = true;
      await this.submit(onRender);
      this.sending = false;
    });
  }

  build(fields) {
    this.fields = fields;
    at("again-fields").replaceChildren(...fields.map((field) => fieldElement(field, PREFIX)));
  }

  show(job, person, takes) {
    if (this.job !== job.id) {
      this.job = job.id;
      this.form.reset();
      if (person) showPerson(this.form, this.fields, person);
      fill(this.form, this.fields, withoutPreview(job.request));
    }
    this.showTakes(takes);
  }

  showTakes(takes) {
    const which = takes.length > 1 ? `Takes ${takes.join(", ")}` : `Take ${takes[0] ?? 1}`;
    setText(at("again-takes"), `${which}: the same motion, a new look. It is much faster than a new take.`);
  }

  async submit(onRender) {
    this.problems.clearAll();
    const faults = invalid(this.form, this.fields);
    for (const { field, detail } of faults) this.problems.show(field, detail);
    if (faults.length) return this.problems.focusFirst();
    try {
      await onRender(jsonValues(this.form, this.fields));
    } catch (error) {
      this.problems.report(error);
    }
  }
}
