/** Verification of webhooks, after https://www.standardwebhooks.com. */
import { WebhookVerificationError } from "./errors.js";
import type { JobEvent } from "./types.js";

const PREFIX = "whsec_";
const OLDEST = 300; // seconds; also the furthest time in the future, for clocks that differ

export interface UnwrapOptions {
  /** Seconds. */
  oldest?: number;
}

/**
 * Verify a webhook and return its event.
 *
 * body: raw, as it was received. secret: `whsec_…`, from the operator.
 * Throws a WebhookVerificationError when no signature is right, or the event is too old.
 */
export async function unwrap(
  body: string | Uint8Array,
  headers: Headers | Record<string, string | string[] | undefined>,
  secret: string,
  options: UnwrapOptions = {},
): Promise<JobEvent & { id: string }> {
  const content = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const id = header(headers, "webhook-id");
  const sentAt = header(headers, "webhook-timestamp");
  const age = Math.abs(Date.now() / 1000 - Number(sentAt));
  if (!(age <= (options.oldest ?? OLDEST))) {
    throw new WebhookVerificationError(`the event was sent at ${sentAt}; check the clock`);
  }
  const message = joined(new TextEncoder().encode(`${id}.${sentAt}.`), content);
  const key = await keyOf(secret);
  for (const signature of header(headers, "webhook-signature").split(" ")) {
    const [version, value] = signature.split(",");
    if (version !== "v1" || !value) continue;
    if (await crypto.subtle.verify("HMAC", key, bytesOf(value), message)) {
      return { ...(JSON.parse(new TextDecoder().decode(content)) as JobEvent), id };
    }
  }
  throw new WebhookVerificationError("no signature is right; check the secret");
}

function header(
  headers: Headers | Record<string, string | string[] | undefined>,
  name: string,
): string {
  const found =
    headers instanceof Headers
      ? headers.get(name)
      : Object.entries(headers).find(([each]) => each.toLowerCase() === name)?.[1];
  const value = Array.isArray(found) ? found[0] : found;
  if (!value) throw new WebhookVerificationError(`the header ${name} is missing`);
  return value;
}

function keyOf(secret: string): Promise<CryptoKey> {
  const bytes = bytesOf(secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : secret);
  const hmac = { name: "HMAC", hash: "SHA-256" };
  return crypto.subtle.importKey("raw", bytes, hmac, false, ["verify"]);
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
  } catch (error) {
    throw new WebhookVerificationError("invalid base64; the secret is whsec_…", { cause: error });
  }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
