// Inputs of a form, built from /openapi.json: a new request field needs no change here.
const EXTENSION = "x-visavis";
const REPEATED = /^(\d+)x\1$/; // a square, shown as one number

const resolved = (api, schema) =>
  schema.$ref ? schema.$ref.split("/").slice(1).reduce((node, key) => node[key], api) : schema;

function body(api, path, kind) {
  return resolved(api, api.paths[path].post.requestBody.content[kind].schema).properties;
}

// Fields of POST /generate that have an input.
export function formFields(api) {
  return Object.entries(body(api, "/generate", "multipart/form-data"))
    .filter(([, property]) => property[EXTENSION]?.form)
    .map(([name, schema]) => ({ name, schema, form: schema[EXTENSION].form }));
}

// Those of them that mean the same when motion is rendered again.
export function renderFields(api) {
  const known = body(api, "/jobs/{job_id}/render", "application/json");
  return formFields(api).filter(({ name, schema }) => known[name] && !("items" in known[name] && schema.type !== "array"));
}

const isNumber = (schema) => schema.type === "integer" || schema.type === "number";
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function make(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

const option = (value, text, selected = false) => make("option", { value, textContent: text, defaultSelected: selected });

function numberInput({ name, schema, form }) {
  return make("input", {
    type: "number",
    name,
    min: schema.minimum ?? "",
    max: schema.maximum ?? "",
    step: form.step ?? (schema.type === "integer" ? 1 : "any"),
    defaultValue: schema.default ?? "",
    placeholder: form.placeholder ?? "",
    inputMode: schema.type === "integer" ? "numeric" : "decimal",
  });
}

function textInput({ name, schema, form }) {
  const input = make("input", { type: "text", name, placeholder: form.placeholder ?? "", spellcheck: false, autocomplete: "off" });
  if (schema.pattern) input.pattern = schema.pattern.replace(/^\^|\$$/g, "");
  return input;
}

function control(field) {
  const { name, schema, form } = field;
  if (schema.enum) {
    const values = schema.enum.map((value) => option(value, capital(form.labels?.[value] ?? value), value === schema.default));
    return make("select", { name }, ...(schema.default == null ? [option("", "Default")] : []), ...values);
  }
  if (form.people) return make("select", { name, className: "people-of-form" }, option("", capital(form.placeholder ?? "Default")));
  if (form.choices) return make("select", { name }, option("", "Default"), ...form.choices.map((value) => option(value, value)));
  return isNumber(schema) ? numberInput(field) : textInput(field);
}

function chip(name, value, text, checked = false) {
  const input = make("input", { type: "checkbox", name, value, defaultChecked: checked });
  return make("label", { className: "chip" }, input, text);
}

function picker(text) {
  const colour = make("input", { type: "color", value: "#8d8782", ariaLabel: "Pick a colour" });
  colour.addEventListener("input", () => {
    text.value = colour.value;
    text.dispatchEvent(new Event("input", { bubbles: true }));
  });
  return make("div", { className: "colour" }, text, colour);
}

// One field with its label and a line of help. prefix: makes ids of a second form different.
export function fieldElement(field, prefix = "") {
  const node = bareElement(field, prefix);
  if (field.form.needs) Object.assign(node.dataset, { needs: field.form.needs });
  return node;
}

function bareElement(field, prefix) {
  const { name, schema, form } = field;
  const id = `${prefix}${name}`;
  const help = make("p", { className: "help", id: `${id}-help`, textContent: form.main ? "" : (schema.description ?? "") });
  if (schema.type === "array") {
    const values = schema.items?.enum ?? [];
    const chips = values.map((value) => chip(name, value, capital(form.labels?.[value] ?? value), schema.default?.includes(value)));
    const group = make("fieldset", { className: "field full" }, make("legend", { textContent: form.label }), make("div", { className: "chips" }, ...chips), help);
    group.id = id;
    group.tabIndex = -1;
    return group;
  }
  if (schema.type === "boolean") {
    const box = make("input", { type: "checkbox", name, value: "true", id });
    return make("div", { className: form.main ? "field" : "field full" }, make("label", { className: "check" }, box, form.label), help);
  }
  const input = control(field);
  input.id = id;
  input.setAttribute?.("aria-describedby", help.id);
  const label = make("label", { htmlFor: id, textContent: form.label });
  return make("div", { className: "field" }, label, form.colour ? picker(input) : input, help);
}

// Hide fields that mean nothing without the tick of another one; hidden ones are not sent.
// request: of an earlier job, for a form without the other field.
export function showNeeded(form, request = {}) {
  for (const node of form.querySelectorAll("[data-needs]")) {
    const box = form.elements[node.dataset.needs];
    node.hidden = !(box ? box.checked : request[node.dataset.needs]);
    for (const input of node.querySelectorAll("input, select")) input.disabled = node.hidden;
  }
}

// Offer the persons in the inputs that name one.
export function offerPeople(form, people) {
  for (const select of form.querySelectorAll(".people-of-form")) {
    const chosen = select.value;
    select.replaceChildren(select.options[0], ...people.map(({ name, title }) => option(name, title)));
    select.value = people.some(({ name }) => name === chosen) ? chosen : "";
  }
}

const same = (a, b) => a.length === b.length && a.every((value) => b.includes(value));

// The values that differ from the defaults, as lists of strings by field.
export function values(form, fields) {
  const given = new FormData(form);
  const found = {};
  for (const { name, schema } of fields) {
    const texts = given.getAll(name).filter((value) => typeof value === "string" && value !== "");
    if (texts.length && !(schema.type === "array" && same(texts, schema.default ?? []))) found[name] = texts;
  }
  return found;
}

// The same as JSON: numbers are numbers, lists are lists.
export function jsonValues(form, fields) {
  const found = values(form, fields);
  return Object.fromEntries(
    fields.filter(({ name }) => name in found).map(({ name, schema }) => {
      const texts = found[name];
      if (schema.type === "array") return [name, texts];
      if (schema.type === "boolean") return [name, texts[0] === "true"];
      return [name, isNumber(schema) ? Number(texts[0]) : texts[0]];
    }),
  );
}

// Invalid values, each with a sentence, before anything is sent.
export function invalid(form, fields) {
  return fields.flatMap(({ name, schema, form: shown }) => {
    const input = form.elements[name];
    if (!(input instanceof HTMLInputElement) || input.validity.valid) return [];
    const { minimum, maximum } = schema;
    const limits = minimum !== undefined && maximum !== undefined ? `, from ${minimum} to ${maximum}` : "";
    const kind = schema.type === "integer" ? "a whole number" : isNumber(schema) ? "a number" : "";
    const wanted = kind ? `${kind}${limits}` : (schema.description ?? "").replace(/\.$/, "");
    const entered = input.value === "" ? "" : `, not ${input.value}`;
    return [{ field: name, detail: kind ? `${shown.label} should be ${wanted}${entered}.` : `${shown.label}: ${wanted}${entered}.` }];
  });
}

// Fill a form with the values of an earlier request; null means the default.
export function fill(form, fields, request) {
  for (const { name, schema } of fields) {
    const value = request[name];
    if (value === undefined) continue;
    if (schema.type === "array") {
      for (const box of form.querySelectorAll(`[name="${name}"]`)) box.checked = value ? value.includes(box.value) : box.defaultChecked;
      continue;
    }
    const input = form.elements[name];
    if (!input) continue;
    if (schema.type === "boolean") {
      input.checked = Boolean(value);
      continue;
    }
    const text = value === null ? "" : String(value).replace(REPEATED, "$1");
    if (input instanceof HTMLSelectElement && ![...input.options].some((each) => each.value === text)) input.append(option(text, text));
    input.value = text === "" && schema.default !== undefined ? schema.default : text;
  }
  showNeeded(form, request);
}

// Show a person's defaults in the empty inputs, and the person's own choices as chips.
export function showPerson(form, fields, person) {
  for (const [name, value] of Object.entries(person.defaults)) {
    if (value === null) continue;
    const input = form.elements[name];
    if (input instanceof HTMLSelectElement) input.options[0].textContent = `${String(value).replace(REPEATED, "$1")} (default)`;
    else if (input instanceof HTMLInputElement && value !== null) input.placeholder = value;
  }
  for (const field of fields.filter((each) => each.form.person_values)) {
    const chips = form.querySelector(`fieldset[id$="${field.name}"] .chips`);
    const chosen = new FormData(form).getAll(field.name);
    chips?.replaceChildren(...person[field.form.person_values].map((value) => chip(field.name, value, value, chosen.includes(value))));
  }
}
