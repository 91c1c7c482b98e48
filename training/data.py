"""The dataset: scenes of sound and motion in a folder, their statistics, and windows of them.

Letters: T frames (30/s), C channels of motion, L feature rows of a scene, A features of a row.
A folder holds, per scene, `<scene>_audio.wav` (48 kHz, 2 channels, 1600 T samples),
`_body_pose.npy` [T, 104], `_face_expression.npy` [T, 256] and `_missing_face_frames.npy`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.sound import SAMPLES_PER_FRAME, read_wav

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Generator, Tensor

    Array = NDArray[np.floating[Any]]
    Encode = Callable[[Tensor], Tensor]  # raw sound [samples, 2] -> features [L, A]

FACE, POSE = "face_expression", "body_pose"
CODES = {FACE: "code", POSE: "pose"}  # what the statistics call them
SMALLEST_STD = 1e-3  # a channel that never moves keeps this, so that it is not blown up


@dataclass(frozen=True)
class Scene:
    """One conversation, ready to be cut: features are made once, not in every step."""

    name: str
    features: Tensor  # [L, A]
    motion: Tensor  # [T, C], normalised
    present: Tensor  # [T], 0 where the face was not seen

    @property
    def frames(self) -> int:
        return len(self.motion)


@dataclass(frozen=True)
class Batch:
    features: Tensor  # [B, L, A]
    motion: Tensor  # [B, T, C]
    present: Tensor  # [B, T]

    @property
    def frames(self) -> int:
        return self.motion.shape[1]


def scene_names(folder: Path) -> list[str]:
    names = sorted(path.name.removesuffix("_audio.wav") for path in folder.glob("*_audio.wav"))
    if not names:
        raise ValueError(f"no scenes (*_audio.wav) in {folder}; `data make-demo` makes some")
    return names


def measure(folder: Path) -> dict[str, object]:
    """Statistics of a folder: mean and std of pose, codes and sound, over all its scenes."""
    names = scene_names(folder)
    result: dict[str, object] = {}
    for kind, code in CODES.items():
        motion = np.concatenate([np.load(folder / f"{name}_{kind}.npy") for name in names])
        result[f"{code}_mean"] = motion.mean(0, dtype=np.float64).tolist()
        spread = motion.std(0, dtype=np.float64)
        result[f"{code}_std"] = np.maximum(spread, SMALLEST_STD).tolist()
    return result | _measured_sound(folder, names)


def _measured_sound(folder: Path, names: Sequence[str]) -> dict[str, object]:
    """Mean of each channel, and one spread for both, as the reference has them."""
    count, first, second = 0, np.zeros(2), np.zeros(2)
    for name in names:
        sound = read_wav(folder / f"{name}_audio.wav").astype(np.float64)
        count += len(sound)
        first += sound.sum(0)
        second += np.square(sound).sum(0)
    mean = first / count
    flat = second.sum() / (2 * count) - mean.mean() ** 2
    return {"audio_mean": mean.tolist(), "audio_std_flat": float(np.sqrt(flat))}


def write_statistics(folder: Path) -> Path:
    path = folder / "stats.json"
    path.write_text(json.dumps(measure(folder)))
    return path


def load_scenes(
    folder: Path, kind: str, encode: Encode, *, mean: Tensor, std: Tensor
) -> list[Scene]:
    """All scenes of a folder with motion of `kind`, normalised; features made here, once."""
    return [_load(folder, name, kind, encode, mean, std) for name in scene_names(folder)]


def _load(folder: Path, name: str, kind: str, encode: Encode, mean: Tensor, std: Tensor) -> Scene:
    motion = torch.from_numpy(np.load(folder / f"{name}_{kind}.npy")).float()
    sound = torch.from_numpy(read_wav(folder / f"{name}_audio.wav"))
    if len(sound) != len(motion) * SAMPLES_PER_FRAME:
        raise ValueError(
            f"scene {name} has {len(sound)} samples for {len(motion)} frames; "
            f"{SAMPLES_PER_FRAME} samples belong to a frame"
        )
    present = torch.ones(len(motion))
    if kind == FACE:
        present[torch.from_numpy(np.load(folder / f"{name}_missing_face_frames.npy"))] = 0
    motion = (motion - mean) / std * present[:, None]
    return Scene(name, encode(sound), motion, present)


def draw_windows(
    scenes: Sequence[Scene], frames: int, count: int, generator: Generator, *, step: int = 1
) -> Batch:
    """`count` windows of `frames` frames; scenes are drawn by their length, starts by `step`."""
    long = [scene for scene in scenes if scene.frames >= frames]
    if not long:
        raise ValueError(f"no scene has {frames} frames; make the window shorter")
    weights = torch.tensor([float(scene.frames - frames + 1) for scene in long])
    chosen = torch.multinomial(weights, count, replacement=True, generator=generator)
    cuts = []
    for index in chosen.tolist():
        last = (long[index].frames - frames) // step
        start = step * int(torch.randint(last + 1, (1,), generator=generator))
        cuts.append(window(long[index], start, frames))
    return Batch(*(torch.stack(parts) for parts in zip(*cuts, strict=True)))


def window(scene: Scene, start: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features, motion and mask of frames [start, start + frames) of a scene."""
    rows = len(scene.features) / scene.frames
    first = round(start * rows)
    return (
        scene.features[first : first + round(frames * rows)],
        scene.motion[start : start + frames],
        scene.present[start : start + frames],
    )


def wrapped(angle: Array) -> Array:
    """Angles brought to [0, 2 pi): pose column 3 of PXB184 and RLW104, whose turns are counted.

    The reference shifts by pi and wraps, twice, which comes to this.
    """
    return np.mod(angle, 2 * np.pi)


def released_chunks(frames: int, longest: int) -> range:
    """First frames of the chunks that the reference tests a scene on.

    One that would end exactly with the scene is left out, as there.
    """
    return range(0, frames - longest, longest)
