"""Lip vertices of face codes, and their target.

Letters: T frames, V lip vertices. For a blendshape avatar, lips are in millimetres and the target
is computed from the true face codes. For a person whose face denoiser uses lip features, the target
is the output of the lip regressor, in its unit; face codes are mapped to lips by a linear map that
is fitted on the true codes of the other samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from contracts.person import MANIFEST, read_manifest
from models.avatar.blendshape.model import load_blendshape
from models.motion.lips import lip_geometry, load_lips
from models.motion.pipeline import LIPS
from models.motion.statistics import load_statistics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from models.avatar.blendshape.model import BlendshapeModel
    from models.formats.results import Results

    Array = NDArray[np.floating[Any]]

AVATAR = "avatar.safetensors"
CPU = torch.device("cpu")
MILLIMETRES = 100.0  # per decimetre
ROLLS = ("mouthRollUpper", "mouthRollLower")  # face units that move the lips and little else
MOVED = 0.5  # fraction of a unit's largest movement; a vertex that moves less is not on the lips
RIDGE = 1e-3  # regularisation of the map, relative to the mean variance of the codes


@dataclass(frozen=True)
class Lips:
    """Lips of one sample: functions of face codes, and the target."""

    target: Array  # [T, V, 3]
    read: Callable[[Array], Array]  # face codes [T, 256] -> vertices [T, V, 3]
    opening: Callable[[Array], Array]  # vertices [T, V, 3] -> [T]
    unit: str


def lips_of(person: Path, results: Results) -> list[Lips]:
    """Lips of each sample.

    Raises: ValueError: when the lips of a person or of the results cannot be measured.
    """
    if (person / LIPS).is_file():
        return _regressor_lips(person, results)
    avatar = blendshape_of(person)
    if avatar is None:
        raise ValueError(
            f"{person.name} has neither {LIPS} nor a blendshape avatar: lips cannot be measured"
        )
    return _avatar_lips(avatar, results)


def blendshape_of(person: Path) -> BlendshapeModel | None:
    """The blendshape avatar of a person; None for other kinds."""
    if not (person / MANIFEST).is_file():
        return None
    kind = read_manifest(person).avatar_kind
    return load_blendshape(person / AVATAR, device=CPU) if kind == "blendshape" else None


def lip_vertices(avatar: BlendshapeModel) -> list[int]:
    """Skin vertices of the lips: those that the roll units move most, and the inner edge."""
    edge = {*avatar.config.upper_lip, *avatar.config.lower_lip}
    skin = avatar.vertices_of("skin")
    moved = _offsets(avatar, skin.tolist()).norm(dim=-1)  # [U, skin]
    lips = set(edge)
    for name in set(ROLLS) & set(avatar.unit_names):
        movement = moved[avatar.unit_names.index(name)]
        lips |= set(skin[movement > MOVED * movement.max()].tolist())
    return sorted(lips)


def _avatar_lips(avatar: BlendshapeModel, results: Results) -> list[Lips]:
    read, opening = lip_reader(avatar)
    return [Lips(read(face), read, opening, "mm") for face in results.true_face]


def lip_reader(
    avatar: BlendshapeModel,
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Return two functions: of codes [T, 256] lips in mm, [T, V, 3], and of those the opening."""
    vertices = lip_vertices(avatar)
    upper, lower = (
        [vertices.index(v) for v in edge]
        for edge in (avatar.config.upper_lip, avatar.config.lower_lip)
    )
    template = avatar.template[vertices]  # [V, 3]
    offsets = _offsets(avatar, vertices)  # [U, V, 3]

    def read(face: Array) -> Array:
        units = avatar.unit_weights(torch.from_numpy(face))
        moved = template + torch.einsum("tu,uvx->tvx", units, offsets)
        return moved.numpy() * MILLIMETRES

    def opening(lips: Array) -> Array:
        gap = lips[:, upper, 1].mean(1) - lips[:, lower, 1].mean(1)
        return gap.clip(min=0)

    return read, opening


def _offsets(avatar: BlendshapeModel, vertices: list[int]) -> Tensor:
    """Offsets of vertices by each face unit, [U, V, 3]."""
    units = len(avatar.unit_names)
    offsets = torch.zeros(units, len(avatar.template), 3)
    offsets[:, avatar.moving] = avatar.shapes.view(units, -1, 3)
    return offsets[:, vertices]


def _regressor_lips(person: Path, results: Results) -> list[Lips]:
    if results.samples < 2:
        raise ValueError("the map to lips is fitted on other samples; sample two or more")
    targets = regressed_lips(person, results.audio)
    opening = first_component(targets)
    fits = [
        _Fit.of(codes[present], target[present])
        for codes, present, target in zip(
            results.true_face, results.face_present, targets, strict=True
        )
    ]
    return [
        Lips(target, _sum(fits[:sample] + fits[sample + 1 :]).map(), opening, "units")
        for sample, target in enumerate(targets)
    ]


@torch.inference_mode()
def regressed_lips(person: Path, audio: Array) -> list[Array]:
    """Lips that the regressor predicts from audio [N, 1600 T, 2]: N times [T, V, 3]."""
    regressor = load_lips(person / LIPS, device=CPU)
    statistics = load_statistics(person / "stats.json", device=CPU)
    lips = []
    for recording in audio:
        normalised = statistics.normalised_audio(torch.from_numpy(recording))[None]
        geometry = lip_geometry(regressor, normalised)[0]  # [T, V * 3]
        lips.append(geometry.numpy().reshape(len(geometry), -1, 3))
    return lips


def first_component(targets: list[Array]) -> Callable[[Array], Array]:
    """First principal component of lips, in units of its standard deviation.

    Its sign is arbitrary: the vertices of a regressor do not show which direction is open.
    """
    flat = np.concatenate(targets).reshape(sum(map(len, targets)), -1).astype(np.float64)
    mean = flat.mean(0)
    variances, directions = np.linalg.eigh(np.cov(flat, rowvar=False))
    along = directions[:, -1] / np.sqrt(max(1e-12, variances[-1]))

    def component(lips: Array) -> Array:
        return (lips.reshape(len(lips), -1) - mean) @ along

    return component


@dataclass(frozen=True)
class _Fit:
    """Sums over frames for the least-squares fit of codes, with a constant column, to lips."""

    square: Array  # [257, 257]
    cross: Array  # [257, 3 V]

    @classmethod
    def of(cls, codes: Array, lips: Array) -> _Fit:
        rows = _with_one(codes)
        return cls(rows.T @ rows, rows.T @ lips.reshape(len(lips), -1).astype(np.float64))

    def map(self) -> Callable[[Array], Array]:
        ridge = np.eye(len(self.square)) * RIDGE * np.trace(self.square) / len(self.square)
        ridge[-1, -1] = 0  # no regularisation of the mean
        weights = np.linalg.solve(self.square + ridge, self.cross)
        return lambda face: (_with_one(face) @ weights).reshape(len(face), -1, 3)


def _sum(fits: list[_Fit]) -> _Fit:
    return _Fit(
        np.sum([fit.square for fit in fits], axis=0), np.sum([fit.cross for fit in fits], axis=0)
    )


def _with_one(codes: Array) -> Array:
    return np.concatenate([codes, np.ones((len(codes), 1))], axis=1, dtype=np.float64)
