"""Removal of tremble: a Gaussian low-pass for each joint group, without delay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.finishing.stages import Step, gaussian, kernel_radius, low_pass, with_pose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.finishing.stages import Frames

HALF_POWER = 0.1325  # of a Gaussian: standard deviation in seconds times the cut-off in Hz


class Smoothing(Step):
    """Low-pass of pose parameters; the cut-off is where half of the power passes."""

    def __init__(self, cutoffs: Mapping[str, float], parameters: Sequence[str]) -> None:
        """cutoffs: Hz, by the start of the names of parameters; the longest start counts."""
        groups: dict[float, list[int]] = {}
        for index, name in enumerate(parameters):
            start = max((s for s in cutoffs if name.startswith(s)), key=len, default=None)
            if start is not None:
                groups.setdefault(HALF_POWER / cutoffs[start], []).append(index)
        self._kernels = [(columns, gaussian(seconds)) for seconds, columns in groups.items()]
        self.radius = max((kernel_radius(seconds) for seconds in groups), default=0)

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Smooth the pose."""
        pose = frames.pose.clone()
        for columns, kernel in self._kernels:
            pose[:, columns] = low_pass(frames.pose[:, columns], kernel)
        return with_pose(frames, pose)
