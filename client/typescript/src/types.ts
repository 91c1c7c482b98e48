/** Objects of the API under short names; src/schema.ts is generated from its description. */
import type { components, operations } from "./schema.js";

type Schemas = components["schemas"];

export type JobView = Schemas["JobView"];
export type OutputView = Schemas["OutputView"];
export type JobWarning = Schemas["WarningView"];
export type State = Schemas["State"];
export type Person = Schemas["PersonView"];
export type BatchView = Schemas["BatchView"];
export type BatchEntry = Schemas["BatchEntry"];
export type UploadView = Schemas["UploadView"];
export type Problem = Schemas["Problem"];
export type ProblemCode = Schemas["ProblemCode"];
export type JobEvent = Schemas["JobEvent"];
export type RenderFields = Schemas["RenderAsked"];
export type ListQuery = Omit<NonNullable<operations["list_jobs"]["parameters"]["query"]>, "cursor">;

/** Fields of a request, without its clips: person, takes, size, outputs, webhooks and more. */
export type RequestFields = Omit<
  Schemas["GenerateForm"],
  "audio" | "upload_id" | "audio_url" | "partner" | "partner_upload_id" | "metadata"
> & { metadata?: Record<string, string> };

const FINAL: ReadonlySet<State> = new Set<State>(["succeeded", "failed", "canceled"]);

/** Whether a job in this state has ended. */
export function isFinal(state: State): boolean {
  return FINAL.has(state);
}
