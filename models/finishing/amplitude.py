"""The request fields `expressiveness` and `gestures`: how much face, head and arms move.

Not a scale of all outputs: each value moves along the line from its neutral value, lips keep the
shapes of speech, and values above one approach the limits of a joint without reaching them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from models.avatar.mesh.skinning import joint_states
from models.finishing.hands import hand_joints
from models.finishing.stages import RATE, Step, gaussian, kernel_radius, low_pass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from models.avatar.mesh.skinning import Skeleton
    from models.finishing.stages import Frames

    Limits = Mapping[str, tuple[float, float]]  # pose parameter -> lowest and highest, in rad

TRIED = 6  # factors between that of the request and one
TOUCH = 0.05  # decimetres
HOLD_SECONDS, EASE_SECONDS = 0.35, 0.12  # around frames with a lower factor
LIP_SECONDS = 0.2  # faster changes of units that lips share with the face belong to speech


def scaled(values: Tensor, centre: Tensor, factor: float, limits: Tensor) -> Tensor:
    """Move values [T, C] away from or towards a centre [C], within limits [2, C].

    A value outside the limits stays where it is. Monotone in the factor.
    """
    wanted = centre + factor * (values - centre)
    if factor <= 1:
        return wanted
    low, high = limits
    step = wanted - values
    room = torch.where(step > 0, high - values, values - low).clamp(min=1e-6)
    return values + step.sign() * room * (1 - torch.exp(-step.abs() / room))


class Expressiveness(Step):
    """Amplitude of expressions and of the head."""

    def __init__(
        self,
        parameters: Sequence[str],
        units: Sequence[str],
        factor: float,
        *,
        face: Mapping[str, float],  # start of the names of units -> neutral weight
        shared: Mapping[str, float],  # the same of units that lips use, too
        head: Mapping[str, float],  # pose parameter -> neutral angle
        limits: Limits,
    ) -> None:
        self._factor = factor
        self._face = _Columns.starting(face, units)
        self._shared = _Columns.starting(shared, units)
        self._head = _Columns([parameters.index(name) for name in head], list(head.values()))
        self._limits = torch.tensor([limits[name] for name in head]).T
        self._low = gaussian(LIP_SECONDS)
        self.radius = kernel_radius(LIP_SECONDS)

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Scale the face and the head."""
        units, pose = frames.units.clone(), frames.pose.clone()
        whole = units[:, self._face.columns]
        units[:, self._face.columns] = self._moved(whole, self._face.centre)
        both = units[:, self._shared.columns]
        slow = low_pass(both, self._low)
        units[:, self._shared.columns] = self._moved(slow, self._shared.centre) + both - slow
        head = pose[:, self._head.columns]
        pose[:, self._head.columns] = scaled(
            head, self._head.centre, self._factor, self._limits
        )  # fmt: skip
        return replace(frames, units=units.clamp(0, 1), pose=pose)

    def _moved(self, values: Tensor, centre: Tensor) -> Tensor:
        return centre + self._factor * (values - centre)


class Gestures(Step):
    """Amplitude of arms and hands around their rest.

    Above one, less where a hand would come closer to the trunk than sampled.
    """

    def __init__(
        self,
        parameters: Sequence[str],
        skeleton: Skeleton,
        joint_names: Sequence[str],
        factor: float,
        *,
        rest: Mapping[str, float],  # pose parameter -> angle
        limits: Limits,
        trunk: tuple[float, float],  # half width and front, in decimetres
    ) -> None:
        self._factor, self._skeleton = factor, skeleton
        self._hands = [joint for side in "LR" for joint in hand_joints(joint_names, side)]
        self._arms = _Columns([parameters.index(name) for name in rest], list(rest.values()))
        self._limits = torch.tensor([limits[name] for name in rest]).T
        self._half_width, self._front = trunk
        self._ease = gaussian(EASE_SECONDS)
        self._hold = round(HOLD_SECONDS * RATE)
        self.radius = self._hold + kernel_radius(EASE_SECONDS) if factor > 1 else 0

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Scale the arms."""
        pose = self._scaled(frames.pose, self._factor)
        if self._factor > 1:
            factors = self._allowed(frames.pose)
            arms, wanted = frames.pose[:, self._arms.columns], pose[:, self._arms.columns]
            share = (factors - 1) / (self._factor - 1)
            pose[:, self._arms.columns] = arms + share * (wanted - arms)
        return replace(frames, pose=pose)

    def _scaled(self, pose: Tensor, factor: float) -> Tensor:
        result = pose.clone()
        arms = pose[:, self._arms.columns]
        result[:, self._arms.columns] = scaled(arms, self._arms.centre, factor, self._limits)
        return result

    def _allowed(self, pose: Tensor) -> Tensor:
        """Highest factor of each frame, [T, 1], held around its minima and eased."""
        depth = self._at(pose)[..., 2]
        allowed = torch.full((len(pose),), self._factor)
        for factor in torch.linspace(self._factor, 1, TRIED)[:-1].tolist():
            at = self._at(self._scaled(pose, factor))
            before_trunk = at[..., 0].abs() < self._half_width
            closer = at[..., 2] < torch.minimum(depth - TOUCH, torch.tensor(self._front))
            meets = (before_trunk & closer).any(1)
            allowed = torch.where(meets & (allowed >= factor), factor - self._step, allowed)
        window = 2 * self._hold + 1
        held = -functional.max_pool1d(-allowed[None, None], window, 1, self._hold)[0, 0]
        return low_pass(held[:, None], self._ease).clamp(1, self._factor)

    @property
    def _step(self) -> float:
        return (self._factor - 1) / (TRIED - 1)

    def _at(self, pose: Tensor) -> Tensor:
        """Positions of the hands' joints, [T, J, 3]."""
        return joint_states(self._skeleton, pose)[:, self._hands, :3]


class _Columns:
    """Columns of a motion with their neutral values."""

    def __init__(self, columns: list[int], centre: Sequence[float]) -> None:
        self.columns, self.centre = columns, torch.tensor(centre)

    @classmethod
    def starting(cls, neutral: Mapping[str, float], names: Sequence[str]) -> _Columns:
        """Columns whose names start with those given."""
        found = {
            index: value
            for start, value in neutral.items()
            for index, name in enumerate(names)
            if name.startswith(start)
        }
        return cls(list(found), list(found.values()))
