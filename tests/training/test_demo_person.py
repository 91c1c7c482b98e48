"""The demo person as she is committed: she speaks with whom she should, and rests when she should.

All on one conversation that she was not trained on.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, minimum_filter1d

from contracts.person import MANIFEST, check_files
from models.avatar.blendshape.model import BlendshapeModel, load_blendshape
from models.motion.pipeline import Animator, Motion, Sampling, load_animator, take_seed
from tests.training.scenes import read_wav
from training.data.audio import SAMPLES_PER_FRAME, loudness
from training.demo.judge import arm_speed, correlation, heard

ROOT = Path(__file__).parents[2]
PERSON = ROOT / "people" / "demo"
CONVERSATION = ROOT / "examples" / "conversation.wav"
TAKES, STEPS = 4, 10
LARGEST = 15e6  # bytes, of all files together
PAUSE = 9  # frames: 0.3 s

Array = np.ndarray


@dataclass(frozen=True)
class Played:
    """Some takes of a clip."""

    samples: Array  # [n, 2]
    takes: list[Motion]
    avatar: BlendshapeModel

    @cached_property
    def opening(self) -> Array:
        """How far the lips are apart, [takes, T] cm."""
        return np.stack([self.avatar.lip_opening(take.face).numpy() for take in self.takes])

    def loudness(self, channel: int) -> Array:
        """[T]."""
        return loudness(self.samples[:, channel])

    def silent(self, channel: int) -> Array:
        """Frames [T] in the middle of at least 0.3 s in which a channel says nothing."""
        level = self.loudness(channel)
        quiet = level < 0.2 * np.quantile(level, 0.95)
        whole = minimum_filter1d(quiet.astype(np.uint8), PAUSE).astype(bool)  # no sound near
        return np.asarray(whole)

    def sounding(self, channel: int) -> Array:
        """Frames [T] in or next to which a channel sounds."""
        level = self.loudness(channel)
        return np.asarray(binary_dilation(level > 0.3 * np.quantile(level, 0.95)))


def conversation_samples() -> Array:
    """Whole frames, [n, 2]."""
    samples = read_wav(CONVERSATION)
    return samples[: len(samples) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]


def played(samples: Array, *, takes: int, animator: Animator, avatar: BlendshapeModel) -> Played:
    """With the person's own defaults, but for the steps."""
    defaults = json.loads((PERSON / MANIFEST).read_text(encoding="utf-8"))["defaults"]
    sampling = Sampling(
        seeds=tuple(take_seed(1, take + 1) for take in range(takes)),
        steps=STEPS,
        guidance_face=defaults["guidance_face"],
        guidance_body=defaults["guidance_body"],
        diversity=defaults["diversity"],
    )
    motion = animator.animate(torch.from_numpy(samples.copy()), sampling)
    return Played(samples, motion, avatar)


@pytest.fixture(scope="module")
def animator() -> Animator:
    return load_animator(PERSON, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def avatar() -> BlendshapeModel:
    return load_blendshape(PERSON / "avatar.safetensors", device=torch.device("cpu"))


@pytest.fixture(scope="module")
def conversation(animator: Animator, avatar: BlendshapeModel) -> Played:
    return played(conversation_samples(), takes=TAKES, animator=animator, avatar=avatar)


@pytest.fixture(scope="module")
def swapped(animator: Animator, avatar: BlendshapeModel) -> Played:
    """The same with the two speakers in each other's place."""
    samples = conversation_samples()[:, ::-1]
    return played(samples, takes=TAKES, animator=animator, avatar=avatar)


def test_her_files_are_those_that_she_names() -> None:
    check_files(PERSON)


def test_she_is_small_enough_to_lie_in_a_repository() -> None:
    named = {*json.loads((PERSON / MANIFEST).read_text(encoding="utf-8"))["files"], MANIFEST}
    assert {path.name for path in PERSON.iterdir() if path.is_file()} == named
    assert sum((PERSON / name).stat().st_size for name in named) < LARGEST


def test_she_takes_the_clips_that_she_promises(animator: Animator) -> None:
    limits = json.loads((PERSON / MANIFEST).read_text(encoding="utf-8"))["limits"]
    assert animator.max_seconds >= limits["max_seconds"]


def test_her_lips_open_with_her_voice(conversation: Played) -> None:
    level = conversation.loudness(0)
    for opening in conversation.opening:
        assert correlation(opening, level) > 0.5


def test_her_mouth_is_nearly_closed_when_she_is_silent(conversation: Played) -> None:
    silent, sounding = conversation.silent(0), conversation.sounding(0)
    assert silent.sum() > 60
    assert sounding.sum() > 60
    for opening in conversation.opening:
        assert opening[silent].mean() < 0.25 * opening[sounding].mean()


def test_with_the_channels_swapped_her_mouth_follows_the_other_speaker(
    conversation: Played, swapped: Played
) -> None:
    for played_as in (conversation, swapped):
        for opening in played_as.opening:
            assert correlation(opening, played_as.loudness(0)) > 0.5
            assert correlation(opening, played_as.loudness(1)) < 0.1


def test_her_arms_move_more_while_she_speaks_than_while_she_listens(
    conversation: Played, swapped: Played
) -> None:
    speaking, listening = [], []
    for each in (conversation, swapped):
        speaks = heard(each.samples, 0)
        listens = heard(each.samples, 1) & ~speaks
        for take in each.takes:
            speed = arm_speed(take.pose.numpy())
            speaking.append(speed[speaks].mean())
            listening.append(speed[listens].mean())
    assert np.mean(speaking) > 1.2 * np.mean(listening)


def test_her_takes_differ_in_the_body_and_agree_on_the_lips(conversation: Played) -> None:
    first, second = conversation.takes[:2]
    assert float((first.pose - second.pose).abs().mean()) > 0.01
    assert correlation(*conversation.opening[:2]) > 0.7
