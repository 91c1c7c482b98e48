"""Skeleton of the demo person: 78 joints of the MakeHuman rig and 104 pose parameters.

Trunk, head and legs rotate about the world axes (rx nods, ry turns, rz tilts). Arms and fingers
have local axes: x along the bone, z the axis of flexion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from models.avatar.mesh.skinning import CHANNELS, Skeleton
from training.demo.mesh import assets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Points = NDArray[np.float64]

SIDES = ("L", "R")
TURNS = ("rx", "ry", "rz")
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
RIG = "mpfb2/rigs/standard/rig.default.json"
WEIGHTS = "mpfb2/rigs/standard/weights.default.json"
VERTEX_GROUPS = "mpfb2/mesh_metadata/basemesh_vertex_groups.json"


@dataclass(frozen=True)
class Rig:
    """Skeleton with names and skin weights of the base mesh."""

    skeleton: Skeleton
    bones: tuple[str, ...]
    parameter_names: tuple[str, ...]
    heads: Mapping[str, Points]  # [3] start of each bone of the source rig
    weights: Points  # [N, J] skin weights of the base mesh

    def joint(self, bone: str) -> int:
        return self.bones.index(bone)

    def weight_of(self, *prefixes: str) -> Points:
        """Skin weight of each base vertex on the bones with these name prefixes, [N]."""
        columns = [j for j, bone in enumerate(self.bones) if bone.startswith(prefixes)]
        return np.asarray(self.weights[:, columns].sum(1))


def build_rig(vertices: Points) -> Rig:
    """Build the rig of a shaped base mesh, vertices [N, 3]."""
    source = assets.read_json(RIG)
    source = source.get("bones", source)
    groups = assets.read_json(VERTEX_GROUPS)
    heads = {bone: _locate(entry["head"], vertices, groups) for bone, entry in source.items()}
    tails = {bone: _locate(entry["tail"], vertices, groups) for bone, entry in source.items()}
    selected = _selected_bones()
    parents = {bone: _selected_parent(bone, source, selected) for bone in selected}
    bones = _parents_first(selected, parents)
    frames = {bone: np.eye(3) for bone in bones}
    for side in SIDES:
        frames |= _arm_frames(side, heads) | _hand_frames(side, heads, tails)
    names, transform = pose_parameters(bones)
    skeleton = _skeleton(bones, parents, heads, frames, transform)
    weights = _base_weights(len(vertices), bones, source, selected)
    return Rig(skeleton, bones, names, heads, weights)


def pose_parameters(bones: tuple[str, ...]) -> tuple[tuple[str, ...], Points]:
    """Names [104] of the pose parameters and the transform [J * 7, 104] to joint channels.

    Twists and shoulders are distributed over several joints, so that the skin bends softly.
    """
    terms: dict[str, list[tuple[str, str, float]]] = {}
    for channel in CHANNELS[:6]:
        terms[f"root_{channel}"] = [("root", channel, 1.0)]
    terms |= _trunk_parameters()
    for side in SIDES:
        terms |= _arm_parameters(side) | _finger_parameters(side) | _leg_parameters(side)
        for turn in ("rx", "ry"):
            terms[f"eye_{side}_{turn}"] = [(f"eye.{side}", turn, 1.0)]
    terms["breath"] = [("spine02", "sc", 0.02), ("spine01", "sc", -0.02)]
    transform = np.zeros((len(bones) * len(CHANNELS), len(terms)))
    for column, parts in enumerate(terms.values()):
        for bone, channel, weight in parts:
            transform[bones.index(bone) * len(CHANNELS) + CHANNELS.index(channel), column] += weight
    return tuple(terms), transform


def _trunk_parameters() -> dict[str, list[tuple[str, str, float]]]:
    shares = {
        "spine_lower": {"spine05": 0.5, "spine04": 0.5},
        "spine_mid": {"spine03": 1.0},
        "spine_upper": {"spine02": 0.5, "spine01": 0.5},
        "neck": {"neck01": 0.5, "neck02": 0.5},
        "head": {"neck03": 0.35, "head": 0.65},
    }
    return {
        f"{name}_{turn}": [(bone, turn, weight) for bone, weight in share.items()]
        for name, share in shares.items()
        for turn in TURNS
    }


def _arm_parameters(side: str) -> dict[str, list[tuple[str, str, float]]]:
    upper, lower = f"upperarm01.{side}", f"lowerarm01.{side}"
    terms = {f"clavicle_{side}_{t}": [(f"clavicle.{side}", t, 1.0)] for t in ("ry", "rz")}
    for turn in ("ry", "rz"):
        terms[f"shoulder_{side}_{turn}"] = [(f"shoulder01.{side}", turn, 0.25), (upper, turn, 0.75)]
    terms[f"shoulder_{side}_rx"] = [
        (f"shoulder01.{side}", "rx", 0.15),
        (upper, "rx", 0.4),
        (f"upperarm02.{side}", "rx", 0.45),
    ]
    terms[f"upperarm_{side}_twist"] = [(f"upperarm02.{side}", "rx", 1.0)]
    terms[f"elbow_{side}_flex"] = [(lower, "rz", 1.0)]
    terms[f"forearm_{side}_twist"] = [
        (lower, "rx", 0.25),
        (f"lowerarm02.{side}", "rx", 0.45),
        (f"wrist.{side}", "rx", 0.3),
    ]
    for turn in TURNS:
        terms[f"wrist_{side}_{turn}"] = [(f"wrist.{side}", turn, 1.0)]
    return terms


def _finger_parameters(side: str) -> dict[str, list[tuple[str, str, float]]]:
    cup = [(f"metacarpal4.{side}", "rz", 1.0), (f"metacarpal3.{side}", "rz", 0.5)]
    terms = {f"palm_{side}_cup": cup}
    for number, name in enumerate(FINGERS, 1):
        terms[f"{name}_{side}_mcp_flex"] = [(f"finger{number}-1.{side}", "rz", 1.0)]
        terms[f"{name}_{side}_mcp_spread"] = [(f"finger{number}-1.{side}", "ry", 1.0)]
        terms[f"{name}_{side}_pip"] = [(f"finger{number}-2.{side}", "rz", 1.0)]
        terms[f"{name}_{side}_dip"] = [(f"finger{number}-3.{side}", "rz", 1.0)]
    return terms


def _leg_parameters(side: str) -> dict[str, list[tuple[str, str, float]]]:
    terms = {f"hip_{side}_{turn}": [(f"upperleg01.{side}", turn, 1.0)] for turn in TURNS}
    terms[f"knee_{side}_rx"] = [(f"lowerleg01.{side}", "rx", 1.0)]
    for turn in ("rx", "ry"):
        terms[f"ankle_{side}_{turn}"] = [(f"foot.{side}", turn, 1.0)]
    terms[f"toe_{side}_rx"] = [(f"toe1-1.{side}", "rx", 1.0)]
    return terms


def _locate(entry: dict[str, Any], vertices: Points, groups: dict[str, Any]) -> Points:
    """Position of a bone end: the mean of the base vertices that the rig lists.

    Raises: ValueError: when the rig uses an unknown strategy.
    """
    match entry["strategy"]:
        case "CUBE":
            spans = groups[entry["cube_name"]]
            indices = np.concatenate([np.arange(first, last + 1) for first, last in spans])
            return np.asarray(vertices[indices].mean(0))
        case "VERTEX":
            return np.asarray(vertices[entry["vertex_index"]])
        case "MEAN":
            return np.asarray(vertices[entry["vertex_indices"]].mean(0))
        case other:
            raise ValueError(f"unknown strategy {other!r} for the position of a bone in the rig")


def _selected_bones() -> list[str]:
    """Joints of the person; the skin of other bones of the source rig moves with a neighbour."""
    trunk = ["root", "spine05", "spine04", "spine03", "spine02", "spine01"]
    trunk += ["neck01", "neck02", "neck03", "head"]
    arm = ["eye", "clavicle", "shoulder01", "upperarm01", "upperarm02", "lowerarm01", "lowerarm02"]
    hand = ["wrist"] + [f"metacarpal{i}" for i in range(1, 5)]
    hand += [f"finger{i}-{j}" for i in range(1, 6) for j in range(1, 4)]
    leg = ["pelvis", "upperleg01", "upperleg02", "lowerleg01", "lowerleg02", "foot", "toe1-1"]
    return trunk + [f"{bone}.{side}" for side in SIDES for bone in arm + hand + leg]


def _nearest_selected(bone: str, source: Mapping[str, Any], selected: list[str]) -> str:
    while bone not in selected:
        if bone.startswith("toe"):
            return f"toe1-1.{bone[-1]}"
        bone = source[bone]["parent"] or "root"
    return bone


def _selected_parent(bone: str, source: Mapping[str, Any], selected: list[str]) -> str | None:
    if bone.startswith("eye."):
        return "head"
    parent = source[bone]["parent"]
    return _nearest_selected(parent, source, selected) if parent else None


def _parents_first(selected: list[str], parents: Mapping[str, str | None]) -> tuple[str, ...]:
    def subtree(bone: str) -> list[str]:
        children = [child for child in selected if parents[child] == bone]
        return [bone] + [descendant for child in children for descendant in subtree(child)]

    return tuple(subtree("root"))


def _base_weights(
    count: int, bones: tuple[str, ...], source: Mapping[str, Any], selected: list[str]
) -> Points:
    weights = np.zeros((count, len(bones)))
    for bone, entries in assets.read_json(WEIGHTS)["weights"].items():
        joint = bones.index(_nearest_selected(bone, source, selected))
        for vertex, weight in entries:
            weights[vertex, joint] += weight
    return np.asarray(weights / (weights.sum(1, keepdims=True) + 1e-9))


def unit(vector: Points) -> Points:
    """Normalise a vector, or each row of an array of vectors, to unit length."""
    return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True))


def _frame(along: Points, flexion: Points) -> Points:
    """Frame with columns x along the bone, y, and z as close to the flexion axis as possible."""
    x = unit(along)
    z = unit(flexion - x * (flexion @ x))
    return np.stack([x, np.cross(z, x), z], axis=1)


def _arm_frames(side: str, heads: Mapping[str, Points]) -> dict[str, Points]:
    elbow, wrist = heads[f"lowerarm01.{side}"], heads[f"wrist.{side}"]
    upper, fore = elbow - heads[f"upperarm01.{side}"], wrist - elbow
    shoulder = _frame(upper, np.array([0.0, 0.0, 1.0]))
    forearm = _frame(fore, unit(np.cross(upper, fore)))
    frames = {f"{b}.{side}": shoulder for b in ("shoulder01", "upperarm01", "upperarm02")}
    return frames | {f"{b}.{side}": forearm for b in ("lowerarm01", "lowerarm02")}


def _hand_frames(
    side: str, heads: Mapping[str, Points], tails: Mapping[str, Points]
) -> dict[str, Points]:
    wrist = heads[f"wrist.{side}"]
    middle = heads[f"finger3-1.{side}"] - wrist
    across = heads[f"finger2-1.{side}"] - heads[f"finger5-1.{side}"]  # little finger -> index
    palm = unit(np.cross(middle, across))
    curl = tails[f"finger3-3.{side}"] - heads[f"finger3-1.{side}"]
    if (curl - middle * (curl @ middle) / (middle @ middle)) @ palm < 0:
        palm = -palm  # the palm must be on the side to which the fingers curl at rest

    def flexion(along: Points) -> Points:
        return np.asarray(np.cross(unit(along), palm))

    frames = {f"wrist.{side}": _frame(middle, flexion(middle))}
    for i in range(1, 5):
        frames[f"metacarpal{i}.{side}"] = _frame(
            heads[f"finger{i + 1}-1.{side}"] - wrist, flexion(middle)
        )
    for i in range(1, 6):
        whole = tails[f"finger{i}-3.{side}"] - heads[f"finger{i}-1.{side}"]
        axis = flexion(whole)
        if i == 1:  # the thumb closes across the palm
            axis = np.cross(unit(whole), unit(palm - 0.9 * unit(across)))
        for j in range(1, 4):
            bone = f"finger{i}-{j}.{side}"
            frames[bone] = _frame(tails[bone] - heads[bone], axis)
    return frames


def _skeleton(
    bones: tuple[str, ...],
    parents: Mapping[str, str | None],
    heads: Mapping[str, Points],
    frames: Mapping[str, Points],
    transform: Points,
) -> Skeleton:
    offsets, rotations = [], []
    for bone in bones:
        parent = parents[bone]
        if parent is None:
            offsets.append(heads[bone])
            rotations.append(frames[bone])
        else:
            offsets.append(frames[parent].T @ (heads[bone] - heads[parent]))
            rotations.append(frames[parent].T @ frames[bone])
    indices = tuple(-1 if (p := parents[bone]) is None else bones.index(p) for bone in bones)
    quaternions = Rotation.from_matrix(np.stack(rotations)).as_quat()
    return Skeleton(
        indices,
        torch.tensor(np.stack(offsets), dtype=torch.float64),
        torch.tensor(quaternions, dtype=torch.float64),
        torch.tensor(transform, dtype=torch.float64),
        torch.zeros(len(transform), dtype=torch.float64),
    )
