// The chosen part of both voices, played with a moving line on the waveforms.
import { at, setText } from "../elements.js";

export function offerListening(voices) {
  let playing = null;

  const end = () => {
    playing?.source.stop();
    playing?.context.close();
    playing = null;
    setText(at("listen"), "Listen");
    for (const wave of Object.values(voices.waves)) wave.playhead(null);
  };

  const follow = () => {
    if (!playing) return;
    const now = playing.from + playing.context.currentTime - playing.begun;
    if (now >= playing.to) return end();
    for (const wave of Object.values(voices.waves)) wave.playhead(now);
    requestAnimationFrame(follow);
  };

  at("listen").addEventListener("click", () => {
    if (playing) return end();
    const context = new AudioContext();
    const source = new AudioBufferSourceNode(context, { buffer: voices.buffer() });
    source.connect(context.destination);
    source.start();
    playing = { context, source, begun: context.currentTime, from: voices.trim.from, to: voices.trim.to };
    setText(at("listen"), "Stop");
    follow();
  });

  return end;
}
