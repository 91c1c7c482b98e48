export { Batches, Client, type GenerateOptions, Jobs, type SubmitOptions, Uploads } from "./client.js";
export type { Audio } from "./audio.js";
export {
  ApiError,
  ConnectionError,
  JobError,
  TimeoutError,
  VisavisError,
  WebhookVerificationError,
} from "./errors.js";
export type { ClientOptions } from "./http.js";
export { Job, type WaitOptions } from "./job.js";
export type * from "./types.js";
export { unwrap, type UnwrapOptions } from "./webhooks.js";
