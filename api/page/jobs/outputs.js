// Outputs of a job by take: the video to show, and every file to download.
import { megabytes, element } from "../elements.js";
import { address, key, local } from "../service.js";

const NUMBER = /(\d+)(?=\D*$)/; // take-2.mp4, motion-2.npz: the last number of a name
const PARTNER = /-\d+-partner$/; // take-2-partner.mp4: a file of the second person alone

// A <video> or a link cannot send a key: with a key they use the signed link, which needs none.
export const source = (output) => (key() ? local(output.url, "files") : String(address(output.path)));

export const isLocal = (output) => local(output.url, "files") !== output.url || output.url.startsWith(location.origin);

export const isPreview = (output) => output.kind === "preview" || /preview/.test(output.name);

export const isVideo = (output) => output.content_type.startsWith("video/");

// A list of { take, partner, video, preview, files } in the order of takes. Where the partner has a
// separate video, it is another entry; else the partner's files are among those of the take.
export function byTake(outputs) {
  const found = outputs.map((output) => {
    const stem = output.name.replace(/(\.\w+)+$/, "");
    return { output, take: Number(NUMBER.exec(stem)?.[1] ?? 1), partner: PARTNER.test(stem) };
  });
  const apart = new Set(found.filter(({ output, partner }) => partner && isVideo(output)).map(({ take }) => take));
  const entries = new Map();
  for (const { output, take, partner } of found) {
    const own = partner && apart.has(take);
    const key = `${take}${own ? "-partner" : ""}`;
    if (!entries.has(key)) entries.set(key, { key, take, partner: own, video: null, preview: null, files: [] });
    const entry = entries.get(key);
    entry.files.push(output);
    if (isVideo(output)) entry[isPreview(output) ? "preview" : "video"] ??= output;
  }
  return [...entries.values()].sort((a, b) => a.take - b.take || a.partner - b.partner);
}

export const nameOf = ({ take, partner }) => `Take ${take}${partner ? ", partner" : ""}`;

export const mainFile = ({ video, preview, files }) => video ?? preview ?? files[0];

export function download(output, properties = {}) {
  return element("a", { href: source(output), download: output.name, ...properties });
}

export const describe = (output) => `${output.name} (${megabytes(output.bytes)})`;
