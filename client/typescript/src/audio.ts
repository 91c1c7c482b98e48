/** Recordings: files, bytes, paths, uploads and addresses. */
import { VisavisError } from "./errors.js";

/**
 * A recording: a `File` or `Blob`, its bytes (a `Buffer`, too), the path of a file in Node.js, an
 * upload of `client.uploads`, or an https address that the service downloads if its operator allows.
 */
export type Audio = Blob | ArrayBuffer | Uint8Array | string | { uploadId: string } | { url: string };

export interface NamedBlob {
  blob: Blob;
  name: string;
}

/** The file of a recording; null for an upload or an address. */
export async function fileOf(audio: Audio): Promise<NamedBlob | null> {
  if (typeof audio === "string") return read(audio);
  if (audio instanceof Blob) {
    return { blob: audio, name: "name" in audio ? String(audio.name) : "audio" };
  }
  if (audio instanceof ArrayBuffer || ArrayBuffer.isView(audio)) {
    return { blob: new Blob([audio as Uint8Array<ArrayBuffer>]), name: "audio" };
  }
  return null;
}

async function read(path: string): Promise<NamedBlob> {
  if (typeof process === "undefined") {
    throw new VisavisError(`${path}: a path needs Node.js; send a File, a Blob or bytes`);
  }
  const [{ openAsBlob }, { access }, { basename }] = await Promise.all([
    import("node:fs"),
    import("node:fs/promises"),
    import("node:path"),
  ]);
  await access(path); // its error names the path and the reason
  return { blob: await openAsBlob(path), name: basename(path) };
}
