// Origin of a file: sends it to POST /detect and shows the findings.
import { at, element } from "./elements.js";
import { keepKey, send } from "./service.js";

const VERDICTS = {
  valid: "Valid: signed, and unchanged since",
  invalid: "Not valid: changed after it was signed",
  removed: "From visavis, but its manifest is missing",
  absent: "No manifest",
};
const SIDECAR = ".c2pa";

// The file and, if it was chosen with it, its manifest.
function chosen() {
  const files = [...at("files").files];
  const manifest = files.find(({ name }) => name.endsWith(SIDECAR));
  return { file: files.find((each) => each !== manifest), manifest };
}

function complain(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

function facts({ manifest, watermark, job }) {
  const { claims } = manifest;
  const mark = watermark && (watermark.found
    ? `found in ${watermark.where.join(" and ")}, certainty ${(100 * watermark.certainty).toFixed(2)} %`
    : "not found");
  const people = claims.people ?? [{ ...claims.person, consent: claims.consent }];
  return [
    ["Signed by", manifest.signer && `${manifest.signer} (${manifest.trusted ? "trusted" : "not trusted"})`],
    ["Signed at", manifest.signed_at],
    ["Made by", claims.software],
    ["Operator", claims.operator],
    [people.length > 1 ? "People" : "Person", people.map(({ name }) => name).join(", ")],
    ["Consent", people.map(({ consent }) => consent?.kind).join(", ")],
    ["Watermark", mark],
    ["Job", job],
  ].filter(([, value]) => value);
}

function show(report) {
  const { state, reasons } = report.manifest;
  at("verdict").textContent = VERDICTS[state] ?? state;
  at("reasons").textContent = reasons.map((each) => `${each[0].toUpperCase()}${each.slice(1)}.`).join(" ");
  at("facts").replaceChildren(...facts(report).flatMap(([name, value]) => [
    element("dt", { textContent: name }),
    element("dd", { textContent: String(value) }),
  ]));
  at("result").hidden = false;
  at("verdict").focus();
}

async function examine() {
  const { file, manifest } = chosen();
  if (!file) {
    complain("Choose the file itself, not only its manifest.");
    return;
  }
  const body = new FormData();
  body.append("file", file);
  if (manifest) body.append("manifest", manifest);
  if (at("key").value) keepKey(at("key").value.trim(), { onDisk: false });
  complain("");
  at("result").hidden = true;
  at("examine").disabled = true;
  at("examine").textContent = "Examining";
  try {
    show(await (await send("detect", { method: "POST", body })).json());
  } catch (error) {
    complain(error.message);
    at("key-field").hidden = at("key-field").hidden && error.status !== 401;
  } finally {
    at("examine").disabled = false;
    at("examine").textContent = "Examine";
  }
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  examine();
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (!event.dataTransfer.files.length) return;
  at("files").files = event.dataTransfer.files;
  examine();
});
