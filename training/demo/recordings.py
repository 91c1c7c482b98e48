"""Lips on recordings of real voices, which have no true motion.

Phones come from pocketsphinx (BSD), an optional package: `pip install pocketsphinx`. It aligns the
words in NAME.txt beside NAME.wav, or those that it recognises. The alignment is itself uncertain by
some hundredths of a second, so lips may close within `AROUND` of a phone.
Letters: T frames (30/s), n samples at 48 kHz.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from contracts.errors import InputError
from contracts.person import read_manifest
from contracts.quality import sampling_options
from models.finishing.animator import load_finished_animator
from models.formats.wav import open_wav
from models.motion.pipeline import Sampling, take_seed
from models.motion.resample import resample
from training.data.audio import SAMPLE_RATE, SAMPLES_PER_FRAME
from training.data.phones import TimedPhone
from training.demo.judge import SampledClip, judge_phones, judge_sync, lips_animator
from training.demo.speech.voices import ARPABET

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.avatar.blendshape.model import BlendshapeModel

    Array = NDArray[np.floating[Any]]

ALIGNER_RATE, ALIGNER_FRAMES = 16000, 100  # samples and frames a second
PAUSE = 0.5  # seconds of silence after a recording, without which a last word may not end


def read_recording(path: Path) -> Array:
    """Read a WAV as two channels at 48 kHz in whole frames, [n, 2]; the partner is silent."""
    recording = open_wav(path)
    voice = torch.from_numpy(recording.read().mean(1))[None]
    if recording.rate != SAMPLE_RATE:
        voice = resample(voice, recording.rate, SAMPLE_RATE)
    samples = np.zeros((-(-voice.shape[1] // SAMPLES_PER_FRAME) * SAMPLES_PER_FRAME, 2), np.float32)
    samples[: voice.shape[1], 0] = voice[0].numpy()
    return samples


def aligned_phones(samples: Array, text: str | None = None) -> list[TimedPhone]:
    """English phones of a voice [n] at 48 kHz, by pocketsphinx; none where no words are found.

    text: what the voice says; without it, the words are recognised, which needs a clear voice.
    Words that the dictionary of pocketsphinx does not have are left out. Its recognition of phones
    without words is not used: of its p, b and m on clean synthetic voices, half were none.
    Raises: InputError: when the recording does not say the text.
    """
    from pocketsphinx import Decoder, get_model_path

    decoder = Decoder(
        hmm=get_model_path("en-us/en-us"), lm=get_model_path("en-us/en-us.lm.bin"),
        dict=get_model_path("en-us/cmudict-en-us.dict"), loglevel="FATAL",
    )  # fmt: skip
    slow = resample(torch.from_numpy(samples)[None].float(), SAMPLE_RATE, ALIGNER_RATE)[0].numpy()
    loud = np.pad(slow / max(1e-6, float(np.abs(slow).max())), (0, int(PAUSE * ALIGNER_RATE)))
    sound = (0.9 * loud * 32767).astype("<i2").tobytes()
    if text is None:
        _decode(decoder, sound)
        text = decoder.hyp().hypstr if decoder.hyp() else ""
    words = [word for word in re.findall("[a-z']+", text.lower()) if decoder.lookup_word(word)]
    if not words:
        return []
    decoder.set_align_text(" ".join(words))
    try:
        _decode(decoder, sound)
        decoder.set_alignment()  # of phones, in the words that were just found
        _decode(decoder, sound)
    except RuntimeError as error:
        raise InputError(
            f'pocketsphinx does not find these words in the recording: "{text.strip()}"; correct '
            "the text beside it"
        ) from error
    return [
        phone
        for word in decoder.get_alignment() or ()
        for part in word
        for phone in _phones(part.name.lower(), part.start, part.start + part.duration)
    ]


def _decode(decoder: Any, sound: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()


def _phones(name: str, first: int, last: int) -> list[TimedPhone]:
    """Phones of a symbol over [first, last) frames of the aligner; none for a pause."""
    symbols = ARPABET.get(name, "")
    edges = np.linspace(first, last, len(symbols) + 1) / ALIGNER_FRAMES
    return [
        TimedPhone(symbol, float(edges[i]), float(edges[i + 1])) for i, symbol in enumerate(symbols)
    ]


def sample_recordings(
    person: Path,
    paths: Sequence[Path],
    avatar: BlendshapeModel,
    *,
    english: bool,
    lips_alone: bool = False,
    seed: int = 1,
) -> list[SampledClip]:
    """Sample a take of each recording with the defaults of the person.

    english: align phones. lips_alone: of the regressor and its step, without sampling.
    Raises: InputError: when pocketsphinx is not installed.
    """
    if english and find_spec("pocketsphinx") is None:
        raise InputError("phones of recordings need pocketsphinx; run `pip install pocketsphinx`")
    animator = (
        lips_animator(person)
        if lips_alone
        else load_finished_animator(person, device=torch.device("cpu"))
    )
    manifest = read_manifest(person)
    defaults = manifest.defaults
    clips = []
    for number, path in enumerate(paths):
        samples = read_recording(path)
        sampling = Sampling(
            seeds=(take_seed(seed, number + 1),),
            **sampling_options(defaults, None, student=manifest.student),
            guidance_face=defaults["guidance_face"],
            guidance_body=defaults["guidance_body"],
            diversity=defaults["diversity"],
        )
        (motion,) = animator.animate(torch.from_numpy(samples), sampling)
        phones = aligned_phones(samples[:, 0], words_of(path)) if english else None
        units = avatar.unit_weights(motion.face).numpy()
        clips.append(SampledClip(samples, units, motion.pose.numpy(), phones=phones))
    return clips


def words_of(recording: Path) -> str | None:
    """Text beside a recording; None without."""
    path = recording.with_suffix(".txt")
    return path.read_text(encoding="utf-8") if path.is_file() else None


def judge_recordings(
    person: Path, folder: Path, avatar: BlendshapeModel, *, english: bool, lips_alone: bool = False
) -> dict[str, float]:
    """Measures of lips on the recordings of a folder.

    Raises: InputError: when the folder has no WAV files, or pocketsphinx is missing.
    """
    paths = sorted(folder.glob("*.wav"))
    if not paths:
        raise InputError(f"{folder}: no WAV files; name a folder with recordings of one voice each")
    clips = sample_recordings(person, paths, avatar, english=english, lips_alone=lips_alone)
    figures = judge_sync(clips, avatar)
    if english:
        figures |= judge_phones(clips, avatar)
    return {f"recordings_{name}": value for name, value in figures.items()}
