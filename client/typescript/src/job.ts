/** A job: follow it, download its files, cancel, retry, render or delete it. */
import { ApiError, ConnectionError, JobError, VisavisError } from "./errors.js";
import { eventsOf } from "./events.js";
import type { Http } from "./http.js";
import { isFinal, type JobView, type OutputView, type RenderFields, type State } from "./types.js";

export interface WaitOptions {
  /** Is called with the job after each change. */
  onProgress?: (job: JobView) => void;
  /** Ends the wait; the job goes on. */
  signal?: AbortSignal;
}

const POLL_SECONDS = 20; // of a request that waits for a change

export class Job {
  readonly #http: Http;
  #view: JobView;
  #tag: string | null = null;

  constructor(http: Http, view: JobView) {
    this.#http = http;
    this.#view = view;
  }

  /** The job as the service described it last. */
  get view(): JobView {
    return this.#view;
  }

  get id(): string {
    return this.#view.id;
  }

  get state(): State {
    return this.#view.state;
  }

  get outputs(): readonly OutputView[] {
    return this.#view.outputs;
  }

  /** Whether the job has succeeded, failed or been canceled. */
  get ended(): boolean {
    return isFinal(this.#view.state);
  }

  /** Read the job again. */
  async refresh(signal?: AbortSignal): Promise<this> {
    await this.#read(0, signal);
    return this;
  }

  /**
   * Wait until the job has ended: by events, and by polling where no events arrive.
   *
   * Throws a JobError when it failed, was canceled or deleted.
   */
  async wait(options: WaitOptions = {}): Promise<this> {
    try {
      for await (const view of this.events(options.signal)) options.onProgress?.(view);
    } catch (error) {
      if (!isUnavailable(error)) throw error;
    }
    while (!this.ended) {
      if (await this.#read(POLL_SECONDS, options.signal)) options.onProgress?.(this.#view);
    }
    if (this.state !== "succeeded") throw new JobError(this.#view);
    return this;
  }

  /**
   * The job now and after each change, until it has ended. A cut stream is continued.
   *
   * Throws a ConnectionError when no events arrive, and a JobError when the job is deleted.
   */
  async *events(signal?: AbortSignal): AsyncGenerator<JobView> {
    let last = "";
    for (let failures = 0; ; failures += 1) {
      const response = await this.#http.open("GET", `${this.#path}/events`, {
        headers: { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) },
        signal,
      });
      if (response.status === 204) return;
      if (response.body === null) throw new ConnectionError("the events have no body");
      let lost: unknown = new ConnectionError(`the events of job ${this.id} ended early`);
      try {
        for await (const event of eventsOf(response.body)) {
          if (event.event === "deleted") throw new JobError(this.#view, "deleted");
          if (event.event !== "job") continue;
          failures = 0;
          last = event.id;
          this.#view = JSON.parse(event.data) as JobView;
          yield this.#view;
          if (this.ended) return;
        }
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof ConnectionError)) throw error;
        lost = error;
      }
      await this.#http.pause(failures, lost, signal);
    }
  }

  /** Cancel the job if it is queued or running. */
  async cancel(): Promise<this> {
    this.#view = await this.#http.json<JobView>("POST", `${this.#path}/cancel`);
    return this;
  }

  /** Queue a failed or canceled job again. */
  async retry(): Promise<this> {
    this.#view = await this.#http.json<JobView>("POST", `${this.#path}/retry`);
    return this;
  }

  /** Delete the job and its files. */
  async delete(): Promise<void> {
    await this.#http.text("DELETE", this.#path, { allow: [404] }); // 404: an answer was lost
  }

  /** Render the motion of this job again, as a new job: other views, another size, some takes. */
  async render(fields: RenderFields = {}, options: { idempotencyKey?: string } = {}): Promise<Job> {
    const headers = { "Idempotency-Key": options.idempotencyKey ?? crypto.randomUUID() };
    const path = `${this.#path}/render`;
    return new Job(this.#http, await this.#http.json<JobView>("POST", path, { json: fields, headers }));
  }

  /** Download one output; by default the first. */
  async download(output?: OutputView | string, signal?: AbortSignal): Promise<Blob> {
    const { path, bytes } = this.#output(output);
    for (let failures = 0; ; failures += 1) {
      const response = await this.#http.open("GET", path, { signal });
      try {
        const blob = await response.blob();
        if (blob.size === bytes) return blob;
        throw new ConnectionError(`${path}: ${blob.size} of ${bytes} bytes arrived`);
      } catch (error) {
        signal?.throwIfAborted();
        await this.#http.pause(failures, asConnectionError(error, path), signal);
      }
    }
  }

  /** Download one output into a file, in Node.js; it appears when it is complete. */
  async save(path: string, output?: OutputView | string, signal?: AbortSignal): Promise<void> {
    const [{ createWriteStream }, { rename, rm }, { Readable }, { pipeline }] = await Promise.all([
      import("node:fs"),
      import("node:fs/promises"),
      import("node:stream"),
      import("node:stream/promises"),
    ]);
    const wanted = this.#output(output);
    const draft = `${path}.part`;
    for (let failures = 0; ; failures += 1) {
      const response = await this.#http.open("GET", wanted.path, { signal });
      if (response.body === null) throw new ConnectionError(`${wanted.path}: the answer is empty`);
      const file = createWriteStream(draft);
      try {
        await pipeline(Readable.fromWeb(response.body as never), file, { signal });
        if (file.bytesWritten !== wanted.bytes) {
          throw new ConnectionError(`${file.bytesWritten} of ${wanted.bytes} bytes arrived`);
        }
        return await rename(draft, path);
      } catch (error) {
        await rm(draft, { force: true });
        signal?.throwIfAborted();
        if (isFileError(error)) throw error;
        await this.#http.pause(failures, asConnectionError(error, wanted.path), signal);
      }
    }
  }

  get #path(): string {
    return `/jobs/${encodeURIComponent(this.id)}`;
  }

  #output(wanted: OutputView | string | undefined): OutputView {
    const name = typeof wanted === "string" ? wanted : wanted?.name;
    const found = this.outputs.find((each) => name === undefined || each.name === name);
    if (found) return found;
    const names = this.outputs.map((each) => each.name).join(", ") || "none, wait until it succeeds";
    throw new VisavisError(`job ${this.id} has no output ${name ?? ""}; it has: ${names}`);
  }

  /** Read the job, after a change or some seconds; false when nothing has changed. */
  async #read(seconds: number, signal: AbortSignal | undefined): Promise<boolean> {
    const headers: Record<string, string> = seconds ? { Prefer: `wait=${seconds}` } : {};
    if (this.#tag !== null) headers["If-None-Match"] = this.#tag;
    const timeout = this.#http.timeout + seconds * 1000;
    const { response, text } = await this.#http.text("GET", this.#path, {
      headers,
      signal,
      timeout,
      allow: [304],
    });
    this.#tag = response.headers.get("etag");
    if (response.status === 304) return false;
    this.#view = JSON.parse(text) as JobView;
    return true;
  }
}

/** Whether events do not arrive, so that polling may help. */
function isUnavailable(error: unknown): boolean {
  if (error instanceof ApiError) return error.status >= 500 || [405, 406].includes(error.status);
  return error instanceof ConnectionError;
}

function asConnectionError(error: unknown, path: string): ConnectionError {
  if (error instanceof ConnectionError) return error;
  return new ConnectionError(`${path}: the connection was cut`, { cause: error });
}

function isFileError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error && "path" in error;
}
