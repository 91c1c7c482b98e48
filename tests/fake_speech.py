"""Phones and a speech engine for tests: one phone per letter, spoken as a hum."""

from __future__ import annotations

import numpy as np

from training.demo.speech.motion_rules import Track
from training.demo.speech.voices import SILENCE, SOUNDS, VOWELS, Phone, RawSpeech

KEYS = {
    f"{pose}_{side}": {f"shoulder_{side}_ry": turn, f"elbow_{side}_flex": bend}
    for side in "LR"
    for pose, turn, bend in (
        ("rest", 0.1, 0.5), ("low", 0.2, 0.9), ("mid", 0.3, 1.3), ("high", 0.5, 1.8),
        ("open", 0.8, 1.0), ("me", -0.4, 1.9), ("pinch", 0.3, 1.5), ("point", 0.2, 1.4),
    )
}  # fmt: skip


def says(text: str, *, start: float = 1.0, seconds: float = 0.1) -> tuple[Phone, ...]:
    """Return one phone per letter, vowels stressed, a space as silence."""
    return tuple(
        Phone(
            SILENCE if letter == " " else letter,
            start + i * seconds,
            start + (i + 1) * seconds,
            stressed=letter in VOWELS,
        )
        for i, letter in enumerate(text)
    )


def track(person: tuple[Phone, ...], partner: tuple[Phone, ...] = (), frames: int = 300) -> Track:
    times = (np.arange(frames) + 0.5) / 30
    loud = np.zeros(frames)
    for phone in person:
        inside = (times > phone.start) & (times < phone.end)
        loud[inside] = 1.0 if phone.symbol in VOWELS else 0.4
    return Track(person, partner, loud)


class HummingEngine:
    """Speech engine with 0.1 s per letter: loud vowels, quiet consonants, silence otherwise."""

    rate = 16_000
    language = "en"

    def __init__(self, name: str = "humming", pitch: float = 150.0) -> None:
        self.name = name
        self.pitch = pitch

    def synthesise(self, text: str, *, pace: float, seed: int) -> RawSpeech:
        letters = text.lower()
        seconds = 0.1 / pace
        count = int(seconds * self.rate)
        wave = np.sin(2 * np.pi * self.pitch * np.arange(count) / self.rate)
        levels = [0.8 if c in VOWELS else 0.2 if c in SOUNDS else 0.0 for c in letters]
        samples = np.concatenate([level * wave for level in levels]).astype(np.float32)
        timings = [
            (c if c in SOUNDS else SILENCE, i * seconds, (i + 1) * seconds)
            for i, c in enumerate(letters)
        ]
        return RawSpeech(samples, self.rate, tuple(timings))
