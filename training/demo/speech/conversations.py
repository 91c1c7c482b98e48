"""Synthetic conversations of two voices, and their motion, in the dataset layout of training.

A scene is turns, pauses, overlaps and short answers; then each channel is made to sound like a
recording: level, tone, room, noise, band limit and a little of the other channel.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

from training.data.audio import SAMPLE_RATE, SAMPLES_PER_FRAME, loudness, write_wav
from training.demo.speech import sentences as lines
from training.demo.speech.motion_rules import Track, body, face
from training.demo.speech.voices import (
    EspeakEngine,
    FliteEngine,
    HibariEngine,
    Phone,
    Utterance,
    Voice,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.random import Generator
    from numpy.typing import NDArray

    from training.demo.speech.motion_rules import PoseKeys
    from training.demo.speech.voices import Engine

    PickVoices = Callable[[Generator], tuple[Voice, Voice]]

logger = logging.getLogger(__name__)

HELD_OUT = "rms"  # a voice that speaks in no training scene
FLITE_VOICES = ("slt", "awb", "kal", "kal16")
ESPEAK_ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-029")
ESPEAK_VARIANTS = ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7")


@dataclass(frozen=True)
class Scene:
    samples: NDArray[np.float32]  # [1600 T, 2]
    track: Track
    voices: tuple[str, str]


def training_voices(rng: Generator) -> tuple[Voice, Voice]:
    """Two different voices, none of them the held-out one."""
    first = _any_voice(rng)
    second = _any_voice(rng)
    while second.engine.name == first.engine.name and abs(second.ratio - first.ratio) < 0.1:
        second = _any_voice(rng)
    return first, second


def held_out_voices(rng: Generator) -> tuple[Voice, Voice]:
    """The person speaks with the voice that training never heard."""
    return Voice(FliteEngine(HELD_OUT), round(rng.uniform(0.95, 1.05), 2)), _any_voice(rng)


def _any_voice(rng: Generator) -> Voice:
    kind = rng.random()
    engine: Engine
    if kind < 0.45:
        return Voice(HibariEngine(), round(rng.uniform(0.74, 1.2), 2))
    if kind < 0.78:
        engine = FliteEngine(str(rng.choice(FLITE_VOICES)))
    else:
        accent, variant = rng.choice(ESPEAK_ACCENTS), rng.choice(ESPEAK_VARIANTS)
        engine = EspeakEngine(f"{accent}+{variant}")
    return Voice(engine, round(rng.uniform(0.8, 1.22), 2))


@dataclass(frozen=True)
class _Said:
    who: int  # 0 the person, 1 the partner
    start: float
    effort: float  # gain of this utterance
    utterance: Utterance


def converse(voices: tuple[Voice, Voice], *, seconds: float, rng: Generator) -> Scene:
    """A conversation of about `seconds`, at least one turn, as a recording would have it."""
    said = _turns(voices, seconds, rng)
    ends = max(s.start + s.utterance.seconds for s in said) + rng.uniform(0.5, 1.5)
    frames = int(np.ceil(max(ends, seconds) * SAMPLE_RATE / SAMPLES_PER_FRAME))
    dry = np.zeros((2, frames * SAMPLES_PER_FRAME), np.float32)
    phones: tuple[list[Phone], list[Phone]] = ([], [])
    for s in said:
        begin = int(s.start * SAMPLE_RATE)
        dry[s.who, begin : begin + len(s.utterance.samples)] += s.effort * s.utterance.samples
        phones[s.who].extend(phone.moved(s.start) for phone in s.utterance.phones)
    track = Track(tuple(phones[0]), tuple(phones[1]), relative_loudness(dry[0]))
    samples = recorded(dry, rng)
    return Scene(samples.T.astype(np.float32), track, (voices[0].name, voices[1].name))


def relative_loudness(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Loudness [T] of a clean voice where 1 is its loud vowels (95 % of what is not silence)."""
    level = loudness(samples)
    heard = level[level > 0.1]
    return level / (np.quantile(heard, 0.95) if len(heard) else 1.0)


def _turns(voices: tuple[Voice, Voice], seconds: float, rng: Generator) -> list[_Said]:
    paces = rng.uniform(0.88, 1.15, 2)
    said: list[_Said] = []
    now, who = rng.uniform(0.3, 1.5), int(rng.integers(2))
    while now < seconds - 3 or not said:
        text, seed = lines.turn(rng), int(rng.integers(2**31))
        utterance = voices[who].speak(text, pace=paces[who] * rng.uniform(0.95, 1.05), seed=seed)
        said.append(_Said(who, now, 10 ** (rng.uniform(-5, 0) / 20), utterance))
        if utterance.seconds > 3 and rng.random() < 0.35:
            said.append(_short_answer(voices, 1 - who, said[-1], rng))
        now = max(0.0, now + utterance.seconds + _gap(rng))
        who = who if rng.random() < 0.12 else 1 - who
    return said


