"""How well the demo person speaks: sampled motion beside the truth, on speech not trained on.

Lips are judged on the frames in which she speaks, beside a predictor that knows only whether she
does; the body by speed and spread against the truth, and by speaking against listening.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import maximum_filter1d

from contracts.person import read_manifest
from models.avatar.blendshape.model import load_blendshape
from models.formats.dataset import find_scenes
from models.motion.pipeline import Sampling, load_animator, take_seed
from training.data.audio import FRAME_RATE, loudness
from training.data.scenes import chunks
from training.data.voice_activity import heard
from training.demo.speech.motion_rules import ARMS, UNIT
from training.evaluation.metrics import correlation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.floating]

JAW = UNIT["jawOpen"]
SHOWN = ("jawOpen", "mouthFunnel", "mouthPucker", "mouthPressLeft", "mouthRollLower")


@dataclass(frozen=True)
class Played:
    """One clip as sampled and, where it is known, as it should have been."""

    samples: Array  # [1600 T, 2]
    units: Array  # [T, 52]
    pose: Array  # [T, 104]
    true_units: Array | None = None
    true_pose: Array | None = None


def arm_speed(pose: Array) -> Array:
    """Mean absolute speed of the arm parameters [T], rad/s."""
    step = np.abs(np.diff(pose[:, ARMS], axis=0)).mean(1) * FRAME_RATE
    return np.concatenate([step, step[-1:]])


def judge_alone(played: Sequence[Played]) -> dict[str, float]:
    """What can be said without a truth: lips against loudness, silence, arms in speech."""
    jaw = np.concatenate([p.units[:, JAW] for p in played])
    level = np.concatenate([loudness(p.samples[:, 0].astype(np.float32)) for p in played])
    own = np.concatenate([heard(p.samples, 0) for p in played])
    other = np.concatenate([heard(p.samples, 1) for p in played]) & ~own
    arms = np.concatenate([arm_speed(p.pose) for p in played])
    return {
        "jaw_loudness": correlation(jaw, level),
        "jaw_loudness_speaking": correlation(jaw[own], level[own]),
        "jaw_mean_speaking": float(jaw[own].mean()),
        "jaw_mean_silent": float(jaw[~own].mean()),
        "jaw_high_silent": float(np.quantile(jaw[~own], 0.95)),
        "arm_speed_ratio": float(arms[own].mean() / max(1e-9, arms[other].mean())),
    }


def judge_lips(played: Sequence[Played]) -> dict[str, float]:
    """Sampled units against true ones, over all frames and over the frames with speech."""
    pairs = [(p.units, p.true_units) for p in played if p.true_units is not None]
    got, true = (np.concatenate(side) for side in zip(*pairs, strict=True))
    speaks = maximum_filter1d(true[:, JAW], 13) > 0.08
    on_off = np.where(speaks, true[speaks, JAW].mean(), true[~speaks, JAW].mean())
    result = {"jaw_on_off_only": correlation(on_off, true[:, JAW])}
    for name in SHOWN:
        unit = UNIT[name]
        result[f"{name}_all"] = correlation(got[:, unit], true[:, unit])
        result[f"{name}_speaking"] = correlation(got[speaks, unit], true[speaks, unit])
    result["jaw_spread_ratio"] = float(got[speaks, JAW].std() / true[speaks, JAW].std())
    return result


def judge_body(played: Sequence[Played]) -> dict[str, float]:
    """Speed, spread and roughness of the pose against the truth's (1 is right)."""
    pairs = [(p.pose, p.true_pose) for p in played if p.true_pose is not None]

    def roughness(pose: Array, order: int) -> float:
        return float(np.abs(np.diff(pose, order, axis=0)).mean())

    speed, jitter = (
        np.mean([roughness(got, n) for got, _ in pairs])
        / np.mean([roughness(true, n) for _, true in pairs])
        for n in (1, 2)
    )
    got, true = (np.concatenate(side) for side in zip(*pairs, strict=True))
    own = np.concatenate([heard(p.samples, 0) for p in played])
    other = np.concatenate([heard(p.samples, 1) for p in played]) & ~own
    truth = np.concatenate([arm_speed(p.true_pose) for p in played if p.true_pose is not None])
    return {
        "body_speed_ratio": float(speed),
        "body_second_difference_ratio": float(jitter),
        "body_spread_ratio": float(got.std(0).mean() / true.std(0).mean()),
        "arm_speed_ratio_truth": float(truth[own].mean() / max(1e-9, truth[other].mean())),
    }


def cut_clips(folder: Path, seconds: float, count: int) -> Iterator[tuple[Array, Array, Array]]:
    """(samples, codes, pose) of the first `count` clips of `seconds` from a dataset's scenes."""
    frames = int(seconds * FRAME_RATE)
    taken = 0
    for files in find_scenes(folder):
        scene = files.open()
        for start in chunks(scene.frames, frames):
            if taken == count:
                return
            cut = (start, start + frames)
            yield scene.samples(*cut), scene.codes(*cut), scene.poses(*cut)
            taken += 1


def judged(
    person: Path, data: Path, *, clips: int, seconds: float, steps: int | None = None, seed: int = 1
) -> dict[str, float]:
    """Sample `clips` clips of a dataset as the worker would, and measure them beside the truth."""
    played = list(sampled(person, data, clips=clips, seconds=seconds, steps=steps, seed=seed))
    return judge_alone(played) | judge_lips(played) | judge_body(played)


def sampled(
    person: Path, data: Path, *, clips: int, seconds: float, steps: int | None, seed: int
) -> Iterator[Played]:
    """One take for each clip, with the person's own defaults."""
    cpu = torch.device("cpu")
    avatar = load_blendshape(person / "avatar.safetensors", device=cpu)
    animator = load_animator(person, device=cpu)
    defaults = read_manifest(person).defaults
    for number, (sound, codes, pose) in enumerate(cut_clips(data, seconds, clips)):
        sampling = Sampling(
            seeds=(take_seed(seed, number + 1),),
            steps=steps or defaults["steps"],
            guidance_face=defaults["guidance_face"],
            guidance_body=defaults["guidance_body"],
            diversity=defaults["diversity"],
        )
        motion = animator.animate(torch.from_numpy(sound), sampling)[0]
        yield Played(
            sound,
            avatar.unit_weights(motion.face).numpy(),
            motion.pose.numpy(),
            avatar.unit_weights(torch.from_numpy(codes).float()).numpy(),
            pose,
        )
