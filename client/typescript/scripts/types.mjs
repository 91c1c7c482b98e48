// Write src/schema.ts, the types of openapi.json. That document is kept with the sources, so that the package builds
// without the service, and a change of the API shows in a review.
import { readFile, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";
import ts from "typescript";

const target = new URL("../src/schema.ts", import.meta.url);
const document = JSON.parse(await readFile(new URL("../openapi.json", import.meta.url), "utf8"));
delete document.webhooks; // the object JobEvent describes them
for (const operation of Object.values(document.paths).flatMap(Object.values)) {
  delete operation.requestBody; // bodies are objects of their own
  operation.responses = {};
}
removeTitles(document.components.schemas);

// The titles of members repeat their names.
function removeTitles(node) {
  if (node === null || typeof node !== "object") return;
  if (typeof node.title === "string") delete node.title;
  Object.values(node).forEach(removeTitles);
}

const file = ts.factory.createTypeReferenceNode("Blob");
const nodes = await openapiTS(document, {
  defaultNonNullable: false, // a member with a default may be left out of a request
  transform: (schema) => (schema.format === "binary" ? file : undefined),
});
await writeFile(target, `// Made by scripts/types.mjs from openapi.json.\n\n${astToString(nodes)}`);
