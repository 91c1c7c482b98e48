"""What rendering has in common, whatever the avatar: what is asked for, and batches made ahead.

Letters: T frames of motion, N frames of a batch, H and W pixels.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from models.avatar.camera import Camera

    Frames = NDArray[np.uint8]  # [N, H, W * views, 3 or 4]
    MakeBatch = Callable[[ThreadPoolExecutor, slice], Frames]


def check_motion(
    face: Tensor,  # [T, face_width]
    pose: Tensor,  # [T, pose_width]
    cameras: Sequence[Camera],
    batch: int,
    *,
    face_width: int,
    pose_width: int,
) -> None:
    """Raises ValueError for wrong shapes, cameras of different heights, or none at all."""
    for name, value, width in (("face", face, face_width), ("pose", pose, pose_width)):
        if value.ndim != 2 or value.shape[1] != width:
            raise ValueError(f"{name} must be [T, {width}], got {list(value.shape)}")
    if len(face) != len(pose):
        raise ValueError(f"face has {len(face)} frames and pose {len(pose)}; they must match")
    if len({camera.height for camera in cameras}) != 1:
        heights = [camera.height for camera in cameras]
        raise ValueError(f"views stand side by side and need one height, got {heights}")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")


def batches_ahead(make: MakeBatch, count: int, batch: int, *, threads: int) -> Iterator[Frames]:
    """`count` frames in batches; one is made while the caller has the one before it, no more.

    make: gets a pool of `threads` painters and which frames to make.
    """
    ahead: list[Future[Frames]] = []
    with ThreadPoolExecutor(1) as conductor, ThreadPoolExecutor(threads) as painters:
        for start in range(0, count, batch):
            ahead.append(conductor.submit(make, painters, slice(start, start + batch)))
            if len(ahead) > 1:
                yield ahead.pop(0).result()
        for last in ahead:
            yield last.result()
