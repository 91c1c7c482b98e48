"""Motion at the borders of windows and elsewhere: jerk, and features that show a seam.

Letters: T frames, C channels, G groups of channels, B borders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from models.motion.denoiser import KEY_FRAMES
from models.motion.windows import WINDOWS, borders
from training.evaluation.joints import joint_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.finishing.rig import Rig
    from models.motion.pipeline import Motion
    from models.motion.windows import WindowConfig

AREA = 30  # frames, half of them on each side of a border
SPAN = 60  # frames that the classifier sees, half of them on each side of a border
LIPS = ("jaw", "mouth")
HEAD = ("neck", "head")
ORDERS = (1, 2, 3)  # of differences: speed, acceleration, jerk
LEAST = 1e-9  # mean difference of a channel that moves
FLOOR = 1e-2  # of a difference over its mean, below which it counts as none


@dataclass(frozen=True)
class Groups:
    """Columns of [units, pose] by group."""

    columns: Mapping[str, list[int]]
    basis: Tensor  # [256, U] of face codes to units

    @classmethod
    def of(cls, rig: Rig) -> Groups:
        """Body, head and lips of a blendshape avatar, and the rest of the face."""
        units, names = rig.units, rig.parameters
        head = [column for column, name in enumerate(names) if name.startswith(HEAD)]
        body = [
            column
            for column in joint_columns(names, len(names))
            if column not in head and not names[column].startswith("eye")
        ]
        lips = [column for column, name in enumerate(units) if name.startswith(LIPS)]
        face = [column for column in range(len(units)) if column not in lips]
        first = len(units)
        columns = {
            "body": [first + column for column in body],
            "head": [first + column for column in head],
            "lips": lips,
            "face": face,
        }
        return cls(columns, rig.face_basis)

    def values(self, motion: Motion) -> Tensor:
        """Return units and pose, [T, U + P]."""
        return torch.cat([motion.face @ self.basis, motion.pose], dim=1)


def jerk(values: Tensor) -> Tensor:
    """Return the absolute third difference of each frame [T, C], 0 at the ends of the clip."""
    return functional.pad(values.diff(n=3, dim=0).abs(), (0, 0, 2, 1))


def areas(values: Tensor) -> Tensor:
    """Return the area under jerk over AREA frames around each frame, [T], mean over channels."""
    curve = jerk(values).mean(1)
    total = functional.pad(curve.cumsum(0), (1, 0))
    frame = torch.arange(len(curve))
    start, stop = (frame - AREA // 2).clamp(min=0), (frame + AREA // 2).clamp(max=len(curve))
    return total[stop] - total[start]


@dataclass(frozen=True)
class Places:
    """Frames of a clip that is sampled in windows."""

    borders: list[int]
    between: list[int]  # the borders of windows that begin half a window later
    far: list[int]  # all that are far from borders


def shifted(windows: WindowConfig) -> WindowConfig:
    """Return windows whose borders lie half a window from those of others."""
    half = windows.hop // 2 // KEY_FRAMES * KEY_FRAMES
    late = windows.start + half > windows.hop
    return replace(windows, start=windows.start + (-half if late else half))


def places(frames: int, calls: int, windows: WindowConfig = WINDOWS) -> Places:
    """Return the borders of a clip, the places between them, and all frames far from them."""
    half = max(AREA, SPAN) // 2
    found, between = (
        [border for border in borders(frames, calls, each) if half <= border <= frames - half]
        for each in (windows, shifted(windows))
    )
    far = [
        frame
        for frame in range(2 * half, frames - 2 * half)
        if all(abs(frame - border) >= 2 * half for border in found)
    ]
    return Places(found, between, far)


def mean_differences(clips: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean absolute difference of each channel over clips [T, C], by order: [C]."""
    return [
        torch.stack([clip.diff(n=order, dim=0).abs().mean(0) for clip in clips]).mean(0)
        for order in ORDERS
    ]


def log_differences(clip: Tensor, means: Sequence[Tensor], groups: Groups) -> Tensor:
    """Return features of each frame of a clip [T, C], [T, F].

    means: of `mean_differences`. For each group and order of difference, the logarithm of the mean
    and of the largest over its channels, in units of the means.
    """
    rows = []
    for order, mean in zip(ORDERS, means, strict=True):
        share = clip.diff(n=order, dim=0).abs() / mean.clamp(min=LEAST)
        share = functional.pad(share, (0, 0, order // 2, order - order // 2))
        for columns in groups.columns.values():
            part = share[:, [column for column in columns if mean[column] > LEAST]]
            rows += [part.mean(1), part.amax(1)]
    return (torch.stack(rows, dim=1) + FLOOR).log()


def spans(features: Tensor, frames: Sequence[int]) -> Tensor:
    """Return the features around some frames, [B, F, SPAN]."""
    half = SPAN // 2
    return torch.stack([features[frame - half : frame + half].T for frame in frames])
