"""Measures of a body in conversation: tremble, gaze, blinks, nods, and hands inside each other.

Letters: T frames (30/s), P = 104 pose parameters, U = 52 face units, V vertices of a hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.signal import butter, sosfiltfilt
from scipy.spatial import cKDTree

from models.avatar.mesh.skinning import joint_matrices, skin
from training.data.audio import FRAME_RATE
from training.data.voice_activity import PAUSE
from training.demo.speech.motion_rules import POSE, POSE_NAMES, UNIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.avatar.blendshape.model import BlendshapeModel

    Array = NDArray[np.floating]
    Mask = NDArray[np.bool_]

_PREFIXES = {
    "root": ("root",),
    "spine": ("spine",),
    "head": ("head", "neck"),
    "shoulders": ("clavicle", "shoulder", "upperarm"),
    "elbows": ("elbow", "forearm"),
    "wrists": ("wrist", "palm"),
    "fingers": ("thumb", "index", "middle", "ring", "pinky"),
    "eyes": ("eye",),
    "breath": ("breath",),
}
GROUPS: Mapping[str, list[int]] = {
    group: [i for i, name in enumerate(POSE_NAMES) if name.startswith(prefixes)]
    for group, prefixes in _PREFIXES.items()
}
FAST = 5.0  # Hz; above it the truth has less than 1 % of its energy, eyes excepted
SACCADE = 0.6  # rad/s
BLINK = 0.5  # weight of the lids
USED = 0.05  # weight of a face unit
NOD_BAND = (1.0, 4.0)  # Hz
CUE = 0.6  # seconds on both sides of a cue
SHORTEST_CLAUSE = 0.8  # seconds
INSIDE = 0.01  # share of a hand's vertices
NEAREST = 3  # vertices whose normals decide whether a point is inside
DEEPEST = 0.4  # decimetres; points farther from every vertex are outside


def jerk(pose: Array) -> dict[str, float]:
    """Mean absolute third derivative of each joint group, in rad/s3."""
    third = np.abs(np.diff(pose, 3, axis=0)) * FRAME_RATE**3
    return {group: float(third[:, columns].mean()) for group, columns in GROUPS.items()}


def fast_energy(pose: Array) -> dict[str, float]:
    """Share of each joint group's energy above 5 Hz, 0 to 1, without its mean."""
    window = np.hanning(len(pose))[:, None]
    power = np.abs(np.fft.rfft((pose - pose.mean(0)) * window, axis=0)) ** 2
    fast = np.fft.rfftfreq(len(pose), 1 / FRAME_RATE) > FAST
    return {
        group: float(power[fast][:, columns].sum() / max(1e-12, power[:, columns].sum()))
        for group, columns in GROUPS.items()
    }


def gaze_spread(pose: Array) -> float:
    """Standard deviation of the eyes' angles, in rad."""
    return float(np.sqrt(pose[:, GROUPS["eyes"]].var(0).mean()))


def saccades(pose: Array) -> int:
    """Count fast movements of the left eye."""
    eye = pose[:, [POSE["eye_L_rx"], POSE["eye_L_ry"]]]
    speed = np.linalg.norm(np.diff(eye, axis=0), axis=1) * FRAME_RATE
    return _rises(speed > SACCADE)


def units_used(units: Array) -> int:
    """Count the face units that reach USED in more than one of 200 frames."""
    return int((np.quantile(units, 0.995, axis=0) > USED).sum())


def blinks(units: Array) -> int:
    """Count the blinks of both eyes."""
    lids = units[:, [UNIT["eyeBlinkLeft"], UNIT["eyeBlinkRight"]]].mean(1)
    return _rises(lids > BLINK)


def _rises(mask: Mask) -> int:
    return int((np.diff(mask.astype(np.int8)) == 1).sum())


def cue_frames(own: Mask, other: Mask) -> tuple[Mask, Mask]:
    """Frames in which she is silent: around the ends of the partner's clauses, and elsewhere.

    own, other: [T] speech of the person and of the partner.
    """
    edges = np.diff(np.pad(other, 1).astype(np.int8))
    near = np.zeros(len(own), bool)
    for start, stop in zip(*((edges == sign).nonzero()[0] for sign in (1, -1)), strict=True):
        end = stop - PAUSE // 2  # the mask includes some silence after speech
        if end - start > SHORTEST_CLAUSE * FRAME_RATE and stop < len(own):
            near[max(0, end - int(CUE * FRAME_RATE)) : end + int(CUE * FRAME_RATE)] = True
    silent = ~own
    return near & silent, ~near & silent


def nod_energy(pose: Array) -> Array:
    """Square of the head's pitch between 1 and 4 Hz, [T], rad2."""
    pitch = pose[:, POSE["head_rx"]] + pose[:, POSE["neck_rx"]]
    band = butter(2, NOD_BAND, "bandpass", fs=FRAME_RATE, output="sos")
    return np.asarray(sosfiltfilt(band, pitch)) ** 2


