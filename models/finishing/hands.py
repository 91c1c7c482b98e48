"""Hands that do not pass through each other: another rest, and arms moved apart as far as needed.

Letters: T frames, J joints, S spheres of a hand. Lengths in decimetres, x to the left of the
person.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from models.avatar.mesh.skinning import joint_states
from models.finishing.stages import Step, gaussian, kernel_radius, low_pass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from models.avatar.mesh.skinning import Skeleton
    from models.finishing.stages import Frames

STEP = 1e-3  # rad, of the numeric derivative
SHIFTS = torch.linspace(0, 1.2, 25)  # of each hand
HOLD_SECONDS = 0.35  # around a meeting, in which hands are apart as far as in it
EASE_SECONDS = 0.12
DAMPING = 0.02  # of the least squares of arm angles
TURNS = ("shoulder_{}_ry", "shoulder_{}_rz", "shoulder_{}_rx", "elbow_{}_flex")
APART = torch.tensor([0.6, 0.0, 0.0])  # added to the way from hand to hand, so that it exists


class Rest(Step):
    """Another rest of the hands: poses near the sampled one move to it, others keep theirs."""

    def __init__(
        self,
        parameters: Sequence[str],
        *,
        sampled: Mapping[str, float],  # pose parameter -> angle
        rest: Mapping[str, float],
        width: float,  # rad; distance from the sampled rest at which 60 % of the change are left
    ) -> None:
        self._sides = []
        for side in ("_L_", "_R_"):
            names = [name for name in rest if side in name]
            columns = [parameters.index(name) for name in names]
            old = torch.tensor([sampled[name] for name in names])
            self._sides.append((columns, old, torch.tensor([rest[name] for name in names]) - old))
        self._width = width

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Move the rest."""
        pose = frames.pose.clone()
        for columns, old, change in self._sides:
            arm = pose[:, columns]
            distance = (arm - old).norm(dim=1, keepdim=True) / self._width
            pose[:, columns] = arm + torch.exp(-0.5 * distance**2) * change
        return replace(frames, pose=pose)


class HandsApart(Step):
    """Turn shoulders and elbows so that the spheres of both hands do not meet."""

    def __init__(
        self,
        parameters: Sequence[str],
        skeleton: Skeleton,
        joint_names: Sequence[str],
        *,
        radius: float,  # of a hand's spheres, in decimetres
        palm: float,  # radius of those at the palm
        limits: Mapping[str, tuple[float, float]],
    ) -> None:
        self._skeleton = skeleton
        self._hands = [hand_joints(joint_names, side) for side in "LR"]
        self._radii = torch.tensor(
            [palm if _is_palm(joint_names[joint]) else radius for joint in self._hands[0]]
        )
        self._wrists = [joint_names.index(f"wrist.{side}") for side in "LR"]
        names = [[turn.format(side) for turn in TURNS] for side in "LR"]
        self._columns = [[parameters.index(name) for name in side] for side in names]
        self._limits = [torch.tensor([limits[name] for name in side]).T for side in names]
        self._hold = round(HOLD_SECONDS * 30)
        self._ease = gaussian(EASE_SECONDS)
        self.radius = self._hold + kernel_radius(EASE_SECONDS)

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Move the arms apart where the hands meet."""
        pose = frames.pose
        for _ in range(2):
            hands, way = self._spheres(pose)
            shift = self._shift(hands, way)
            if not shift.any():
                break
            pose = self._moved(pose, way, shift)
        return replace(frames, pose=pose)

    def _spheres(self, pose: Tensor) -> tuple[list[Tensor], Tensor]:
        """Centres of both hands' spheres, two of [T, S, 3], and the direction from right to left,
        [T, 3].
        """
        states = joint_states(self._skeleton, pose)[..., :3]
        hands = [states[:, joints] for joints in self._hands]
        way = hands[0].mean(1) - hands[1].mean(1) + APART
        return hands, way / way.norm(dim=1, keepdim=True)

    def _shift(self, hands: list[Tensor], way: Tensor) -> Tensor:
        """Distance that each hand moves, [T]: held around meetings, and eased in and out."""
        reach = self._radii[:, None] + self._radii
        between = hands[0][:, :, None] - hands[1][:, None]  # [T, S, S, 3]
        near = (between.norm(dim=-1) < reach).flatten(1).any(1)
        needed = torch.zeros(len(way))
        if near.any():
            part, direction = between[near], way[near][:, None, None]
            clear = torch.stack(
                [
                    ((part + 2 * s * direction).norm(dim=-1) >= reach).flatten(1).all(1)
                    for s in SHIFTS
                ]
            )  # [N, T]
            found = clear.int().argmax(0)
            found = torch.where(clear.any(0), found, len(SHIFTS) - 1)
            needed[near] = SHIFTS[found]
        window = 2 * self._hold + 1
        held = functional.max_pool1d(needed[None, None], window, 1, self._hold)[0, 0]
        return low_pass(held[:, None], self._ease)[:, 0]

    def _moved(self, pose: Tensor, way: Tensor, shift: Tensor) -> Tensor:
        result = pose.clone()
        for sign, wrist, columns, limits in zip(
            (1, -1), self._wrists, self._columns, self._limits, strict=True
        ):
            jacobian = self._jacobian(pose, wrist, columns)  # [T, 3, 4]
            target = (sign * shift[:, None] * way)[..., None]
            square = jacobian @ jacobian.mT + DAMPING * torch.eye(3)
            turn = (jacobian.mT @ torch.linalg.solve(square, target))[..., 0]
            arm, (low, high) = pose[:, columns], limits
            moved = torch.maximum(arm + turn, torch.minimum(arm, low))
            result[:, columns] = torch.minimum(moved, torch.maximum(arm, high))
        return result

    def _jacobian(self, pose: Tensor, wrist: int, columns: list[int]) -> Tensor:
        """Movement of a wrist for a turn of each joint, [T, 3, C]."""
        here = joint_states(self._skeleton, pose)[:, wrist, :3]
        parts = []
        for column in columns:
            turned = pose.clone()
            turned[:, column] += STEP
            there = joint_states(self._skeleton, turned)[:, wrist, :3]
            parts.append((there - here) / STEP)
        return torch.stack(parts, dim=-1)


def hand_joints(names: Sequence[str], side: str) -> list[int]:
    """Joints of the hand of a side, L or R, from the wrist on."""
    return [
        index
        for index, name in enumerate(names)
        if name.endswith(f".{side}") and name.startswith(("wrist", "metacarpal", "finger"))
    ]


def _is_palm(name: str) -> bool:
    return name.startswith(("wrist", "metacarpal"))
