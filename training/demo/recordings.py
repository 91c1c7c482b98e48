"""Lips on recordings of real voices, which have no true motion.

Phones come from pocketsphinx (BSD), an optional package: `pip install pocketsphinx`. Its alignment
is itself uncertain by some hundredths of a second, so lips may close within `AROUND` of a phone.
Letters: T frames (30/s), n samples at 48 kHz.
"""

from __future__ import annotations

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
from training.demo.judge import SampledClip, judge_phones, judge_sync
from training.demo.speech.voices import ARPABET
from training.evaluation.lip_measures import TimedPhone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.avatar.blendshape.model import BlendshapeModel
    from models.finishing.animator import FinishedAnimator

    Array = NDArray[np.floating[Any]]

ALIGNER_RATE, ALIGNER_FRAMES = 16000, 100  # samples and frames a second


def read_recording(path: Path) -> Array:
    """Read a WAV as two channels at 48 kHz in whole frames, [n, 2]; the partner is silent."""
    recording = open_wav(path)
    voice = torch.from_numpy(recording.read().mean(1))[None]
    if recording.rate != SAMPLE_RATE:
        voice = resample(voice, recording.rate, SAMPLE_RATE)
    samples = np.zeros((-(-voice.shape[1] // SAMPLES_PER_FRAME) * SAMPLES_PER_FRAME, 2), np.float32)
    samples[: voice.shape[1], 0] = voice[0].numpy()
    return samples


def aligned_phones(samples: Array) -> list[TimedPhone]:
    """English phones of a voice [n] at 48 kHz, by pocketsphinx."""
    from pocketsphinx import Decoder, get_model_path

    decoder = Decoder(
        hmm=get_model_path("en-us/en-us"), allphone=get_model_path("en-us/en-us-phone.lm.bin"),
        lw=2.0, beam=1e-20, pbeam=1e-20, loglevel="FATAL",
    )  # fmt: skip
    slow = resample(torch.from_numpy(samples)[None].float(), SAMPLE_RATE, ALIGNER_RATE)[0].numpy()
    loud = slow / max(1e-6, float(np.abs(slow).max()))
    decoder.start_utt()
    decoder.process_raw((0.9 * loud * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    phones = []
    for segment in decoder.seg():
        symbols = ARPABET.get(segment.word.lower(), "")
        start, end = segment.start_frame / ALIGNER_FRAMES, (segment.end_frame + 1) / ALIGNER_FRAMES
        edges = np.linspace(start, end, len(symbols) + 1)
        phones += [
            TimedPhone(symbol, float(edges[i]), float(edges[i + 1]))
            for i, symbol in enumerate(symbols)
        ]
    return phones


def sample_recordings(
    person: Path, paths: Sequence[Path], avatar: BlendshapeModel, *, english: bool, seed: int = 1
) -> list[SampledClip]:
    """Sample a take of each recording with the defaults of the person.

    english: align phones.
    Raises: InputError: when pocketsphinx is not installed.
    """
    if english and find_spec("pocketsphinx") is None:
        raise InputError("phones of recordings need pocketsphinx; run `pip install pocketsphinx`")
    animator: FinishedAnimator = load_finished_animator(person, device=torch.device("cpu"))
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
        phones = aligned_phones(samples[:, 0]) if english else None
        units = avatar.unit_weights(motion.face).numpy()
        clips.append(SampledClip(samples, units, motion.pose.numpy(), phones=phones))
    return clips


def judge_recordings(
    person: Path, folder: Path, avatar: BlendshapeModel, *, english: bool
) -> dict[str, float]:
    """Measures of lips on the recordings of a folder.

    Raises: InputError: when the folder has no WAV files, or pocketsphinx is missing.
    """
    paths = sorted(folder.glob("*.wav"))
    if not paths:
        raise InputError(f"{folder}: no WAV files; name a folder with recordings of one voice each")
    clips = sample_recordings(person, paths, avatar, english=english)
    figures = judge_sync(clips, avatar)
    if english:
        figures |= judge_phones(clips, avatar)
    return {f"recordings_{name}": value for name, value in figures.items()}