@dataclass(frozen=True)
class Hands:
    """Vertices of both hands of an avatar."""

    model: BlendshapeModel
    vertices: tuple[torch.Tensor, torch.Tensor]  # [V] each
    faces: tuple[NDArray[np.int64], NDArray[np.int64]]  # [F, 3] into the vertices of the hand

    @classmethod
    def of(cls, model: BlendshapeModel) -> Hands:
        """Find the hands: vertices that mostly follow a wrist and the joints below it."""
        vertices, faces = zip(*(_hand(model, side) for side in "LR"), strict=True)
        return cls(model, vertices, faces)

    def positions(self, pose: Array) -> tuple[Array, Array]:
        """World-space vertices of both hands: pose [T, P] -> two of [T, V, 3], in decimetres."""
        model = self.model
        matrices = joint_matrices(model.skeleton, torch.from_numpy(np.asarray(pose)).float())
        left, right = (
            skin(
                model.template[v].expand(len(pose), -1, -1),
                model.skin_weights[v], model.skin_joints[v], matrices,
            ).numpy()
            for v in self.vertices
        )  # fmt: skip
        return left, right

    def inside(self, pose: Array, *, every: int = 5) -> Array:
        """Share of a hand's vertices inside the other hand, the larger of both, [T / every]."""
        left, right = self.positions(pose[::every])
        return np.array([self._share(a, b) for a, b in zip(left, right, strict=True)])

    def _share(self, left: Array, right: Array) -> float:
        low = np.maximum(left.min(0), right.min(0)) - DEEPEST
        high = np.minimum(left.max(0), right.max(0)) + DEEPEST
        if (low > high).any():
            return 0.0
        hands = (left, right)
        return max(
            float(_inside(hands[1 - i], hands[i], self.faces[i]).mean()) for i in range(len(hands))
        )


def _inside(points: Array, surface: Array, faces: NDArray[np.int64]) -> Mask:
    """Points that lie behind the nearest vertices of a surface, [N]."""
    near = ((points > surface.min(0)) & (points < surface.max(0))).all(1)
    inside = np.zeros(len(points), bool)
    if not near.any():
        return inside
    corners = surface[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(surface)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], across)
    distance, index = cKDTree(surface).query(points[near], NEAREST, distance_upper_bound=DEEPEST)
    found: Mask = np.asarray(np.isfinite(distance).all(axis=1))
    index = np.where(found[:, None], index, 0)
    towards = points[near][:, None] - surface[index]
    behind = (np.einsum("nki,nki->nk", towards, normals[index]) < 0).all(1)
    inside[near] = behind & found
    return inside


def _hand(model: BlendshapeModel, side: str) -> tuple[torch.Tensor, NDArray[np.int64]]:
    names = model.config.joint_names
    joints = [names.index(f"wrist.{side}")]
    for joint, parent in enumerate(model.config.parents):
        if parent in joints:
            joints.append(joint)
    of_hand = torch.isin(model.skin_joints.long(), torch.tensor(joints))
    share = (model.skin_weights * of_hand).sum(1)
    hand = share > 0.5
    vertices = hand.nonzero()[:, 0]
    place = torch.full((len(hand),), -1)
    place[vertices] = torch.arange(len(vertices))
    faces = place[model.faces.long()]
    return vertices, faces[(faces >= 0).all(1)].numpy()


def measure_body(
    poses: Sequence[Array],
    units: Sequence[Array],
    speech: Sequence[tuple[Mask, Mask]],
    hands: Hands | None,
) -> dict[str, float]:
    """Measures of clips; those of one take of each.

    poses: [T, P] each. units: [T, U] each. speech: frames in which person and partner speak.
    hands: None leaves out the measure of hands inside each other.
    """
    minutes = sum(map(len, poses)) / FRAME_RATE / 60
    result: dict[str, float] = {}
    for name, measure in (("jerk", jerk), ("fast", fast_energy)):
        each = [measure(pose) for pose in poses]
        result |= {
            f"{name}_{group}": float(np.mean([clip[group] for clip in each])) for group in GROUPS
        }
    result["gaze_spread"] = float(np.mean([gaze_spread(pose) for pose in poses]))
    result["saccades_a_minute"] = sum(saccades(pose) for pose in poses) / minutes
    result["blinks_a_minute"] = sum(blinks(clip) for clip in units) / minutes
    result["face_units_used"] = float(units_used(np.concatenate(units)))
    result["nods_at_cues_ratio"] = nods_at_cues(poses, speech)
    breath = np.concatenate([pose[:, GROUPS["breath"]] for pose in poses])
    result["breath_spread"] = float(breath.std())
    if hands is not None:
        inside = np.concatenate([hands.inside(pose) for pose in poses])
        result["hands_inside"] = float((inside > INSIDE).mean())
    return result


def nods_at_cues(poses: Sequence[Array], speech: Sequence[tuple[Mask, Mask]]) -> float:
    """Amplitude of nods at the ends of the partner's clauses, relative to that elsewhere.

    Over frames in which the person is silent; 0 without a cue.
    """
    at, elsewhere = [], []
    for pose, (own, other) in zip(poses, speech, strict=True):
        energy = nod_energy(pose)
        near, far = cue_frames(own, other)
        at.append(energy[near])
        elsewhere.append(energy[far])
    sums = [np.concatenate(part) for part in (at, elsewhere)]
    if not all(map(len, sums)):
        return 0.0
    return float(np.sqrt(sums[0].mean() / max(1e-12, sums[1].mean())))
