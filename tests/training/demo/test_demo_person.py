"""Motion of the shipped demo person on one conversation that is not in the training data."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, minimum_filter1d

from contracts.person import MANIFEST, check_files
from models.avatar.blendshape.model import BlendshapeModel, load_blendshape
from models.finishing.animator import FinishedAnimator, load_finished_animator
from models.motion.lips import load_lip_units
from models.motion.pipeline import LIP_UNITS, Motion, Sampling, take_seed
from models.motion.speech import scale_frequencies
from tests.training.scenes import read_wav
from training.data.audio import SAMPLES_PER_FRAME, loudness
from training.data.features import load_extractor
from training.data.voice_activity import speech_mask
from training.demo.judge import arm_speed, correlation

ROOT = Path(__file__).parents[3]
PERSON = ROOT / "people" / "demo"
CONVERSATION = ROOT / "examples" / "conversation.wav"
TAKES, STEPS = 4, 10
LARGEST = 24e6  # bytes of all files; data and weights have at most 30 MB in the repository
PAUSE = 9  # frames: 0.3 s

Array = np.ndarray


@dataclass(frozen=True)
class Takes:
    """Takes of one clip."""

    samples: Array  # [n, 2]
    takes: list[Motion]
    avatar: BlendshapeModel

    @cached_property
    def opening(self) -> Array:
        """Lip distance in centimetres, [takes, T]."""
        return np.stack([self.avatar.lip_opening(take.face).numpy() for take in self.takes])

    def loudness(self, channel: int) -> Array:
        """Loudness of a channel, [T]."""
        return loudness(self.samples[:, channel])

    def silent(self, channel: int) -> Array:
        """Mask [T] of frames in the middle of at least 0.3 s of silence in a channel."""
        level = self.loudness(channel)
        quiet = level < 0.2 * np.quantile(level, 0.95)
        return np.asarray(minimum_filter1d(quiet.astype(np.uint8), PAUSE).astype(bool))

    def sounding(self, channel: int) -> Array:
        """Mask [T] of loud frames of a channel and their neighbours."""
        level = self.loudness(channel)
        return np.asarray(binary_dilation(level > 0.3 * np.quantile(level, 0.95)))


def conversation_samples() -> Array:
    """Samples of the conversation, cut to whole frames, [n, 2]."""
    samples = read_wav(CONVERSATION)
    return samples[: len(samples) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]


def sample(
    samples: Array, *, takes: int, animator: FinishedAnimator, avatar: BlendshapeModel
) -> Takes:
    """Sample takes with the defaults of the person and fewer steps."""
    defaults = json.loads((PERSON / MANIFEST).read_text(encoding="utf-8"))["defaults"]
    sampling = Sampling(
        seeds=tuple(take_seed(1, take + 1) for take in range(takes)),
        steps=STEPS,
        guidance_face=defaults["guidance_face"],
        guidance_body=defaults["guidance_body"],
        diversity=defaults["diversity"],
    )
    motion = animator.animate(torch.from_numpy(samples.copy()), sampling)
    return Takes(samples, motion, avatar)


@pytest.fixture(scope="module")
def animator() -> FinishedAnimator:
    return load_finished_animator(PERSON, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def avatar() -> BlendshapeModel:
    return load_blendshape(PERSON / "avatar.safetensors", device=torch.device("cpu"))


@pytest.fixture(scope="module")
def conversation(animator: FinishedAnimator, avatar: BlendshapeModel) -> Takes:
    return sample(conversation_samples(), takes=TAKES, animator=animator, avatar=avatar)


@pytest.fixture(scope="module")
def swapped(animator: FinishedAnimator, avatar: BlendshapeModel) -> Takes:
    """Takes of the same conversation with the channels swapped."""
    samples = conversation_samples()[:, ::-1]
    return sample(samples, takes=TAKES, animator=animator, avatar=avatar)


def test_the_files_match_their_checksums() -> None:
    check_files(PERSON)


def test_the_person_directory_is_complete_and_small_enough_for_the_repository() -> None:
    named = {*json.loads((PERSON / MANIFEST).read_text(encoding="utf-8"))["files"], MANIFEST}
    assert {path.name for path in PERSON.iterdir() if path.is_file()} == named
    assert sum((PERSON / name).stat().st_size for name in named) < LARGEST


def test_clips_up_to_the_stated_limit_are_accepted(animator: FinishedAnimator) -> None:
    limits = json.loads((PERSON / MANIFEST).read_text(encoding="utf-8"))["limits"]
    assert animator.max_seconds >= limits["max_seconds"]


def test_the_lips_open_with_the_voice(conversation: Takes) -> None:
    level = conversation.loudness(0)
    for opening in conversation.opening:
        assert correlation(opening, level) > 0.5


def test_the_lips_move_in_the_frames_of_the_voice(conversation: Takes) -> None:
    """Quick changes of lips and loudness correlate most at 0 frames, in both halves."""
    level = quick(conversation.loudness(0))
    for opening in map(quick, conversation.opening):
        for half in (slice(3, len(level) // 2), slice(len(level) // 2, -3)):
            lags = range(-3, 4)
            fits = [correlation(opening[half], np.roll(level, -lag)[half]) for lag in lags]
            assert lags[int(np.argmax(fits))] == 0


def quick(values: Array) -> Array:
    """Return what differs from the moving average of 0.3 s."""
    return values - np.convolve(values, np.full(PAUSE, 1 / PAUSE), mode="same")


def test_the_mouth_is_nearly_closed_during_silence(conversation: Takes) -> None:
    silent, sounding = conversation.silent(0), conversation.sounding(0)
    assert silent.sum() > 60
    assert sounding.sum() > 60
    for opening in conversation.opening:
        assert opening[silent].mean() < 0.25 * opening[sounding].mean()


def test_the_mouth_follows_the_first_channel_also_when_channels_are_swapped(
    conversation: Takes, swapped: Takes
) -> None:
    for takes in (conversation, swapped):
        for opening in takes.opening:
            assert correlation(opening, takes.loudness(0)) > 0.5
            assert correlation(opening, takes.loudness(1)) < 0.1


def test_the_arms_move_more_while_speaking_than_while_listening(
    conversation: Takes, swapped: Takes
) -> None:
    speaking, listening = [], []
    for each in (conversation, swapped):
        speaks = speech_mask(each.samples, 0)
        listens = speech_mask(each.samples, 1) & ~speaks
        for take in each.takes:
            speed = arm_speed(take.pose.numpy())
            speaking.append(speed[speaks].mean())
            listening.append(speed[listens].mean())
    assert np.mean(speaking) > 6 * np.mean(listening)


def test_takes_differ_in_the_body_and_agree_on_the_lips(conversation: Takes) -> None:
    first, second = conversation.takes[:2]
    assert float((first.pose - second.pose).abs().mean()) > 0.01
    assert correlation(*conversation.opening[:2]) > 0.7


@torch.no_grad()
def test_lips_depend_little_on_the_length_of_the_vocal_tract() -> None:
    network = load_lip_units(PERSON / LIP_UNITS, device=torch.device("cpu"))
    extractor = load_extractor(PERSON, device=torch.device("cpu"))
    rows = extractor.speech(extractor.normalise(conversation_samples()))
    half = rows.shape[-1] // 2
    longer = scale_frequencies(rows[..., :half], network.config, torch.tensor([1.15]))
    other = torch.cat([longer, rows[..., half:]], dim=-1)
    changes = []
    for scales in (network.config.scales, ()):
        network.config = replace(network.config, scales=scales)
        units = network.config.units.index("mouthFunnel")
        lips, of_other = network.lips(rows)[0, :, units], network.lips(other)[0, :, units]
        changes.append(1 - correlation(lips.numpy(), of_other.numpy()))
    assert changes[0] < 0.5 * changes[1]
