/** The client against a live service: $VISAVIS_URL with $VISAVIS_API_KEY; $CLIP is a recording. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { mkdtemp, readdir, readFile } from "node:fs/promises";
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  ApiError,
  Client,
  type ClientOptions,
  ConnectionError,
  JobError,
  TimeoutError,
  unwrap,
  VisavisError,
  WebhookVerificationError,
} from "visavis";

const url = process.env["VISAVIS_URL"] ?? "";
const clip = process.env["CLIP"] ?? "";
const client = new Client({ baseUrl: url });
let bytes: Uint8Array<ArrayBuffer>;
let recording: { uploadId: string }; // sent once: the service probes every file that it receives

before(async () => {
  bytes = new Uint8Array(await readFile(clip));
  recording = { uploadId: (await client.uploads.create(bytes)).id };
});

/** What the worker of these tests writes. */
function content(id: string, name: string): Buffer {
  return Buffer.from(`${id} ${name}\n`.repeat(4000));
}

type Answer = (incoming: IncomingMessage, outgoing: ServerResponse, pass: () => void) => void;

/** A client whose requests go through a proxy. */
async function through(answer: Answer, options: ClientOptions = {}) {
  const server = createServer((incoming, outgoing) => {
    const pass = () => {
      const { method, headers } = incoming;
      const onward = request(url + incoming.url, { method, headers }, (reply) => {
        outgoing.writeHead(reply.statusCode ?? 502, reply.headers);
        reply.pipe(outgoing);
      });
      onward.on("error", () => outgoing.destroy());
      outgoing.on("close", () => onward.destroy());
      incoming.pipe(onward);
    };
    answer(incoming, outgoing, pass);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return new Client({ baseUrl: `http://127.0.0.1:${port}`, ...options });
}

async function jobsWith(order: string): Promise<string[]> {
  const found: string[] = [];
  for await (const job of client.jobs.list({ limit: 100 })) {
    if (job.view.metadata["order"] === order) found.push(job.id);
  }
  return found;
}

test("a recording becomes files", async () => {
  const seen: string[] = [];
  const job = await client.generate(clip, { takes: 2, seed: 7 });
  await job.wait({ onProgress: ({ state }) => seen.push(state) });

  assert.equal(job.state, "succeeded");
  assert.equal(job.view.request.seed, 7);
  assert.equal(seen.at(-1), "succeeded");
  const names = job.outputs.map(({ name }) => name).sort();
  assert.deepEqual(names, ["take-1.mp4", "take-2.mp4"]);
  const blob = await job.download("take-2.mp4");
  assert.deepEqual(Buffer.from(await blob.arrayBuffer()), content(job.id, "take-2.mp4"));
  const folder = await mkdtemp(join(tmpdir(), "visavis-"));
  await job.save(join(folder, "out.mp4"), "take-1.mp4");
  assert.deepEqual(await readFile(join(folder, "out.mp4")), content(job.id, "take-1.mp4"));
  assert.deepEqual(await readdir(folder), ["out.mp4"]);
  await assert.rejects(job.save(join(folder, "absent", "out.mp4")), { code: "ENOENT" });
  await assert.rejects(job.download("take-3.mp4"), VisavisError);
});

test("a recording may be a path, bytes, a Blob, a File, an upload or an address", async () => {
  for (const audio of [bytes, new Blob([bytes]), new File([bytes], "a.wav"), recording]) {
    assert.equal((await client.generate(audio)).view.clip_seconds, 0.5);
  }
  await assert.rejects(client.generate(new ArrayBuffer(8)), { code: "audio_type_unsupported" });
  await assert.rejects(client.generate("absent.wav"), { code: "ENOENT" });
  await assert.rejects(client.generate({ url: "https://example.com/a.wav" }), {
    code: "audio_url_refused",
  });
  await assert.rejects(client.generate(recording, { partner: recording }), {
    code: "partner_channels",
  });
});

test("a large file is sent in parts", async () => {
  const sent: string[] = [];
  const passing: Answer = (incoming, _, pass) => {
    sent.push(`${incoming.method} ${incoming.url?.split("?")[0]?.replace(/[0-9a-f]{32}/, "ID")}`);
    pass();
  };
  const small = await through(passing, { inlineBytes: 1000 });

  await small.generate(bytes);

  assert.equal(sent[0], "POST /uploads");
  assert.equal(sent.at(-1), "POST /generate");
});

test("a job that fails or is canceled rejects the wait with its code", async () => {
  const failing = await client.generate(recording, { metadata: { outcome: "refused" } });
  await assert.rejects(failing.wait(), (error: JobError) => {
    assert.equal(error.code, "clip_unsuitable");
    assert.equal(error.job.id, failing.id);
    return error instanceof JobError;
  });
  await failing.retry();
  await assert.rejects(failing.wait(), JobError);

  const long = await client.generate(recording, { metadata: { outcome: "held" }, cancel_after: 600 });
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 100);
  await assert.rejects(long.wait({ signal: abort.signal }), { name: "AbortError" });
  const waiting = assert.rejects(long.wait(), { name: "JobError", code: "canceled" });
  await (await client.jobs.get(long.id)).cancel();
  await waiting;
  await long.delete();
  await long.delete();
  await assert.rejects(client.jobs.get(long.id), { code: "job_not_found" });
});

test("errors have the code, the fields and the fix of the problem", async () => {
  await assert.rejects(client.generate(recording, { takes: 11 }), (error: ApiError) => {
    assert.equal(error.status, 422);
    assert.equal(error.code, "invalid_request");
    assert.equal(error.errors[0]?.field, "takes");
    assert.ok(error.requestId);
    return error instanceof ApiError;
  });
  await assert.rejects(client.generate({ uploadId: "0".repeat(32) }), (error: ApiError) => {
    assert.ok(error.hint.length > 0);
    return error.code === "upload_unknown";
  });
  const stranger = new Client({ baseUrl: url, apiKey: "vv_unknown" });
  await assert.rejects(stranger.people(), { status: 401, code: "key_invalid" });
  const job = await client.generate(recording);
  await assert.rejects(job.render({ size: "256" }), { code: "motion_missing" });
});

test("persons, lists and batches", async () => {
  assert.deepEqual((await client.people()).map(({ name }) => name), ["demo"]);
  const waiting = { upload_id: recording.uploadId, metadata: { outcome: "held" } };
  const batch = await client.batches.create([waiting, waiting]);
  assert.equal(batch.size, 2);
  assert.equal((await client.batches.cancel(batch.id)).ended, true);
  assert.equal((await client.batches.get(batch.id)).counts.canceled, 2);
  const listed: string[] = [];
  for await (const job of client.jobs.list({ batch: batch.id, limit: 1 })) listed.push(job.id);
  assert.deepEqual(listed.sort(), batch.items.map(({ job }) => job).sort());
});

test("a lost answer and a full service make one job", async () => {
  let tries = 0;
  const faulty = await through((incoming, outgoing, pass) => {
    tries += 1;
    if (tries === 1) outgoing.writeHead(429, { "Retry-After": "0" }).end("{}");
    else if (tries === 2) outgoing.writeHead(503).end("a proxy's page");
    else if (tries === 3) {
      outgoing.writeHead = () => outgoing.destroy(); // after the service has made the job
      pass();
    } else pass();
    void incoming;
  });

  const job = await faulty.generate(recording, { metadata: { order: "lost" } });

  assert.equal(tries, 4);
  assert.deepEqual(await jobsWith("lost"), [job.id]);
});

test("retries end with the error", async () => {
  const busy = await through((_, outgoing) => outgoing.writeHead(503).end(), { maxRetries: 1 });
  await assert.rejects(busy.people(), { status: 503, code: "" });
  const patient = await through((_, outgoing) =>
    outgoing.writeHead(429, { "Retry-After": "3600" }).end(),
  );
  await assert.rejects(patient.people(), { status: 429, retryAfter: 3600 });
  const cut = await through((_, outgoing) => outgoing.destroy(), { maxRetries: 0 });
  await assert.rejects(cut.people(), ConnectionError);
  const silent = await through(() => undefined, { maxRetries: 0, timeout: 50 });
  await assert.rejects(silent.people(), TimeoutError);
});

test("events that are cut go on", async () => {
  let streams = 0;
  const cutting = await through((incoming, outgoing, pass) => {
    if (incoming.url?.endsWith("/events")) {
      streams += 1;
      if (streams === 1) setTimeout(() => outgoing.destroy(), 100);
      else void client.jobs.get(job.id).then((same) => same.cancel());
    }
    pass();
  });
  const job = await cutting.generate(recording, { metadata: { outcome: "held" } });
  const states: string[] = [];

  await assert.rejects(job.wait({ onProgress: ({ state }) => states.push(state) }), JobError);

  assert.equal(states.at(-1), "canceled");
  assert.equal(streams, 2);
});

test("without events the client polls", async () => {
  let polls = 0;
  const polling = await through((incoming, outgoing, pass) => {
    if (incoming.url?.endsWith("/events")) {
      outgoing.writeHead(502).end();
      return;
    }
    if (incoming.headers["prefer"] && (polls += 1) === 1) {
      void client.jobs.get(job.id).then((same) => same.cancel());
    }
    pass();
  }, { maxRetries: 0 });
  const job = await polling.generate(recording, { metadata: { outcome: "held" } });
  const states: string[] = [];

  await assert.rejects(job.wait({ onProgress: ({ state }) => states.push(state) }), JobError);

  assert.equal(states.at(-1), "canceled");
  assert.ok(polls >= 1);
});

test("a download that is cut is repeated", async () => {
  const job = await (await client.generate(recording)).wait();
  let cut = true;
  const faulty = await through((incoming, outgoing, pass) => {
    if (incoming.url?.includes("/outputs/") && cut) {
      cut = false;
      outgoing.writeHead(200, { "Content-Length": "1000" }).write("half");
      setTimeout(() => outgoing.destroy(), 50);
    } else pass();
  });
  const folder = await mkdtemp(join(tmpdir(), "visavis-"));

  await (await faulty.jobs.get(job.id)).save(join(folder, "out.mp4"));

  assert.deepEqual(await readFile(join(folder, "out.mp4")), content(job.id, "take-1.mp4"));
});

test("a webhook is verified", async () => {
  const secret = `whsec_${Buffer.from("a secret of 24 bytes....").toString("base64")}`;
  const key = Buffer.from(secret.slice(6), "base64");
  const body = JSON.stringify({ type: "job.succeeded", timestamp: "2026-05-04T12:00:00Z", data: {} });
  const signed = (at: number) => ({
    "Webhook-Id": "event-1",
    "webhook-timestamp": String(at),
    "webhook-signature": `v1,${createHmac("sha256", "other").digest("base64")} v1,${createHmac("sha256", key)
      .update(`event-1.${at}.${body}`)
      .digest("base64")}`,
  });
  const now = Math.floor(Date.now() / 1000);

  const event = await unwrap(Buffer.from(body), signed(now), secret);

  assert.equal(event.id, "event-1");
  assert.equal(event.type, "job.succeeded");
  await assert.rejects(unwrap(`${body} `, signed(now), secret), WebhookVerificationError);
  await assert.rejects(unwrap(body, signed(now - 301), secret), WebhookVerificationError);
  await assert.rejects(unwrap(body, {}, secret), WebhookVerificationError);
  await assert.rejects(unwrap(body, signed(now), "whsec_?"), WebhookVerificationError);
});
