"""Previews: a strip of rendered frames with the truth above and the prediction below.

Letters: T frames, C channels, K key poses, N pictures of a strip.
A denoiser samples a validation clip in a few steps of DDIM; the tokenizer reconstructs key poses,
the guide samples them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from contracts.avatar_kinds import AVATAR_KINDS
from models.motion.denoiser import KEY_FRAMES, BodyDenoiser, Denoiser
from models.motion.diffusion import schedule_for
from models.motion.guide import Guide, generate
from models.motion.pipeline import denoising
from models.motion.samplers.ddim import ddim_sample
from models.motion.statistics import Statistics, load_statistics
from models.motion.tokenizer import load_tokenizer
from training.data.scenes import window
from training.networks.codebooks import LearningTokenizer
from training.person_facts import read_facts

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

FRAMES = 240  # length of the clip, 8 s
PICTURES = 8
SIZE = 160  # pixels, side of a picture
STEPS = 10
DIVERSITY = 0.94
GAP = 4  # pixels between truth and prediction


@dataclass(frozen=True)
class Clip:
    """Features and true motion of a clip, normalised."""

    features: Tensor  # [1, L, A]
    motion: Tensor  # [1, T, C]


def preview_of(
    name: str, network: nn.Module, scene: Scene, person: Path, *, device: torch.device
) -> Callable[[], Picture] | None:
    """Function that renders a preview of the network; None for a person without an avatar."""
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
        motions = [_complete(name, each[0], statistics) for each in (true, predicted)]
        return strip(avatar, motions, near=name == "face")

    return preview


def _avatar(person: Path, device: torch.device) -> Avatar:
    """Load the avatar; person.json does not exist before all networks are trained."""
    kind = ((read_facts(person) or {}).get("avatar") or {}).get("kind", "blendshape")
    avatar: Avatar = AVATAR_KINDS[kind].load(person, device=device, settings={})
    return avatar


def clip_of(scene: Scene, device: torch.device) -> Clip:
    """Select the part of a scene with most motion, starting at a whole second."""
    frames = min(FRAMES, scene.frames)
    speed = scene.motion[0 : scene.frames].diff(dim=0).abs().mean(1)  # [T - 1]
    starts = range(0, scene.frames - frames + 1, KEY_FRAMES)
    start = max(starts, key=lambda start: float(speed[start : start + frames].sum()))
    cut = window(scene, start, frames)
    return Clip(cut.features[None].to(device), cut.motion[None].to(device))


def predict(network: nn.Module, clip: Clip, tokenizer: Tokenizer | None) -> Tensor:
    """Predict the motion [1, T, C] of a clip, or its key poses [1, K, C]."""
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


def _complete(name: str, motion: Tensor, statistics: Statistics) -> _Motion:
    """Denormalise motion [T, C] of a network, and add the mean of the other part."""
    count = len(motion)
    if name == "face":
        return _Motion(statistics.face(motion), statistics.pose_mean.expand(count, -1))
    return _Motion(statistics.code_mean.expand(count, -1), statistics.pose(motion))


def strip(avatar: Avatar, rows: list[_Motion], *, near: bool = False) -> Picture:
    """Render one row of pictures per motion, at the same moments: [H, W, 3].

    near: crop the middle of the upper half of the view, which shows the face.
    """
    side = 2 * SIZE if near else SIZE
    camera = avatar.camera().resized(side, side)
    edge = (side - SIZE) // 2
    pictures = [_row(avatar, motion, camera, slice(edge, edge + SIZE)) for motion in rows]
    gap = np.full((GAP, pictures[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for row in pictures for part in (row, gap)][:-1])


def _row(avatar: Avatar, motion: _Motion, camera: Camera, columns: slice) -> Picture:
    moments = torch.linspace(0, len(motion.face) - 1, min(PICTURES, len(motion.face)))
    chosen = moments.round().long().to(motion.face.device)
    frames = avatar.render(motion.face[chosen], motion.pose[chosen], [camera])
    pictures = [frame[:SIZE, columns] for batch in frames for frame in batch]
    return np.concatenate(pictures, axis=1)
