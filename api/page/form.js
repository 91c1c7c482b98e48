// Inputs of the request form, built from /openapi.json: a new request field needs no change here.
const EXTENSION = "x-visavis";
const REPEATED = /^(\d+)x\1$/; // a square, shown as one number

export function formFields(api) {
  const body = api.paths["/generate"].post.requestBody.content["multipart/form-data"].schema;
  const schema = body.$ref ? body.$ref.split("/").slice(1).reduce((node, key) => node[key], api) : body;
  return Object.entries(schema.properties)
    .filter(([, property]) => property[EXTENSION]?.form)
    .map(([name, schema]) => ({ name, schema, form: schema[EXTENSION].form }));
}

const isNumber = (schema) => schema.type === "integer" || schema.type === "number";

function option(value, text, selected = false) {
  return Object.assign(document.createElement("option"), { value, textContent: text, defaultSelected: selected });
}

function select(name, options) {
  const input = Object.assign(document.createElement("select"), { name });
  input.append(...options);
  return input;
}

function numberInput({ name, schema, form }) {
  return Object.assign(document.createElement("input"), {
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
  const input = Object.assign(document.createElement("input"), {
    type: "text", name, placeholder: form.placeholder ?? "", spellcheck: false,
  });
  if (schema.pattern) input.pattern = schema.pattern.replace(/^\^|\$$/g, "");
  return input;
}

function input(field) {
  const { name, schema, form } = field;
  if (schema.enum) {
    return select(name, schema.enum.map((value) => option(value, form.labels?.[value] ?? value, value === schema.default)));
  }
  if (form.choices) return select(name, [option("", "Default"), ...form.choices.map((value) => option(value, value))]);
  return isNumber(schema) ? numberInput(field) : textInput(field);
}

function labelled(text, control, className = "") {
  const label = Object.assign(document.createElement("label"), { className });
  label.append(...(className === "check" ? [control, ` ${text}`] : [text, control]));
  return label;
}

function checkbox(name, value, text) {
  return labelled(text, Object.assign(document.createElement("input"), { type: "checkbox", name, value }), "check");
}

// The labels of one field, in order: one for each value of a list that is not on by default.
export function fieldLabels(field) {
  const { name, schema, form } = field;
  if (schema.type === "boolean") return [checkbox(name, "true", form.label)];
  if (schema.type === "array" && schema.items?.enum) {
    const extra = schema.items.enum.filter((value) => !(schema.default ?? []).includes(value));
    return extra.map((value) => checkbox(name, value, `Also ${form.labels?.[value] ?? value}`));
  }
  const label = labelled(form.label, input(field));
  label.title = schema.description ?? "";
  return [label];
}

// Add the values of the form to a FormData; an empty field keeps its default.
export function addValues(data, form, fields) {
  for (const { name, schema } of fields) {
    const given = new FormData(form).getAll(name).filter((value) => value !== "");
    const values = given.length && schema.type === "array" ? [...(schema.default ?? []), ...given] : given;
    for (const value of values) data.append(name, value);
  }
}

// Show a person's defaults in the empty inputs.
export function showDefaults(form, defaults) {
  for (const [name, value] of Object.entries(defaults)) {
    const input = form.elements[name];
    if (input instanceof HTMLSelectElement) input.options[0].textContent = `${String(value).replace(REPEATED, "$1")} (default)`;
    else if (input) input.placeholder = value;
  }
}
