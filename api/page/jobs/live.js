// A video that is played while its worker makes it: the file arrives in pieces and goes into a MediaSource.
import { element } from "../elements.js";
import { pause, send } from "../service.js";

const AUDIO = "mp4a.40.2";
const KEPT = 30; // seconds before the place that is played, where the browser's memory is full
const FULL = 1; // seconds to wait until more was played

export const playsLive = (output) => window.MediaSource?.isTypeSupported(`${output.content_type}; codecs="avc1.640028,${AUDIO}"`) ?? false;

// The codec of the picture, from the box avcC of the file's head; null before it has arrived.
export function codecOf(head) {
  const [a, v, c, C] = [...new TextEncoder().encode("avcC")];
  const at = head.findIndex((byte, index) => byte === a && head[index + 1] === v && head[index + 2] === c && head[index + 3] === C);
  if (at < 0 || at + 8 > head.length) return null;
  return `avc1.${[...head.subarray(at + 5, at + 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

// A <video> of a live output; dataset.state is "open", then "whole" or "cut".
export function livePlayer(output, seconds, label) {
  const media = new MediaSource();
  const video = element("video", { controls: true, playsInline: true, ariaLabel: label, src: URL.createObjectURL(media) });
  video.dataset.state = "open";
  const opened = async () => {
    URL.revokeObjectURL(video.src);
    try {
      await feed(media, video, output, seconds);
      video.dataset.state = "whole";
    } catch {
      video.dataset.state = "cut";
    }
    if (media.readyState === "open") media.endOfStream();
  };
  media.addEventListener("sourceopen", opened, { once: true });
  return video;
}

async function feed(media, video, output, seconds) {
  const reader = (await send(output.path)).body.getReader();
  let head = new Uint8Array();
  let buffer = null;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    if (!video.isConnected && video.dataset.shown) return reader.cancel();
    if (video.isConnected) video.dataset.shown = "yes";
    if (buffer) await append(buffer, video, value);
    else {
      head = joined(head, value);
      const codec = codecOf(head);
      if (!codec) continue;
      buffer = media.addSourceBuffer(`${output.content_type}; codecs="${codec},${AUDIO}"`);
      media.duration = seconds;
      await append(buffer, video, head);
    }
  }
}

async function append(buffer, video, bytes) {
  for (;;) {
    try {
      return await updated(buffer, () => buffer.appendBuffer(bytes));
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
    }
    const stop = video.currentTime - KEPT;
    if (stop > 0) await updated(buffer, () => buffer.remove(0, stop));
    await pause(FULL);
  }
}

function updated(buffer, change) {
  return new Promise((resolve, reject) => {
    buffer.addEventListener("updateend", resolve, { once: true });
    buffer.addEventListener("error", () => reject(new Error("the video cannot be decoded")), { once: true });
    change();
  });
}

function joined(first, second) {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
