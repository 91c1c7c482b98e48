"""Makes `examples/conversation.wav`: two people talking, in words that no training scene has.

`python -m training.demo.example` writes it again. The person is hibari's voice (Apache-2.0), the
partner flite's `rms` (BSD-like), which speaks in no training scene.
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
# Who speaks (0 the person, 1 the partner), seconds of silence before, and what.
LINES = (
    (0, 0.40, "Guess what happened this morning!"),
    (0, 0.25, "Some stranger on the train gave me a bouquet of roses, and walked away."),
    (1, 0.30, "You must be joking. Was there a message?"),
    (0, 0.25, "Not a single word!"),
)
SECONDS_AFTER = 0.5
SPEECH_LEVEL, NOISE_LEVEL = 0.7, 1e-4  # peak of a voice and RMS of the floor, full scale is 1


def make_example(path: Path, *, seed: int = 0) -> None:
    voices = (Voice(HibariEngine()), Voice(FliteEngine(HELD_OUT)))
    placed, now = [], 0.0
    for number, (who, pause, text) in enumerate(LINES):
        now += pause
        samples = spoken(voices[who].speak(text, seed=seed + number))
        placed.append((who, int(now * SAMPLE_RATE), samples))
        now += len(samples) / SAMPLE_RATE
    conversation = np.random.default_rng(seed).normal(
        0, NOISE_LEVEL, (int((now + SECONDS_AFTER) * SAMPLE_RATE), 2)
    )
    for who, begin, samples in placed:
        conversation[begin : begin + len(samples), who] += SPEECH_LEVEL * samples
    write_wav(path, conversation.astype(np.float32))


def spoken(utterance: Utterance) -> NDArray[np.float32]:
    """The samples of an utterance without the silence that its engine puts around it."""
    sounds = [phone for phone in utterance.phones if phone.symbol != SILENCE]
    begin = max(0, int((sounds[0].start - 0.03) * SAMPLE_RATE))
    return utterance.samples[begin : int((sounds[-1].end + 0.12) * SAMPLE_RATE)]


if __name__ == "__main__":
    make_example(EXAMPLE)
