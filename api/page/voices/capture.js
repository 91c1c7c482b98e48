// Audio worklet: sends the first channel of the microphone in blocks.
const BLOCK = 2048; // samples

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(BLOCK);
    this.filled = 0;
    this.port.onmessage = () => this.flush(); // on stop
  }

  process([input]) {
    const samples = input[0];
    if (!samples) return true;
    if (this.filled + samples.length > BLOCK) this.flush();
    this.block.set(samples, this.filled);
    this.filled += samples.length;
    return true;
  }

  flush() {
    this.port.postMessage(this.block.slice(0, this.filled));
    this.filled = 0;
  }
}

registerProcessor("capture", Capture);
