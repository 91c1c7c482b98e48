"""Rasterisation with warp kernels when warp is installed, otherwise in plain torch."""

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
    """Return True when warp is installed; otherwise rasterisation runs in plain torch."""
    return importlib.util.find_spec("warp") is not None


def rasterise(
    points: Tensor,  # [B, V, 3] normalised coordinates
    faces: Tensor,  # [F, 3]
    *,
    height: int,
    width: int,
    near: float = 0.0,  # if above 0, faces with a corner at this depth or nearer are skipped
    front_only: bool = False,  # skip faces whose corners run clockwise in the image
) -> Raster:
    """Return the visible face, corner weights and depth of each pixel.

    Raises: ValueError: when points or faces have the wrong shape.
    """
    check_mesh(points, faces)
    if not kernels_available():
        return rasterise_plain(
            points, faces, height=height, width=width, near=near, front_only=front_only
        )
    from models.avatar.raster import warp  # this module imports the optional package warp

    return warp.rasterise(
        points, faces, height=height, width=width, near=near, front_only=front_only
    )
