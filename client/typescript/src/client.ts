/** Client of a service: submit recordings, and find jobs, persons, uploads and batches. */
import { type Audio, fileOf, type NamedBlob } from "./audio.js";
import { ApiError } from "./errors.js";
import { type ClientOptions, Http, type RequestOptions } from "./http.js";
import { Job } from "./job.js";
import type {
  BatchEntry,
  BatchView,
  JobView,
  ListQuery,
  Person,
  RequestFields,
  UploadView,
} from "./types.js";

export interface GenerateOptions extends RequestFields {
  /** The other person, if each has a file of one channel. */
  partner?: Audio;
}

export interface SubmitOptions {
  /** The same key makes the same job, however often it is sent; by default a random one. */
  idempotencyKey?: string;
  signal?: AbortSignal;
}

const UPLOAD_MILLISECONDS = 600_000; // for a body with a file: the limit of the service

export class Client {
  readonly jobs: Jobs;
  readonly uploads: Uploads;
  readonly batches: Batches;
  readonly #http: Http;

  constructor(options: ClientOptions = {}) {
    this.#http = new Http(options);
    this.jobs = new Jobs(this.#http);
    this.uploads = new Uploads(this.#http);
    this.batches = new Batches(this.#http);
  }

  /** Send a recording, and return its job; large files are sent in parts. */
  async generate(
    audio: Audio,
    fields: GenerateOptions = {},
    { idempotencyKey = crypto.randomUUID(), signal }: SubmitOptions = {},
  ): Promise<Job> {
    const { partner, ...others } = fields;
    const form = new FormData();
    await this.#attach(form, "audio", audio, signal);
    if (partner !== undefined) await this.#attach(form, "partner", partner, signal);
    for (const [name, value] of Object.entries(others)) {
      if (value !== undefined && value !== null) form.append(name, written(value));
    }
    const view = await this.#http.json<JobView>("POST", "/generate", {
      body: form,
      headers: { "Idempotency-Key": idempotencyKey },
      signal,
      timeout: UPLOAD_MILLISECONDS,
    });
    return new Job(this.#http, view);
  }

  /** The persons that the service can render. */
  async people(): Promise<Person[]> {
    return (await this.#http.json<{ people: Person[] }>("GET", "/people")).people;
  }

  async #attach(
    form: FormData,
    field: "audio" | "partner",
    audio: Audio,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const file = await fileOf(audio);
    if (file !== null && file.blob.size <= this.#http.inlineBytes) {
      form.append(field, file.blob, file.name);
    } else if (file !== null) {
      form.append(uploadField(field), (await this.uploads.send(file, signal)).id);
    } else {
      const given = audio as { uploadId: string } | { url: string };
      if ("uploadId" in given) form.append(uploadField(field), given.uploadId);
      else form.append(`${field}_url`, given.url);
    }
  }
}

export class Jobs {
  constructor(private readonly http: Http) {}

  async get(id: string): Promise<Job> {
    return new Job(this.http, await this.http.json("GET", `/jobs/${encodeURIComponent(id)}`));
  }

  /** Every matching job, newest first; further pages are read when they are reached. */
  async *list(query: ListQuery = {}): AsyncGenerator<Job> {
    let cursor: string | null = null;
    do {
      const page: { jobs: JobView[]; next: string | null } = await this.http.json("GET", "/jobs", {
        query: { ...query, cursor },
      });
      for (const view of page.jobs) yield new Job(this.http, view);
      cursor = page.next;
    } while (cursor !== null);
  }
}

export class Uploads {
  constructor(private readonly http: Http) {}

  /** Send a file in parts, for any number of jobs: `client.generate({ uploadId: upload.id })`. */
  async create(audio: Blob | ArrayBuffer | Uint8Array | string, signal?: AbortSignal): Promise<UploadView> {
    return this.send((await fileOf(audio)) as NamedBlob, signal);
  }

  /** @internal */
  async send({ blob }: NamedBlob, signal?: AbortSignal): Promise<UploadView> {
    const options: RequestOptions = { signal };
    const json = { bytes: blob.size };
    const upload = await this.http.json<UploadView>("POST", "/uploads", { ...options, json });
    for (const { number } of upload.parts) await this.#sendPart(upload, number, blob, signal);
    return this.http.json("POST", `/uploads/${upload.id}/complete`, {
      ...options,
      timeout: UPLOAD_MILLISECONDS,
    });
  }

  async #sendPart(
    upload: UploadView,
    number: number,
    blob: Blob,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    for (let view = upload, renewed = false; ; ) {
      const part = view.parts.find((each) => each.number === number);
      if (part === undefined) return; // the upload is complete
      const body = blob.slice(part.first, part.first + part.bytes);
      try {
        await this.http.text("PUT", part.url, { body, signal, timeout: UPLOAD_MILLISECONDS });
        return;
      } catch (error) {
        if (renewed || !(error instanceof ApiError) || error.status !== 403) throw error;
        renewed = true; // the link has expired during earlier parts
        view = await this.http.json("GET", `/uploads/${upload.id}`, { signal });
      }
    }
  }
}

export class Batches {
  constructor(private readonly http: Http) {}

  /** Make many jobs of uploads: all of them, or none. */
  create(
    items: readonly BatchEntry[],
    { idempotencyKey = crypto.randomUUID(), signal }: SubmitOptions = {},
  ): Promise<BatchView> {
    const headers = { "Idempotency-Key": idempotencyKey };
    return this.http.json("POST", "/batches", { json: { items }, headers, signal });
  }

  get(id: string): Promise<BatchView> {
    return this.http.json("GET", `/batches/${encodeURIComponent(id)}`);
  }

  /** Cancel its jobs that are queued or running. */
  cancel(id: string): Promise<BatchView> {
    return this.http.json("POST", `/batches/${encodeURIComponent(id)}/cancel`);
  }
}

function uploadField(field: "audio" | "partner"): string {
  return field === "audio" ? "upload_id" : "partner_upload_id";
}

function written(value: unknown): string {
  if (Array.isArray(value)) return value.join(",");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
