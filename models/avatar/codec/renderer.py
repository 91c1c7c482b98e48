"""Motion to frames for a codec avatar, behind the same `render` as the demo person's.

Letters: T frames of motion, N frames of a batch, H and W pixels.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.avatar.camera import camera_named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from models.avatar.camera import Camera
    from models.avatar.codec.model import CodecModel, Posed

    Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class CodecOptions:
    """How frames are painted. The defaults give the reference's bytes."""

    samples: int = 1  # of a pixel's side; 2 smoothes edges
    rounding: bool = False  # to the nearest byte; else what is behind the point is dropped

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"a pixel has at least 1 sample along its side, got {self.samples}")


class CodecAvatar:
    """The avatar that `load_avatar` gives for a person of kind "codec"."""

    def __init__(
        self,
        model: CodecModel,
        cameras: Mapping[str, Camera],
        *,
        options: CodecOptions | None = None,
    ) -> None:
        self.model, self.cameras = model, dict(cameras)
        self.options = options or CodecOptions()
        self._together = model.device.type == "cuda"  # a core's memory is filled by one frame

    def camera(self, name: str | None = None) -> Camera:
        """A camera by name, the default one for None. Raises CameraUnknown for an unknown name."""
        return camera_named(name, self.cameras)

    def render(
        self,
        face: Tensor,  # [T, 256]
        pose: Tensor,  # [T, 104]
        cameras: Sequence[Camera],
        *,
        batch: int = 8,
    ) -> Iterator[Frames]:
        """Frames in order, [N, H, W * views, 3] uint8 RGB with N <= batch, views side by side.

        One batch is painted ahead while the caller has the one before it; no more is kept.
        Raises ValueError for wrong shapes, cameras of different heights, or none at all.
        """
        self._check(face, pose, cameras, batch)
        return self._frames(face, pose, list(cameras), batch)

    def _frames(
        self, face: Tensor, pose: Tensor, cameras: list[Camera], batch: int
    ) -> Iterator[Frames]:
        ahead: list[Future[Frames]] = []
        with ThreadPoolExecutor(1) as conductor, ThreadPoolExecutor(1) as painter:
            for start in range(0, len(face), batch):
                some = slice(start, start + batch)
                ahead.append(
                    conductor.submit(self._batch, painter, face[some], pose[some], cameras)
                )
                if len(ahead) > 1:
                    yield ahead.pop(0).result()
            for last in ahead:
                yield last.result()

    @torch.inference_mode()
    def _batch(
        self, painter: ThreadPoolExecutor, face: Tensor, pose: Tensor, cameras: list[Camera]
    ) -> Frames:
        device = self.model.device
        face, pose = face.to(device).float(), pose.to(device).float()
        height, width = cameras[0].height, sum(camera.width for camera in cameras)
        frames = torch.zeros(len(face), height, width, 3, dtype=torch.uint8, device=device)
        step = len(face) if self._together else 1
        painting: list[Future[None]] = []
        for start in range(0, len(face), step):
            some = slice(start, start + step)
            posed, first = self.model.posed(face[some], pose[some]), 0
            for camera in cameras:
                view = frames[some, :, first : first + camera.width]
                position = torch.from_numpy(camera.position).to(posed.vertices)
                texture = self.model.view_texture(posed, position)
                while len(painting) > 1:  # no more textures than are worked on
                    painting.pop(0).result()
                painting.append(painter.submit(self._paint, posed, texture, camera, view))
                first += camera.width
        for job in painting:
            job.result()
        return frames.cpu().numpy()

    @torch.inference_mode()
    def _paint(self, posed: Posed, texture: Tensor, camera: Camera, view: Tensor) -> None:
        """One view, while the networks draw the next one."""
        samples, rounding = self.options.samples, self.options.rounding
        self.model.surface.paint(
            posed.vertices, texture, camera, view, samples=samples, rounding=rounding
        )

    def _check(self, face: Tensor, pose: Tensor, cameras: Sequence[Camera], batch: int) -> None:
        config = self.model.config
        for name, value, width in (("face", face, config.face_code), ("pose", pose, config.pose)):
            if value.ndim != 2 or value.shape[1] != width:
                raise ValueError(f"{name} must be [T, {width}], got {list(value.shape)}")
        if len(face) != len(pose):
            raise ValueError(f"face has {len(face)} frames and pose {len(pose)}; they must match")
        if len({camera.height for camera in cameras}) != 1:
            heights = [camera.height for camera in cameras]
            raise ValueError(f"views stand side by side and need one height, got {heights}")
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
