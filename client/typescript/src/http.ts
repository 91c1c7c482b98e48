/** Requests with a key, a time limit, and retries after cut connections, rate limits and outages. */
import { ApiError, ConnectionError, TimeoutError } from "./errors.js";

export interface ClientOptions {
  /** Address of the service; by default $VISAVIS_BASE_URL, else a service on this machine. */
  baseUrl?: string;
  /** By default $VISAVIS_API_KEY. */
  apiKey?: string;
  /** Milliseconds until an answer must have arrived. */
  timeout?: number;
  /** Retries of a request without an answer, or with 408, 429, 502, 503 or 504. */
  maxRetries?: number;
  /** Larger files are sent in parts; by default 16 MiB. */
  inlineBytes?: number;
  /** Instead of the global `fetch`. */
  fetch?: typeof fetch;
}

export interface RequestOptions {
  headers?: Record<string, string>;
  query?: Record<string, unknown>;
  json?: unknown;
  body?: Blob | FormData;
  signal?: AbortSignal | undefined;
  /** Milliseconds; for a request that waits, or sends a file. */
  timeout?: number;
  /** Statuses that are no errors, besides those below 300. */
  allow?: readonly number[];
}

export interface Answer {
  response: Response;
  text: string;
}

const INLINE_BYTES = 2 ** 24;
const LOCAL = "http://127.0.0.1:8000";
const REPEATED: ReadonlySet<number> = new Set([408, 429, 502, 503, 504]);
const FIRST_PAUSE = 500; // milliseconds
const LONGEST_PAUSE = 8_000;
const LONGEST_RETRY_AFTER = 120; // seconds; for more, the caller gets the error at once

export class Http {
  readonly baseUrl: string;
  readonly timeout: number;
  readonly maxRetries: number;
  readonly inlineBytes: number;
  readonly #apiKey: string | undefined;
  readonly #fetch: typeof fetch;

  constructor(options: ClientOptions) {
    this.baseUrl = (options.baseUrl ?? variable("VISAVIS_BASE_URL") ?? LOCAL).replace(/\/+$/, "");
    this.timeout = options.timeout ?? 60_000;
    this.maxRetries = options.maxRetries ?? 5;
    this.inlineBytes = options.inlineBytes ?? INLINE_BYTES;
    this.#apiKey = options.apiKey ?? variable("VISAVIS_API_KEY");
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
  }

  /** Send a request and read its answer. */
  async json<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    return JSON.parse((await this.text(method, path, options)).text) as T;
  }

  /** Send a request and read its answer as text. */
  text(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    return this.#repeated(options.signal, () =>
      this.#once(method, path, options, async (response) => ({
        response,
        text: await response.text(),
      })),
    );
  }

  /** Send a request and return its answer before the body, which has no time limit. */
  open(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
    return this.#repeated(options.signal, () =>
      this.#once(method, path, options, (response) => Promise.resolve(response)),
    );
  }

  /** Pause before the next try. Throws the error when no try is left. */
  async pause(failures: number, error: unknown, signal?: AbortSignal): Promise<void> {
    const asked = error instanceof ApiError ? error.retryAfter : null;
    if (failures >= this.maxRetries || (asked ?? 0) > LONGEST_RETRY_AFTER) throw error;
    const longest = Math.min(FIRST_PAUSE * 2 ** failures, LONGEST_PAUSE);
    const milliseconds = longest * (0.5 + Math.random() / 2);
    await sleep(asked === null ? milliseconds : asked * 1000 + milliseconds / 10, signal);
  }

  async #repeated<T>(signal: AbortSignal | undefined, send: () => Promise<T>): Promise<T> {
    for (let failures = 0; ; failures += 1) {
      try {
        return await send();
      } catch (error) {
        signal?.throwIfAborted();
        if (!isTransient(error)) throw error;
        await this.pause(failures, error, signal);
      }
    }
  }

  async #once<T>(
    method: string,
    path: string,
    options: RequestOptions,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    const controller = new AbortController();
    const signals = [controller.signal, ...(options.signal ? [options.signal] : [])];
    const timeout = options.timeout ?? this.timeout;
    const late = new TimeoutError(`no answer to ${method} ${path} within ${timeout} ms`);
    const timer = setTimeout(() => controller.abort(late), timeout);
    try {
      const response = await this.#fetch(this.#url(path, options.query), {
        method,
        signal: AbortSignal.any(signals),
        headers: this.#headers(path, options),
        body: options.json === undefined ? (options.body ?? null) : JSON.stringify(options.json),
      });
      if (response.status >= 300 && !options.allow?.includes(response.status)) {
        throw new ApiError(response, await response.text());
      }
      return await read(response);
    } catch (error) {
      if (error instanceof ApiError || options.signal?.aborted) throw error;
      if (controller.signal.aborted) throw late;
      throw new ConnectionError(`${method} ${path}: ${reason(error)}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  #url(path: string, query: Record<string, unknown> = {}): URL {
    const url = new URL(isAbsolute(path) ? path : this.baseUrl + path);
    for (const [name, value] of Object.entries(query)) {
      for (const each of Array.isArray(value) ? value : [value]) {
        if (each !== undefined && each !== null) url.searchParams.append(name, String(each));
      }
    }
    return url;
  }

  #headers(path: string, options: RequestOptions): Record<string, string> {
    const headers = { ...options.headers };
    if (options.json !== undefined) headers["Content-Type"] = "application/json";
    // Signed links, such as those of parts, may lead to a bucket, and need no key.
    if (this.#apiKey && !isAbsolute(path)) headers["Authorization"] = `Bearer ${this.#apiKey}`;
    return headers;
  }
}

/** Resolve after some time. Rejects when the signal is aborted. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

function isTransient(error: unknown): boolean {
  if (error instanceof ApiError) return REPEATED.has(error.status);
  return error instanceof ConnectionError;
}

function isAbsolute(path: string): boolean {
  return /^https?:/i.test(path);
}

function reason(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  return cause instanceof Error ? cause.message : String(cause);
}

function variable(name: string): string | undefined {
  return typeof process === "undefined" ? undefined : process.env[name] || undefined;
}
