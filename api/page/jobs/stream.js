// Changes of jobs by server-sent events, through fetch: an EventSource cannot send a key.
import { ConnectionLost, pause, persist, send } from "../service.js";

const AGAIN = 1; // seconds before a stream that broke off is opened again

function parsed(block) {
  const event = { type: "message", data: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const [name, value] = colon < 0 ? [line, ""] : [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
    if (name === "event") event.type = value;
    else if (name === "id") event.id = value;
    else if (name === "data") event.data += value;
  }
  return event;
}

async function* blocks(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text = (text + value).replaceAll("\r\n", "\n");
    const ended = text.split("\n\n");
    text = ended.pop();
    yield* ended;
  }
}

// Call onJob for each change of a job until it has ended, and onGone if it was deleted.
export async function follow(id, signal, { onJob, onGone }) {
  let known = "";
  for (;;) {
    try {
      const response = await persist(() => {
        signal.throwIfAborted();
        const headers = known ? { Accept: "text/event-stream", "Last-Event-ID": known } : { Accept: "text/event-stream" };
        return send(`jobs/${encodeURIComponent(id)}/events`, { signal, headers });
      });
      if (response.status === 204) return;
      for await (const block of blocks(response.body)) {
        const event = parsed(block);
        known = event.id ?? known;
        if (event.type === "deleted") return onGone();
        if (event.type !== "job") continue;
        const job = JSON.parse(event.data);
        onJob(job);
        if (!["queued", "running"].includes(job.state)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 404 || error.status === 422) return onGone();
      if (error.status) throw error;
      if (!(error instanceof ConnectionLost || error instanceof TypeError)) throw error;
    }
    await pause(AGAIN);
    if (signal.aborted) return;
  }
}

// The streams of a page: the job on the stage and one other, as browsers allow six connections to a server.
export class Streams {
  constructor(handlers) {
    this.handlers = handlers;
    this.open = new Map(); // id -> AbortController
  }

  watch(ids) {
    for (const [id, controller] of this.open) {
      if (ids.includes(id)) continue;
      controller.abort();
      this.open.delete(id);
    }
    for (const id of ids) if (!this.open.has(id)) this.start(id);
  }

  start(id) {
    const controller = new AbortController();
    this.open.set(id, controller);
    const { onJob, onGone, onEnd, onError } = this.handlers;
    follow(id, controller.signal, { onJob, onGone: () => onGone(id) })
      .catch(onError)
      .finally(() => {
        if (this.open.get(id) !== controller) return;
        this.open.delete(id);
        onEnd(id);
      });
  }
}
