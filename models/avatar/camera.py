"""Cameras: where a view stands and how it projects, in the OpenCV convention.

x = R X + t looks right, down and forward; u = fx x / z + cx, v = fy y / z + cy. The centre of the
pixel in row i and column j is at u = j + 0.5, v = i + 0.5. Lengths are decimetres.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    Vector = tuple[float, float, float]

SMALLEST, LARGEST = 64, 2048  # pixels


class CameraError(ValueError):
    """A camera that does not exist or a size that cannot be rendered."""


class CameraUnknown(CameraError):
    """A camera that this person does not have."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera and the size of its picture."""

    name: str
    width: int
    height: int
    intrinsics: tuple[Vector, Vector, Vector]  # K: fx, cx, fy, cy; its skew is not used
    rotation: tuple[Vector, Vector, Vector]  # R, rows
    translation: Vector  # t

    def __post_init__(self) -> None:
        for size in (self.width, self.height):
            if size % 2 or not SMALLEST <= size <= LARGEST:
                raise CameraError(
                    f"a picture's sides must be even and {SMALLEST} to {LARGEST} pixels, "
                    f"got {self.width}x{self.height}"
                )

    @property
    def position(self) -> NDArray[np.float64]:
        """Where the camera stands, [3]."""
        return np.asarray(-np.array(self.rotation).T @ np.array(self.translation))

    def resized(self, width: int, height: int) -> Camera:
        """The same view at another size: what fitted into the picture still fits.

        The middle stays in the middle; a wider or taller picture shows more at its sides.
        Raises CameraError for sides that are odd or out of range.
        """
        (fx, skew, cx), (_, fy, cy), last = self.intrinsics
        scale = min(width / self.width, height / self.height)
        cx = width / 2 + (cx - self.width / 2) * scale
        cy = height / 2 + (cy - self.height / 2) * scale
        intrinsics = ((fx * scale, skew * scale, cx), (0.0, fy * scale, cy), last)
        return replace(self, width=width, height=height, intrinsics=intrinsics)

    def project(self, points: Tensor) -> Tensor:
        """World points [..., 3] -> pixels and depth (u, v, z), [..., 3]."""
        rotation, translation = (
            torch.tensor(part, dtype=points.dtype, device=points.device)
            for part in (self.rotation, self.translation)
        )
        seen = points @ rotation.T + translation
        (fx, _, cx), (_, fy, cy), _ = self.intrinsics
        x, y, z = seen.unbind(-1)
        return torch.stack([fx * x / z + cx, fy * y / z + cy, z], dim=-1)


def looking_at(
    name: str, *, eye: Vector, target: Vector, focal: float, width: int, height: int
) -> Camera:
    """A camera at `eye` with `target` in the middle; focal in picture heights, y is up."""
    forward = np.array(target, float) - np.array(eye, float)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    intrinsics = np.diag([focal * height, focal * height, 1.0])
    intrinsics[:2, 2] = width / 2, height / 2
    return Camera(
        name,
        width,
        height,
        _matrix(intrinsics),
        _matrix(rotation),
        _vector(-rotation @ np.array(eye, float)),
    )


def write_cameras(path: Path, cameras: Mapping[str, Camera]) -> None:
    """Writes cameras.json; the first one is the default."""
    entries = [asdict(camera) for camera in cameras.values()]
    path.write_text(json.dumps({"cameras": entries}, indent=1) + "\n", encoding="utf-8")


def camera_named(name: str | None, cameras: Mapping[str, Camera]) -> Camera:
    """A camera by name, the first one for None. CameraUnknown says which there are."""
    if name is None:
        return next(iter(cameras.values()))
    if name not in cameras:
        raise CameraUnknown(f"no camera {name!r}; this person has {', '.join(cameras)}")
    return cameras[name]


def read_cameras(path: Path) -> dict[str, Camera]:
    """Reads cameras.json. Raises CameraError where it is missing, broken or holds no camera."""
    if not path.is_file():
        raise CameraError(f"no cameras at {path}; is this a person's folder?")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["cameras"]
        cameras = {entry["name"]: _camera(entry) for entry in entries}
    except CameraError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CameraError(f"{path} is not a list of cameras: {error!r}") from error
    if not cameras:
        raise CameraError(f"{path} holds no camera; a person needs at least one")
    return cameras


def camera_of(
    name: str,
    width: int,
    height: int,
    intrinsics: NDArray[np.float64],  # [3, 3]
    rotation: NDArray[np.float64],  # [3, 3]
    translation: NDArray[np.float64],  # [3]
) -> Camera:
    """A camera from arrays."""
    k, r, t = _matrix(intrinsics), _matrix(rotation), _vector(translation)
    return Camera(name, width, height, k, r, t)


def _camera(entry: dict[str, object]) -> Camera:
    return camera_of(
        str(entry["name"]),
        int(str(entry["width"])),
        int(str(entry["height"])),
        np.array(entry["intrinsics"], float),
        np.array(entry["rotation"], float),
        np.array(entry["translation"], float),
    )


def _matrix(values: NDArray[np.float64]) -> tuple[Vector, Vector, Vector]:
    return _vector(values[0]), _vector(values[1]), _vector(values[2])


def _vector(values: NDArray[np.float64]) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])
