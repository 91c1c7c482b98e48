"""Key poses of arms and hands by inverse kinematics: `python -m training.demo.pose_keys`.

A key pose is a wrist position and the directions of palm and fingers; least squares finds the
joint angles. The result is `poses.json`: {"rest_L": {"elbow_L_flex": 0.65, ...}, ...}.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import least_squares

from models.avatar.mesh.skinning import joint_states, quaternion_matrix
from training.demo.mesh import assets
from training.demo.mesh.body_shape import shape_body
from training.demo.mesh.looks import DEMO
from training.demo.mesh.skeleton import FINGERS, SIDES, Rig, build_rig, unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Residuals = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # [B, 7] -> [B, residuals]

POSES = Path(__file__).with_name("poses.json")
ELBOW = (2.2, 2.3, -0.1)  # decimetres, preferred elbow position
LOWER = (-2.2, -2.2, -1.6, -0.1, -1.5, -0.5, -0.9)  # radians, in the order of _arm_angles
UPPER = (2.2, 2.2, 1.6, 2.5, 1.5, 0.5, 0.9)
STARTS = 5
STEP = 1e-4  # radians, for the numeric derivative


@dataclass(frozen=True)
class Key:
    """Target of the left hand, in decimetres; the right hand uses the mirror image."""

    wrist: tuple[float, float, float]
    palm: tuple[float, float, float]  # direction of the back of the hand
    fingers: tuple[float, float, float]  # direction of the fingers
    curl: float
    spread: float
    thumb: float
    index: float | None = None  # curl of the index finger, if different


KEYS = {
    "rest": Key((1.35, 1.75, 2.55), (-0.55, -0.55, -0.6), (-0.75, -0.35, 0.55), 0.55, 0.02, 0.25),
    "low": Key((1.55, 2.2, 2.9), (-0.85, -0.1, -0.35), (-0.25, 0.05, 0.95), 0.5, 0.04, 0.15),
    "mid": Key((1.75, 2.9, 3.15), (-0.8, 0.25, -0.3), (-0.15, 0.35, 0.9), 0.35, 0.07, 0.05),
    "high": Key((1.9, 3.7, 2.9), (-0.65, 0.1, 0.55), (-0.05, 0.85, 0.45), 0.25, 0.08, 0.0),
    "open": Key((2.5, 2.75, 2.75), (-0.25, 0.92, 0.1), (0.45, 0.05, 0.85), 0.22, 0.08, -0.1),
    "me": Key((0.75, 3.25, 1.95), (-0.1, 0.1, -1.0), (-0.9, 0.3, 0.1), 0.3, 0.05, 0.1),
    "point": Key((1.5, 3.2, 3.3), (-0.35, -0.85, 0.1), (-0.1, 0.15, 0.95), 1.5, 0.0, 0.6, 0.08),
    "pinch": Key((1.45, 3.3, 2.9), (-0.6, -0.2, -0.1), (-0.35, 0.5, 0.75), 0.75, 0.05, 0.45, 0.75),
}
# Moves the right hand in these poses. Hands at rest lie beside each other, so that no way from
# there to another pose leads through the other hand; only one hand takes the pose "me" at a time.
RIGHT_OFFSET = {"rest": (0.0, 0.05, 0.15)}
NO_OFFSET = (0.0, 0.0, 0.0)


def _arm_angles(side: str) -> list[str]:
    shoulder = [f"shoulder_{side}_{turn}" for turn in ("ry", "rz", "rx")]
    wrist = [f"wrist_{side}_{turn}" for turn in ("ry", "rz")]
    return [*shoulder, f"elbow_{side}_flex", f"forearm_{side}_twist", *wrist]


def solve_arm(
    rig: Rig, side: str, key: Key, right_offset: tuple[float, float, float] = NO_OFFSET
) -> dict[str, float]:
    """Angles of an arm, in radians, that best match a key pose."""
    mirror = np.array([1.0 if side == "L" else -1.0, 1.0, 1.0])
    wrist = np.array(key.wrist) + np.array(right_offset) * (side == "R")
    targets = [wrist, np.array(ELBOW), unit(np.array(key.palm)), np.array(key.fingers)]
    wrist, elbow, palm, fingers = (mirror * target for target in targets)
    angles = _arm_angles(side)
    columns = [rig.parameter_names.index(angle) for angle in angles]
    hand, forearm = rig.joint(f"wrist.{side}"), rig.joint(f"lowerarm01.{side}")

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:  # [B, 7] -> [B, 19]
        pose = torch.zeros(len(x), len(rig.parameter_names), dtype=torch.float64)
        pose[:, columns] = torch.from_numpy(np.ascontiguousarray(x))
        states = joint_states(rig.skeleton, pose)
        rotation = quaternion_matrix(states[:, hand, 3:7]).numpy()
        at = states[..., :3].numpy()
        errors = [3 * (at[:, hand] - wrist), 0.55 * (at[:, forearm] - elbow)]
        errors += [rotation[..., 1] - palm, rotation[..., 0] - fingers, 0.1 * x]
        return np.concatenate(errors, axis=1)

    return dict(zip(angles, _least_squares(residuals, len(angles)), strict=True))


def _least_squares(residuals: Residuals, count: int) -> list[float]:
    """Best solution over several runs, each from a seeded random start."""

    def one(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(residuals(x[None])[0])

    def derivative(x: NDArray[np.float64]) -> NDArray[np.float64]:
        around = np.concatenate([x + STEP * np.eye(count), x - STEP * np.eye(count)])
        plus, minus = np.split(residuals(around), 2)
        return np.asarray((plus - minus).T / (2 * STEP))

    results = []
    for seed in range(STARTS):
        start = np.random.default_rng(seed).uniform(-0.6, 0.6, count)
        start[3] = 1.2  # a slightly bent elbow
        start = np.clip(start, np.array(LOWER) + 0.01, np.array(UPPER) - 0.01)
        results.append(least_squares(one, start, derivative, bounds=(LOWER, UPPER), xtol=1e-6))
    best = min(results, key=lambda result: float(result.cost))
    return [round(float(angle), 5) for angle in best.x]


def curl_fingers(side: str, key: Key) -> dict[str, float]:
    """Finger angles of one hand, in radians."""
    angles: dict[str, float] = {}
    for i, finger in enumerate(FINGERS[1:]):
        curl = key.curl * (1 + 0.12 * i)
        if finger == "index" and key.index is not None:
            curl = key.index
        for joint, share in (("mcp_flex", 0.55), ("pip", 0.8), ("dip", 0.45)):
            angles[f"{finger}_{side}_{joint}"] = round(share * curl, 5)
        angles[f"{finger}_{side}_mcp_spread"] = round(key.spread * (1.5 - i), 5)
    for joint, share in (("mcp_flex", 0.6), ("pip", 1.0), ("dip", 0.8)):
        angles[f"thumb_{side}_{joint}"] = round(share * key.thumb, 5)
    return angles


def solve_hand(
    rig: Rig, side: str, key: Key, right_offset: tuple[float, float, float] = NO_OFFSET
) -> dict[str, float]:
    """Angles of an arm and its fingers in a key pose: pose parameter -> radians."""
    return solve_arm(rig, side, key, right_offset) | curl_fingers(side, key)


def solve_keys(rig: Rig) -> dict[str, dict[str, float]]:
    """All key poses of both hands, by name and side: pose parameter -> radians."""
    return {
        f"{name}_{side}": solve_hand(rig, side, key, RIGHT_OFFSET.get(name, NO_OFFSET))
        for name, key in KEYS.items()
        for side in SIDES
    }


def main() -> None:
    """Write poses.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=POSES)
    out: Path = parser.parse_args().out
    keys = solve_keys(build_rig(shape_body(assets.read_base_mesh(), DEMO.figure)))
    out.write_text(json.dumps(keys, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
