/** Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html. */
import { ConnectionError } from "./errors.js";

export interface ServerEvent {
  event: string;
  id: string;
  data: string;
}

const SILENT = 45_000; // milliseconds; the service sends a comment every 15 s

/** The events of a body. Throws a ConnectionError when nothing comes for 45 s. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await beforeSilence(reader.read());
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const blocks = rest.split(/\r\n\r\n|\n\n|\r\r/);
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = parsed(block);
        if (event !== null) yield event;
      }
    }
  } finally {
    void reader.cancel().catch(() => undefined); // the connection may be gone already
  }
}

async function beforeSilence<T>(read: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new ConnectionError("the events have stopped")), SILENT);
  });
  try {
    return await Promise.race([read, silence]);
  } catch (error) {
    throw error instanceof ConnectionError
      ? error
      : new ConnectionError("the events were cut off", { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

function parsed(block: string): ServerEvent | null {
  const event: ServerEvent = { event: "message", id: "", data: "" };
  const data: string[] = [];
  for (const line of block.split(/\r\n|\n|\r/)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === "data") data.push(value ?? "");
    else if (name === "event" || name === "id") event[name] = value ?? "";
  }
  event.data = data.join("\n");
  return data.length ? event : null;
}
