/** Errors of this package: all of them are a `VisavisError`. */
import type { JobView, Problem, ProblemCode } from "./types.js";

export class VisavisError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The service could not be reached, or the connection was cut, also after all retries. */
export class ConnectionError extends VisavisError {}

/** No answer came within `timeout`, also after all retries. */
export class TimeoutError extends ConnectionError {}

/** The service answered with an error (RFC 9457). */
export class ApiError extends VisavisError {
  readonly status: number;
  /** Stable name of the problem; empty when the answer came from something before the service. */
  readonly code: ProblemCode | "";
  /** Problem, value and fix. */
  readonly detail: string;
  /** One entry for each invalid field. */
  readonly errors: readonly { field: string; detail: string }[];
  /** Id of the request in the log of the service, for its operator. */
  readonly requestId: string | null;
  /** Seconds that the service asks to wait. */
  readonly retryAfter: number | null;
  readonly problem: Partial<Problem>;

  constructor(response: Response, body: string) {
    const problem = parsed(body);
    const detail = problem.detail ?? (response.statusText || "no reason given");
    super(`${response.status} ${problem.code ?? ""}: ${detail}`.replace(" : ", ": "));
    this.status = response.status;
    this.code = problem.code ?? "";
    this.detail = detail;
    this.errors = problem.errors ?? [];
    this.requestId = response.headers.get("x-request-id");
    this.retryAfter = retryAfter(response);
    this.problem = problem;
  }

  /** The fix: the part of `detail` after its last semicolon, else empty. */
  get hint(): string {
    const start = this.detail.lastIndexOf("; ");
    return start < 0 ? "" : this.detail.slice(start + 2);
  }
}

/** A job did not succeed: it failed, was canceled, or was deleted while it was waited for. */
export class JobError extends VisavisError {
  /** Code of the job's error; `canceled` or `deleted` without one. */
  readonly code: string;

  constructor(
    readonly job: JobView,
    fallback: string = job.state,
  ) {
    const code = job.error?.code ?? fallback;
    super(`job ${job.id}: ${code}${job.error ? `: ${job.error.detail}` : ""}`);
    this.code = code;
  }
}

/** A webhook was not signed with the secret, or is too old. */
export class WebhookVerificationError extends VisavisError {}

/** Seconds of a `Retry-After` header, which is a number or a date. */
export function retryAfter(response: Response): number | null {
  const text = response.headers.get("retry-after")?.trim();
  if (!text) return null;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  const date = Date.parse(text);
  return Number.isNaN(date) ? null : Math.max(0, (date - Date.now()) / 1000);
}

function parsed(body: string): Partial<Problem> {
  try {
    const problem: unknown = JSON.parse(body);
    return typeof problem === "object" && problem !== null ? problem : {};
  } catch {
    return {}; // the answer of a proxy
  }
}
