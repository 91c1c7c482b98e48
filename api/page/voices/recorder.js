// Recording from the microphone, sample by sample: it ends exactly at the limit.
export const canRecord = () => Boolean(navigator.mediaDevices?.getUserMedia && window.AudioWorkletNode);

export class Recorder {
  // limit: seconds. onBlock(samples, seconds, level) after each block, onEnd() at the limit or without a microphone.
  static async start({ limit, onBlock, onEnd }) {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const context = new AudioContext();
    try {
      await context.audioWorklet.addModule(new URL("capture.js", import.meta.url));
    } catch (error) {
      stream.getTracks().forEach((track) => track.stop());
      throw error;
    }
    return new Recorder(stream, context, { limit, onBlock, onEnd });
  }

  constructor(stream, context, { limit, onBlock, onEnd }) {
    this.stream = stream;
    this.context = context;
    this.most = Math.floor(limit * context.sampleRate);
    this.blocks = [];
    this.count = 0;
    this.node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    this.node.port.onmessage = ({ data }) => {
      this.take(data, onBlock);
      if (this.flushed) this.flushed();
      else if (this.count >= this.most) onEnd();
    };
    stream.getAudioTracks()[0].addEventListener("ended", onEnd);
    context.createMediaStreamSource(stream).connect(this.node);
    context.resume();
  }

  take(samples, onBlock) {
    const kept = samples.subarray(0, this.most - this.count);
    if (!kept.length) return;
    this.blocks.push(kept);
    this.count += kept.length;
    let peak = 0;
    for (const sample of kept) peak = Math.max(peak, Math.abs(sample));
    onBlock(peak, this.count / this.context.sampleRate);
  }

  // Stop the microphone and return what was said: samples and their rate.
  async stop() {
    if (this.count < this.most) {
      await new Promise((resolve) => {
        this.flushed = resolve;
        this.node.port.postMessage("stop");
        setTimeout(resolve, 500); // a context without a device answers nothing
      });
    }
    this.stream.getTracks().forEach((track) => track.stop());
    const rate = this.context.sampleRate;
    await this.context.close();
    const samples = new Float32Array(this.count);
    let offset = 0;
    for (const block of this.blocks) {
      samples.set(block, offset);
      offset += block.length;
    }
    return { samples, rate };
  }
}
