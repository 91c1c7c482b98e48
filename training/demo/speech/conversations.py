"""Synthetic conversations of two voices with motion, in the dataset layout of training.

A scene consists of turns, pauses, overlaps and short answers. Each channel then gets the properties
of a recording: level, equalisation, reverberation, noise, band limit and crosstalk.
"""

from __future__ import annotations

import itertools
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

from training.data.audio import SAMPLE_RATE, SAMPLES_PER_FRAME, loudness, write_wav
from training.data.phones import PHONES
from training.demo.speech import sentences
from training.demo.speech.motion_rules import Track, body, face
from training.demo.speech.voices import (
    ENGLISH,
    EspeakEngine,
    FliteEngine,
    HibariEngine,
    KokoroEngine,
    Phone,
    Utterance,
    Voice,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.random import Generator
    from numpy.typing import NDArray

    from training.demo.speech.motion_rules import PoseKeys
    from training.demo.speech.voices import Engine

    PickVoices = Callable[[Generator], tuple[Voice, Voice]]

logger = logging.getLogger(__name__)

SCENE_SECONDS = 60.0
HELD_OUT = "rms"  # voice that is held out from training
HELD_OUT_KOKORO = ("af_bella", "am_michael", "bf_emma")  # as well
KOKORO_LANGUAGES = "abefip"  # first letters of style files that training uses
FLITE_VOICES = ("slt", "awb", "kal", "kal16")
ESPEAK_ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-029")
ESPEAK_LANGUAGES = (
    "de", "es", "es-419", "fr", "it", "pt", "pt-br", "nl", "sv", "pl", "tr", "fi", "ro", "hu", "cs",
)  # fmt: skip
ESPEAK_VARIANTS = ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7")


@dataclass(frozen=True)
class Scene:
    """Audio of a conversation with its phones and voices."""

    samples: NDArray[np.float32]  # [1600 T, 2]
    track: Track
    voices: tuple[str, str]


def training_voices(rng: Generator) -> tuple[Voice, Voice]:
    """Choose two different voices, excluding the held-out one."""
    first = _any_voice(rng)
    second = _any_voice(rng)
    while second.engine.name == first.engine.name and abs(second.ratio - first.ratio) < 0.1:
        second = _any_voice(rng)
    return first, second


def held_out_voices(rng: Generator) -> tuple[Voice, Voice]:
    """Choose the held-out voice for the person and any training voice for the partner."""
    return Voice(FliteEngine(HELD_OUT), round(rng.uniform(0.95, 1.05), 2)), _any_voice(rng)


def kokoro_voices(styles: Path, *, held_out: bool) -> PickVoices:
    """Choice of a voice of Kokoro for the person, from a folder of style files.

    Those held out come in turn.
    Raises: FileNotFoundError: when the folder has none of them.
    """
    files = [
        path for path in sorted(styles.glob("*.bin"))
        if path.stem[0] in KOKORO_LANGUAGES and (path.stem in HELD_OUT_KOKORO) == held_out
    ]  # fmt: skip
    if not files:
        raise FileNotFoundError(f"{styles} has no style files of Kokoro's voices (af_heart.bin)")
    turns = itertools.cycle(files)

    def pick(rng: Generator) -> tuple[Voice, Voice]:
        if held_out:
            return Voice(KokoroEngine(next(turns))), _any_voice(rng)
        style = files[int(rng.integers(len(files)))]
        return Voice(KokoroEngine(style), round(rng.uniform(0.92, 1.08), 2)), _any_voice(rng)

    return pick


def _any_voice(rng: Generator) -> Voice:
    kind = rng.random()
    engine: Engine
    if kind < 0.38:
        return Voice(HibariEngine(), round(rng.uniform(0.74, 1.2), 2))
    if kind < 0.66:
        engine = FliteEngine(str(rng.choice(FLITE_VOICES)))
    else:
        places = ESPEAK_ACCENTS if kind < 0.83 else ESPEAK_LANGUAGES
        engine = EspeakEngine(f"{rng.choice(places)}+{rng.choice(ESPEAK_VARIANTS)}")
    return Voice(engine, round(rng.uniform(0.8, 1.22), 2))


@dataclass(frozen=True)
class _Turn:
    channel: int  # 0 the person, 1 the partner
    start: float  # seconds
    gain: float
    utterance: Utterance


def converse(
    voices: tuple[Voice, Voice], *, seconds: float, rng: Generator, alone: bool = False
) -> Scene:
    """Synthesise a conversation of about `seconds` with at least one turn.

    alone: only the person speaks.
    """
    turns = _alone(voices[0], seconds, rng) if alone else _turns(voices, seconds, rng)
    end = max(turn.start + turn.utterance.seconds for turn in turns) + rng.uniform(0.5, 1.5)
    frames = int(np.ceil(max(end, seconds) * SAMPLE_RATE / SAMPLES_PER_FRAME))
    dry = np.zeros((2, frames * SAMPLES_PER_FRAME), np.float32)
    phones: tuple[list[Phone], list[Phone]] = ([], [])
    for turn in turns:
        samples, begin = turn.utterance.samples, int(turn.start * SAMPLE_RATE)
        dry[turn.channel, begin : begin + len(samples)] += turn.gain * samples
        phones[turn.channel].extend(phone.moved(turn.start) for phone in turn.utterance.phones)
    track = Track(tuple(phones[0]), tuple(phones[1]), relative_loudness(dry[0]))
    recording = simulate_recording(dry, rng)
    return Scene(recording.T.astype(np.float32), track, (voices[0].name, voices[1].name))


def relative_loudness(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Loudness [T] of a clean voice, relative to the 95 % quantile of its audible frames."""
    level = loudness(samples)
    audible = level[level > 0.1]
    return level / (np.quantile(audible, 0.95) if len(audible) else 1.0)


def _alone(voice: Voice, seconds: float, rng: Generator) -> list[_Turn]:
    pace = rng.uniform(0.8, 1.25)
    turns: list[_Turn] = []
    now = rng.uniform(0.1, 0.8)
    while now < seconds - 2 or not turns:
        utterance = _utterance(voice, pace, rng)
        turns.append(_Turn(0, now, 10 ** (rng.uniform(-5, 0) / 20), utterance))
        now += utterance.seconds + rng.uniform(0.1, 0.9)
    return turns


def _utterance(voice: Voice, pace: float, rng: Generator) -> Utterance:
    english = voice.engine.language == ENGLISH
    text = sentences.turn(rng) if english else sentences.invented(rng)
    seed = int(rng.integers(2**31))
    return voice.speak(text, pace=pace * rng.uniform(0.95, 1.05), seed=seed)


def _turns(voices: tuple[Voice, Voice], seconds: float, rng: Generator) -> list[_Turn]:
    paces = rng.uniform(0.88, 1.15, 2)
    turns: list[_Turn] = []
    now, channel = rng.uniform(0.3, 1.5), int(rng.integers(2))
    while now < seconds - 3 or not turns:
        utterance = _utterance(voices[channel], paces[channel], rng)
        turns.append(_Turn(channel, now, 10 ** (rng.uniform(-5, 0) / 20), utterance))
        if utterance.seconds > 3 and rng.random() < 0.35:
            turns.append(_short_answer(voices, turns[-1], rng))
        now = max(0.0, now + utterance.seconds + _gap(rng))
        channel = channel if rng.random() < 0.12 else 1 - channel
    return turns


def _short_answer(voices: tuple[Voice, Voice], during: _Turn, rng: Generator) -> _Turn:
    """Short answer of the other speaker during a turn."""
    channel, text = 1 - during.channel, str(rng.choice(sentences.SHORT))
    utterance = voices[channel].speak(text, seed=int(rng.integers(2**31)))
    start = during.start + rng.uniform(0.3, 0.8) * during.utterance.seconds
    return _Turn(channel, start, 10 ** (rng.uniform(-10, -4) / 20), utterance)


def _gap(rng: Generator) -> float:
    """Seconds between two turns; negative when they overlap."""
    kind = rng.random()
    if kind < 0.12:
        return float(rng.uniform(-0.5, -0.1))
    if kind < 0.24:
        return float(rng.uniform(1.5, 4.0))
    return float(rng.uniform(0.1, 0.9))


# --- from clean voices to a recording ----------------------------------------------------------


def simulate_recording(dry: NDArray[np.float32], rng: Generator) -> NDArray[np.float64]:
    """Add the properties of a random recording setup to both clean channels [2, N]."""
    wet = np.stack([_equalised(_with_reverb(channel, rng), rng) for channel in dry])
    if rng.random() < 0.4:
        crosstalk = 10 ** (rng.uniform(-42, -26) / 20)
        wet = wet + crosstalk * wet[::-1]
    if rng.random() < 0.4:
        cutoff = rng.choice([3600.0, 7400.0, 7400.0, 11000.0])
        wet = sosfilt(butter(6, cutoff, fs=SAMPLE_RATE, output="sos"), wet, axis=1)
    gains = 10 ** ((rng.uniform(-22, 0) + rng.uniform(-3, 0, (2, 1))) / 20)
    wet = wet * gains * 0.95 / max(1.0, float(np.abs(wet).max()))
    return np.clip(wet + _noise(wet.shape, rng), -1, 1)


def _with_reverb(samples: NDArray[np.float32], rng: Generator) -> NDArray[np.float64]:
    if rng.random() < 0.5:
        return samples.astype(np.float64)
    seconds = rng.uniform(0.08, 0.35)
    tail = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    echo = rng.standard_normal(len(tail)) * np.exp(-6.9 * tail / seconds)
    echo *= rng.uniform(0.1, 0.4) / np.sqrt((echo**2).sum())
    echo[0] = 1.0
    return fftconvolve(samples, echo)[: len(samples)]


def _equalised(samples: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    """Apply a smooth random frequency response of a few decibels over the octaves."""
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


def write_phones(path: Path, phones: Sequence[Phone]) -> None:
    """Write the phones of the person, in the order of their starts."""
    ordered = sorted(phones, key=lambda phone: phone.start)
    rows = [[phone.symbol, round(phone.start, 4), round(phone.end, 4)] for phone in ordered]
    path.write_text(json.dumps(rows, ensure_ascii=False) + "\n", encoding="utf-8")


# --- the dataset -------------------------------------------------------------------------------


def make_dataset(
    folder: Path,
    *,
    minutes: float,
    seed: int,
    keys: PoseKeys,
    basis: NDArray[np.float32],  # [256, 52] face units -> code
    pick: PickVoices = training_voices,
    scene_seconds: float = SCENE_SECONDS,
    alone: bool = False,
) -> None:
    """Write scenes and `voices.json` into `folder`; the same arguments write the same bytes.

    alone: only the person speaks. Less than a scene is one short scene.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scene_seconds = min(scene_seconds, 60 * minutes)
    count = max(1, round(minutes * 60 / scene_seconds))
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        scene = converse(pick(rng), seconds=scene_seconds, rng=rng, alone=alone)
        units, pose = face(scene.track, rng), body(scene.track, keys, rng)
        name = folder / f"scene{number:03d}"
        write_wav(name.with_name(f"{name.name}_audio.wav"), scene.samples)
        np.save(name.with_name(f"{name.name}_body_pose.npy"), pose)
        np.save(name.with_name(f"{name.name}_face_expression.npy"), units @ basis.T)
        np.save(name.with_name(f"{name.name}_missing_face_frames.npy"), np.zeros(0, np.int64))
        write_phones(name.with_name(f"{name.name}{PHONES}"), scene.track.person)
        logger.info("scene %d of %d: %s and %s", number + 1, count, *scene.voices)
    (folder / "voices.json").write_text(json.dumps({"seed": seed, "scenes": count}, indent=2))