def _short_answer(voices: tuple[Voice, Voice], who: int, during: _Said, rng: Generator) -> _Said:
    utterance = voices[who].speak(str(rng.choice(lines.SHORT)), seed=int(rng.integers(2**31)))
    start = during.start + rng.uniform(0.3, 0.8) * during.utterance.seconds
    return _Said(who, start, 10 ** (rng.uniform(-10, -4) / 20), utterance)


def _gap(rng: Generator) -> float:
    kind = rng.random()
    if kind < 0.12:
        return float(rng.uniform(-0.5, -0.1))
    if kind < 0.24:
        return float(rng.uniform(1.5, 4.0))
    return float(rng.uniform(0.1, 0.9))


# --- from clean voices to a recording ----------------------------------------------------------


def recorded(dry: NDArray[np.float32], rng: Generator) -> NDArray[np.float64]:
    """Both clean channels [2, N] as a recording has them; each scene is another microphone."""
    wet = np.stack([_toned(_in_a_room(channel, rng), rng) for channel in dry])
    if rng.random() < 0.4:
        bleed = 10 ** (rng.uniform(-42, -26) / 20)
        wet = wet + bleed * wet[::-1]
    if rng.random() < 0.4:
        edge = rng.choice([3600.0, 7400.0, 7400.0, 11000.0])
        wet = sosfilt(butter(6, edge, fs=SAMPLE_RATE, output="sos"), wet, axis=1)
    gains = 10 ** ((rng.uniform(-22, 0) + rng.uniform(-3, 0, (2, 1))) / 20)
    wet = wet * gains * 0.95 / max(1.0, float(np.abs(wet).max()))
    return np.clip(wet + _noise(wet.shape, rng), -1, 1)


def _in_a_room(samples: NDArray[np.float32], rng: Generator) -> NDArray[np.float64]:
    if rng.random() < 0.5:
        return samples.astype(np.float64)
    seconds = rng.uniform(0.08, 0.35)
    tail = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    echo = rng.standard_normal(len(tail)) * np.exp(-6.9 * tail / seconds)
    echo *= rng.uniform(0.1, 0.4) / np.sqrt((echo**2).sum())
    echo[0] = 1.0
    return fftconvolve(samples, echo)[: len(samples)]


def _toned(samples: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    """A smooth random tone curve of a few decibels over the octaves."""
    spectrum = np.fft.rfft(samples)
    octave = np.log2(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE) + 40)
    knots = np.arange(5, 16)
    curve = np.interp(octave, knots, rng.normal(0, 3.0, len(knots)))
    return np.fft.irfft(spectrum * 10 ** (curve / 20), len(samples))


def _noise(shape: tuple[int, ...], rng: Generator) -> NDArray[np.float64]:
    level = 10 ** (rng.uniform(-85, -52) / 20)
    white = rng.standard_normal(shape)
    if rng.random() < 0.5:
        return level * white
    low = sosfilt(butter(1, 400, fs=SAMPLE_RATE, output="sos"), white, axis=1)
    return level * 4 * low


# --- the dataset -------------------------------------------------------------------------------


def make_dataset(
    folder: Path,
    *,
    minutes: float,
    seed: int,
    keys: PoseKeys,
    basis: NDArray[np.float32],  # [256, 52] face units -> code
    pick: PickVoices = training_voices,
    scene_seconds: float = 60.0,
) -> None:
    """Writes scenes and `stats.json` into `folder`; the same arguments write the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    count = max(1, round(minutes * 60 / scene_seconds))
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        scene = converse(pick(rng), seconds=scene_seconds, rng=rng)
        units, pose = face(scene.track, rng), body(scene.track, keys, rng)
        name = folder / f"scene{number:03d}"
        write_wav(name.with_name(f"{name.name}_audio.wav"), scene.samples)
        np.save(name.with_name(f"{name.name}_body_pose.npy"), pose)
        np.save(name.with_name(f"{name.name}_face_expression.npy"), units @ basis.T)
        np.save(name.with_name(f"{name.name}_missing_face_frames.npy"), np.zeros(0, np.int64))
        logger.info("scene %d of %d: %s and %s", number + 1, count, *scene.voices)
    (folder / "voices.json").write_text(json.dumps({"seed": seed, "scenes": count}, indent=2))
