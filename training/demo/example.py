"""Synthesise `examples/conversation.wav`, two people talking: `python -m training.demo.example`.

The text occurs in no training scene. The person has the voice of hibari (Apache-2.0), the partner
the voice `rms` of flite (BSD-like), which is held out from training.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.data.audio import SAMPLE_RATE, write_wav
from training.demo.speech.conversations import HELD_OUT
from training.demo.speech.voices import SILENCE, FliteEngine, HibariEngine, Voice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.demo.speech.voices import Utterance

EXAMPLE = Path(__file__).parents[2] / "examples" / "conversation.wav"
# Each line is: channel (0 the person, 1 the partner), seconds of silence before it, text.
LINES = (
    (0, 0.40, "Guess what happened this morning!"),
    (0, 0.25, "Some stranger on the train gave me a bouquet of roses, and walked away."),
    (1, 0.30, "You must be joking. Was there a message?"),
    (0, 0.25, "Not a single word!"),
)
SECONDS_AFTER = 0.5
SPEECH_LEVEL, NOISE_LEVEL = 0.7, 1e-4  # peak of a voice, RMS of the noise floor; full scale is 1


def make_example(path: Path, *, seed: int = 0) -> None:
    """Synthesise the example conversation and write it as WAV."""
    voices = (Voice(HibariEngine()), Voice(FliteEngine(HELD_OUT)))
    placed, now = [], 0.0
    for number, (channel, pause, text) in enumerate(LINES):
        now += pause
        samples = trim_silence(voices[channel].speak(text, seed=seed + number))
        placed.append((channel, int(now * SAMPLE_RATE), samples))
        now += len(samples) / SAMPLE_RATE
    conversation = np.random.default_rng(seed).normal(
        0, NOISE_LEVEL, (int((now + SECONDS_AFTER) * SAMPLE_RATE), 2)
    )
    for channel, begin, samples in placed:
        conversation[begin : begin + len(samples), channel] += SPEECH_LEVEL * samples
    write_wav(path, conversation.astype(np.float32))


def trim_silence(utterance: Utterance) -> NDArray[np.float32]:
    """Samples of an utterance without the silence that the engine adds at both ends."""
    phones = [phone for phone in utterance.phones if phone.symbol != SILENCE]
    begin = max(0, int((phones[0].start - 0.03) * SAMPLE_RATE))
    return utterance.samples[begin : int((phones[-1].end + 0.12) * SAMPLE_RATE)]


if __name__ == "__main__":
    make_example(EXAMPLE)
