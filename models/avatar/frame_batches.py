"""Input checks and prefetched frame batches, shared by all kinds of avatar.

Letters: T frames of motion, N frames of a batch, H and W pixels.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from models.avatar.appearance import RenderOptions
    from models.avatar.camera import Camera

    Frames = NDArray[np.uint8]  # [N, H, W * views, 3 or 4]


@dataclass(frozen=True)
class RenderBatch:
    """Motion, cameras and options of some frames."""

    face: Tensor  # [N, face_width]
    pose: Tensor  # [N, pose_width]
    cameras: list[Camera]  # all of the same height
    options: RenderOptions

    def __len__(self) -> int:
        return len(self.face)

    def __getitem__(self, frames: slice) -> RenderBatch:
        return RenderBatch(self.face[frames], self.pose[frames], self.cameras, self.options)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the rendered frames, [N, H, W * views, 3 or 4]."""
        width = sum(camera.width for camera in self.cameras)
        return len(self), self.cameras[0].height, width, self.options.channels

    def to(self, device: torch.device) -> RenderBatch:
        """Copy the motion to a device as float32."""
        face, pose = self.face.to(device).float(), self.pose.to(device).float()
        return RenderBatch(face, pose, self.cameras, self.options)


def check_motion(
    face: Tensor,  # [T, face_width]
    pose: Tensor,  # [T, pose_width]
    cameras: Sequence[Camera],
    batch: int,
    *,
    face_width: int,
    pose_width: int,
) -> None:
    """Check the arguments of `render`.

    Raises: ValueError: for wrong shapes, no cameras, mixed heights, or batch < 1.
    """
    for name, value, width in (("face", face, face_width), ("pose", pose, pose_width)):
        if value.ndim != 2 or value.shape[1] != width:
            raise ValueError(f"{name} must be [T, {width}], got {list(value.shape)}")
    if len(face) != len(pose):
        raise ValueError(f"face has {len(face)} frames and pose {len(pose)}; they must match")
    if len({camera.height for camera in cameras}) != 1:
        heights = [camera.height for camera in cameras]
        raise ValueError(f"views are placed side by side and need one height, got {heights}")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")


# Batches of several avatars are rendered one after another: each has all cores, and settings of
# a device that their networks change are those of one batch at a time.
_rendering = Lock()


def batches_ahead(
    render: Callable[[ThreadPoolExecutor, RenderBatch], Frames],
    frames: RenderBatch,
    batch: int,
    *,
    threads: int,
) -> Iterator[Frames]:
    """Yield rendered frames in batches, at most one batch ahead of the caller.

    render: renders one batch with a pool of `threads` threads.
    """

    def render_alone(pool: ThreadPoolExecutor, part: RenderBatch) -> Frames:
        with _rendering:
            return render(pool, part)

    pending: list[Future[Frames]] = []
    with ThreadPoolExecutor(1) as prefetcher, ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(frames), batch):
            pending.append(prefetcher.submit(render_alone, pool, frames[start : start + batch]))
            if len(pending) > 1:
                yield pending.pop(0).result()
        for last in pending:
            yield last.result()
