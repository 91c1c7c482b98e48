"""Rasterise with warp kernels where they are available, else in plain torch."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import TYPE_CHECKING

from models.avatar.raster.plain import check_mesh, rasterise_plain

if TYPE_CHECKING:
    from torch import Tensor

    from models.avatar.raster.types import Raster


@cache
def kernels_available() -> bool:
    """Is warp installed? Without it the plain twin does the work."""
    return importlib.util.find_spec("warp") is not None


def rasterise(
    points: Tensor,  # [B, V, 3] normalised coordinates
    faces: Tensor,  # [F, 3]
    *,
    height: int,
    width: int,
    near: float = 0.0,  # faces with a corner that is not beyond this are left out, if above 0
    front_only: bool = False,  # leave out faces whose corners run clockwise in the picture
) -> Raster:
    """Finds the face that each pixel sees, by the kernels where they are installed."""
    check_mesh(points, faces)
    if not kernels_available():
        return rasterise_plain(
            points, faces, height=height, width=width, near=near, front_only=front_only
        )
    from models.avatar.raster import warp  # imports the package warp, which is optional

    return warp.rasterise(
        points, faces, height=height, width=width, near=near, front_only=front_only
    )
