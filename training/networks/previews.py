"""Previews: a strip of rendered frames, the truth above and what a network makes of it below.

Letters: T frames, C channels, K key poses, N pictures of a strip.
A denoiser draws a clip of its validation in a few steps of DDIM; the tokenizer shows key poses that
went through it, the guide key poses that it drew.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from contracts.person import MANIFEST
from models.avatar.blendshape.kind import load_blendshape_avatar
from models.avatar.loading import load_avatar
from models.motion.denoiser import KEY_FRAMES, BodyDenoiser, Denoiser
from models.motion.diffusion import schedule_for
from models.motion.guide import Guide, generate
from models.motion.pipeline import denoising
from models.motion.samplers.ddim import ddim_sample
from models.motion.statistics import Statistics, load_statistics
from models.motion.tokenizer import load_tokenizer
from training.data.scenes import window
from training.networks.codebooks import LearningTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from models.avatar.avatar import Avatar
    from models.avatar.camera import Camera
    from models.motion.tokenizer import Tokenizer
    from training.data.scenes import Scene
    from training.loop.tensorboard import Picture

logger = logging.getLogger(__name__)

FRAMES = 240  # of the clip that is shown, 8 s
PICTURES = 8
SIZE = 160  # pixels of a picture's side
STEPS = 10
DIVERSITY = 0.94
GAP = 4  # pixels between the truth and what is below it


@dataclass(frozen=True)
class Clip:
    """What a network is asked to make again, normalised."""

    features: Tensor  # [1, L, A]
    motion: Tensor  # [1, T, C]


def preview_of(
    name: str, network: nn.Module, scene: Scene, person: Path, *, device: torch.device
) -> Callable[[], Picture] | None:
    """A function that shows what the network does now; None where the person has no avatar."""
    if not (person / "avatar.safetensors").is_file():
        logger.info("%s has no avatar.safetensors: no previews", person)
        return None
    avatar = _avatar(person, device)
    statistics = load_statistics(person / "stats.json", device=device)
    tokenizer = None
    if name == "guide":
        tokenizer = load_tokenizer(person / "tokenizer.safetensors", device=device)
    clip = clip_of(scene, device)

    def preview() -> Picture:
        predicted = predict(network, clip, tokenizer)
        keys_only = predicted.shape[1] != clip.motion.shape[1]
        true = clip.motion[:, ::KEY_FRAMES] if keys_only else clip.motion
        motions = [_whole(name, each[0], statistics) for each in (true, predicted)]
        return strip(avatar, motions, near=name == "face")

    return preview


def _avatar(person: Path, device: torch.device) -> Avatar:
    """A person in training has no person.json before all her files are there."""
    if (person / MANIFEST).is_file():
        return load_avatar(person, device=device)
    return load_blendshape_avatar(person, device=device)


def clip_of(scene: Scene, device: torch.device) -> Clip:
    """The piece of a scene in which most happens, from a whole second on."""
    frames = min(FRAMES, scene.frames)
    speed = scene.motion[0 : scene.frames].diff(dim=0).abs().mean(1)  # [T - 1]
    starts = range(0, scene.frames - frames + 1, KEY_FRAMES)
    start = max(starts, key=lambda start: float(speed[start : start + frames].sum()))
    cut = window(scene, start, frames)
    return Clip(cut.features[None].to(device), cut.motion[None].to(device))


def predict(network: nn.Module, clip: Clip, tokenizer: Tokenizer | None) -> Tensor:
    """What the network makes of a clip: [1, T, C], or its key poses [1, K, C]."""
    keys = clip.motion[:, ::KEY_FRAMES]
    generator = torch.Generator().manual_seed(1)
    if isinstance(network, LearningTokenizer):
        poses: Tensor = network(keys)[0]
        return poses
    if isinstance(network, Guide):
        assert tokenizer is not None
        tokens = generate(
            network,
            network.condition(clip.features),
            keys=keys.shape[1],
            depth=tokenizer.config.depth,
            top_p=DIVERSITY,
            generators=[generator],
        )
        return tokenizer.decode(tokens)
    assert isinstance(network, Denoiser)
    condition = network.condition(network.tokens(clip.features), clip.motion.shape[1])
    if isinstance(network, BodyDenoiser):
        condition = network.with_keys(condition, network.key_tokens(keys))
    noise = torch.randn(clip.motion.shape, generator=generator).to(clip.motion.device)
    return ddim_sample(denoising(network, condition), noise, schedule_for(STEPS))


@dataclass(frozen=True)
class _Motion:
    face: Tensor  # [T, 256]
    pose: Tensor  # [T, 104]


def _whole(name: str, motion: Tensor, statistics: Statistics) -> _Motion:
    """Normalised motion [T, C] of a network, with the mean of what it does not make."""
    count = len(motion)
    if name == "face":
        return _Motion(statistics.face(motion), statistics.pose_mean.expand(count, -1))
    return _Motion(statistics.code_mean.expand(count, -1), statistics.pose(motion))


def strip(avatar: Avatar, rows: list[_Motion], *, near: bool = False) -> Picture:
    """One row of pictures for each motion, the same moments in each: [H, W, 3].

    near: only the middle of the upper half of the view, where a face is.
    """
    side = 2 * SIZE if near else SIZE
    camera = avatar.camera().resized(side, side)
    edge = (side - SIZE) // 2
    pictures = [_row(avatar, motion, camera, slice(edge, edge + SIZE)) for motion in rows]
    gap = np.full((GAP, pictures[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for row in pictures for part in (row, gap)][:-1])


def _row(avatar: Avatar, motion: _Motion, camera: Camera, columns: slice) -> Picture:
    places = torch.linspace(0, len(motion.face) - 1, min(PICTURES, len(motion.face)))
    some = places.round().long().to(motion.face.device)
    frames = avatar.render(motion.face[some], motion.pose[some], [camera])
    shown = [frame[:SIZE, columns] for batch in frames for frame in batch]
    return np.concatenate(shown, axis=1)
