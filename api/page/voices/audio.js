// Audio in memory: decoding, cutting, and writing as WAV.
const RATE = 48_000; // samples a second, as the service uses
const LONGEST = 15 * 60; // seconds that are decoded; longer ones would fill the memory
const HEADER = 44; // bytes
const NOT_AUDIO = /^(text|image|font)\/|pdf|zip|json/;

export class Unusable extends Error {}

// One recording: a file, and its samples if this browser can decode it.
export async function open(file) {
  if (NOT_AUDIO.test(file.type)) throw new Unusable(`${file.name} is not a recording; choose an audio file.`);
  if (file.size === 0) throw new Unusable(`${file.name} is empty; choose another file.`);
  const seconds = await duration(file);
  if (seconds > LONGEST) {
    const minutes = Math.round(seconds / 60);
    throw new Unusable(`${file.name} is ${minutes} min long, and this page cuts files of up to 15 min; cut out the part that you want.`);
  }
  try {
    const buffer = await new OfflineAudioContext(2, 1, RATE).decodeAudioData(await file.arrayBuffer());
    const channels = Array.from({ length: buffer.numberOfChannels }, (_, index) => buffer.getChannelData(index));
    return { file, name: file.name, channels, rate: RATE, seconds: buffer.duration };
  } catch {
    return { file, name: file.name, channels: null, rate: RATE, seconds: Number.isFinite(seconds) ? seconds : null };
  }
}

// Length by the browser's player, which reads no more than the header; NaN if it cannot tell.
function duration(file) {
  return new Promise((resolve) => {
    const player = document.createElement("audio");
    const url = URL.createObjectURL(file);
    const end = (seconds) => {
      URL.revokeObjectURL(url);
      resolve(seconds);
    };
    player.preload = "metadata";
    player.onloadedmetadata = () => end(player.duration);
    player.onerror = () => end(NaN);
    player.src = url;
  });
}

export function fromSamples(samples, rate, name) {
  return { file: null, name, channels: [samples], rate, seconds: samples.length / rate };
}

export function mixed(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, at) => channels.reduce((sum, channel) => sum + channel[at], 0) / channels.length);
}

// Samples from start to end, both in seconds; silence after the last one.
export function part(samples, rate, start, end) {
  const made = new Float32Array(Math.floor((end - start) * rate + 1e-3));
  const from = Math.round(start * rate);
  made.set(samples.subarray(from, from + made.length));
  return made;
}

// A WAV file of 16 bits.
export function wav(channels, rate, name) {
  const frames = channels[0].length;
  const bytes = frames * channels.length * 2;
  const view = new DataView(new ArrayBuffer(HEADER + bytes));
  const text = (offset, letters) => [...letters].forEach((letter, index) => view.setUint8(offset + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, HEADER - 8 + bytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels.length, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * channels.length * 2, true);
  view.setUint16(32, channels.length * 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, bytes, true);
  const samples = new Int16Array(view.buffer, HEADER);
  channels.forEach((channel, index) => {
    for (let frame = 0; frame < frames; frame++) {
      samples[frame * channels.length + index] = Math.round(Math.max(-1, Math.min(1, channel[frame])) * 32767);
    }
  });
  return new File([view], name.replace(/(\.\w+)?$/, ".wav"), { type: "audio/wav" });
}

// The largest magnitude in each of `count` equal parts.
export function peaks(samples, count) {
  const width = samples.length / count;
  return Array.from({ length: count }, (_, index) => {
    let peak = 0;
    const end = Math.min(samples.length, Math.ceil((index + 1) * width));
    const stride = Math.max(1, Math.floor(width / 400)); // long files: a sample of them is enough
    for (let at = Math.floor(index * width); at < end; at += stride) peak = Math.max(peak, Math.abs(samples[at]));
    return peak;
  });
}
