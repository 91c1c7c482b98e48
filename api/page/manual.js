// The API reference, built from /openapi.json without a library.
const element = (name, text = "", ...children) => {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
};

const resolved = (schema, root) =>
  schema?.$ref ? schema.$ref.split("/").slice(1).reduce((at, key) => at[key], root) : schema;

function kind(schema, root) {
  const known = resolved(schema, root) ?? {};
  if (known.anyOf) return known.anyOf.map((each) => kind(each, root)).filter((each) => each !== "null").join(" or ");
  if (known.enum) return known.enum.join(" | ");
  if (known.contentMediaType === "application/json") return "JSON";
  if (known.format === "binary" || known.contentMediaType) return "file";
  if (known.contentEncoding) return known.contentEncoding;
  if (known.type === "array") return `list of ${kind(known.items, root)}`;
  const low = known.minimum ?? known.exclusiveMinimum;
  const high = known.maximum ?? known.exclusiveMaximum;
  const range = low !== undefined || high !== undefined ? ` ${low ?? ""}..${high ?? ""}` : "";
  return (known.type ?? known.title ?? "any") + range;
}

// Text between backticks is code.
const written = (name, text) =>
  element(name, "", ...text.split("`").map((part, place) => (place % 2 ? element("code", part) : part)));

function table(heads, rows) {
  const head = element("tr", "", ...heads.map((text) => element("th", text)));
  const body = rows.map((row) => element("tr", "", ...row.map((text) => written("td", text ?? ""))));
  return element("table", "", head, ...body);
}

function inputs(operation, root) {
  const rows = (operation.parameters ?? []).map((each) => [
    each.name, each.in, kind(each.schema, root), each.required ? "needed" : String(each.schema.default ?? ""), each.description,
  ]);
  return [...rows, ...body(operation, root)];
}

const FORMS = { "multipart/form-data": "form", "application/json": "JSON" };

// A field of both form and JSON is listed once, with both kinds if they differ.
function body(operation, root) {
  const rows = new Map();
  for (const [type, content] of Object.entries(operation.requestBody?.content ?? {})) {
    const schema = resolved(content.schema, root);
    for (const [name, each] of Object.entries(schema.properties ?? {})) {
      const needed = (schema.required ?? []).includes(name);
      const entry = rows.get(name) ?? { places: [], kinds: new Set(), row: [needed ? "needed" : plain(each.default), each.description] };
      entry.places.push(FORMS[type] ?? type);
      entry.kinds.add(kind(each, root));
      rows.set(name, entry);
    }
  }
  return [...rows].map(([name, { places, kinds, row }]) => [name, places.join(", "), [...kinds].join(" or "), ...row]);
}

function plain(value) {
  if (Array.isArray(value)) return value.join(", ");
  return value && typeof value === "object" ? JSON.stringify(value) : String(value ?? "");
}

function answers(operation) {
  return Object.entries(operation.responses).flatMap(([status, response]) => {
    const examples = Object.entries(response.content?.["application/problem+json"]?.examples ?? {});
    if (!examples.length) return [[status, "", response.description]];
    return examples.map(([code, example]) => [status, code, example.value.detail]);
  });
}

function article(path, method, operation, root) {
  const name = element("h2");
  const verb = element("span", method.toUpperCase());
  verb.className = "method";
  name.append(verb, element("code", path));
  const parts = [name, element("p", operation.summary ?? "")];
  if (operation.description) parts.push(written("p", operation.description));
  const rows = inputs(operation, root);
  if (rows.length) parts.push(table(["Field", "In", "Kind", "Default", "Meaning"], rows));
  parts.push(table(["Status", "Code", "Meaning"], answers(operation)));
  if (path === "/generate") parts.push(element("pre", `curl -F audio=@conversation.wav -F takes=2 ${location.origin}/generate`));
  return element("article", "", ...parts);
}

const root = await (await fetch("/openapi.json")).json();
document.getElementById("routes").replaceChildren(
  ...Object.entries(root.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => article(path, method, operation, root))),
);
