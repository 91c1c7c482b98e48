"""Pinhole cameras in the OpenCV convention, and the file cameras.json.

The axes of x = R X + t point right, down and forward; u = fx x / z + cx, v = fy y / z + cy. The
centre of the pixel in row i and column j is at u = j + 0.5, v = i + 0.5. Lengths are decimetres.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from contracts.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    Vector = tuple[float, float, float]

PORTRAIT = "portrait"  # face and hands; the default in the shading `full`
SMALLEST, LARGEST = 64, 2048  # pixels


class CameraError(InputError):
    """Unknown camera, invalid cameras.json, or an image size that cannot be rendered."""


class CameraUnknown(CameraError):
    """Camera name that this person does not have."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera and its image size.

    Raises: CameraError: when the image size is odd or out of range.
    """

    name: str
    width: int
    height: int
    intrinsics: tuple[Vector, Vector, Vector]  # K: fx, cx, fy, cy; the skew is ignored
    rotation: tuple[Vector, Vector, Vector]  # R, rows
    translation: Vector  # t

    def __post_init__(self) -> None:
        for size in (self.width, self.height):
            if size % 2 or not SMALLEST <= size <= LARGEST:
                raise CameraError(
                    f"image width and height must be even and {SMALLEST} to {LARGEST} pixels, "
                    f"got {self.width}x{self.height}"
                )

    @property
    def position(self) -> NDArray[np.float64]:
        """Camera centre in world coordinates, [3]."""
        return np.asarray(-np.array(self.rotation).T @ np.array(self.translation))

    def resized(self, width: int, height: int) -> Camera:
        """Resize the image; everything that was visible stays visible.

        The centre stays in the centre; a wider or taller image shows more at its edges.

        Raises: CameraError: when a side is odd or out of range.
        """
        (fx, skew, cx), (_, fy, cy), last = self.intrinsics
        scale = min(width / self.width, height / self.height)
        cx = width / 2 + (cx - self.width / 2) * scale
        cy = height / 2 + (cy - self.height / 2) * scale
        intrinsics = ((fx * scale, skew * scale, cx), (0.0, fy * scale, cy), last)
        return replace(self, width=width, height=height, intrinsics=intrinsics)

    def project(self, points: Tensor) -> Tensor:
        """Project world points [..., 3] to pixels and depth (u, v, z), [..., 3]."""
        rotation, translation = (
            torch.tensor(part, dtype=points.dtype, device=points.device)
            for part in (self.rotation, self.translation)
        )
        in_camera = points @ rotation.T + translation
        (fx, _, cx), (_, fy, cy), _ = self.intrinsics
        x, y, z = in_camera.unbind(-1)
        return torch.stack([fx * x / z + cx, fy * y / z + cy, z], dim=-1)


def looking_at(
    name: str, *, eye: Vector, target: Vector, focal: float, width: int, height: int
) -> Camera:
    """A camera at `eye` with `target` in the centre; focal in image heights, y is up."""
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
    """Write cameras.json; the first camera is the default."""
    entries = [asdict(camera) for camera in cameras.values()]
    path.write_text(json.dumps({"cameras": entries}, indent=1) + "\n", encoding="utf-8")


def camera_named(name: str | None, cameras: Mapping[str, Camera]) -> Camera:
    """Return the camera of a name; None selects the first one.

    Raises: CameraUnknown: when no camera has the name; the message lists all names.
    """
    if name is None:
        return next(iter(cameras.values()))
    if name not in cameras:
        raise CameraUnknown(f"unknown camera {name!r}; this person has {', '.join(cameras)}")
    return cameras[name]


def read_cameras(path: Path) -> dict[str, Camera]:
    """Read cameras.json.

    Raises: CameraError: when the file is missing, invalid or empty.
    """
    if not path.is_file():
        raise CameraError(f"cameras not found: {path}; is {path.parent} a person directory?")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["cameras"]
        cameras = {entry["name"]: _camera(entry) for entry in entries}
    except CameraError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CameraError(f"{path} is not a valid list of cameras: {error!r}") from error
    if not cameras:
        raise CameraError(f"{path} contains no camera; a person needs at least one")
    return cameras


def camera_of(
    name: str,
    width: int,
    height: int,
    intrinsics: NDArray[np.float64],  # [3, 3]
    rotation: NDArray[np.float64],  # [3, 3]
    translation: NDArray[np.float64],  # [3]
) -> Camera:
    """Build a camera from arrays."""
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
