"""Motion to frames for a blendshape avatar, in batches, on all cores or on a GPU.

Letters: T frames of motion, N frames of a batch, H and W pixels, P pose parameters.
"""

from __future__ import annotations

import queue
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.avatar.appearance import OWN, RenderOptions
from models.avatar.blendshape.plain_painter import PlainPainter
from models.avatar.blendshape.surface import Painter, pose_mesh
from models.avatar.camera import camera_named
from models.avatar.frame_batches import batches_ahead, check_motion
from models.avatar.raster.rasterise import kernels_available

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor

    from models.avatar.blendshape.model import BlendshapeModel
    from models.avatar.camera import Camera
    from models.avatar.frame_batches import Frames


class BlendshapeAvatar:
    """The avatar that `load_avatar` gives for a person of kind "blendshape"."""

    def __init__(
        self,
        model: BlendshapeModel,
        cameras: Mapping[str, Camera],
        *,
        samples: int = 2,
        threads: int | None = None,
        plain: bool = False,
    ) -> None:
        """samples: of a pixel's side, 1 is without anti-aliasing. threads: None is torch's number.
        plain: plain torch even where kernels could be had.
        """
        self.model, self.cameras, self.samples = model, dict(cameras), samples
        on_gpu = model.template.device.type == "cuda"
        self.threads = 1 if on_gpu else threads or torch.get_num_threads()
        self._together = on_gpu  # a GPU paints a whole batch at once, a core frame by frame
        self._painters: queue.SimpleQueue[Painter] = queue.SimpleQueue()
        for painter in _painters(model, self.threads, plain=plain):
            self._painters.put(painter)

    @property
    def unit_names(self) -> tuple[str, ...]:
        return self.model.unit_names

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return self.model.parameter_names

    @property
    def face_basis(self) -> Tensor:
        return self.model.face_basis

    def face_code(self, units: Tensor) -> Tensor:
        """Face units [T, 52] -> face codes [T, 256]."""
        return self.model.face_code(units)

    def unit_weights(self, face: Tensor) -> Tensor:
        """Face codes [T, 256] -> face units [T, 52]."""
        return self.model.unit_weights(face)

    def lip_opening(self, face: Tensor) -> Tensor:
        """Face codes [T, 256] or units [T, 52] -> how far the inner lips are apart, [T] cm."""
        return self.model.lip_opening(face)

    def camera(self, name: str | None = None) -> Camera:
        """A camera by name, the default one for None. Raises CameraUnknown for an unknown name."""
        return camera_named(name, self.cameras)

    def render(
        self,
        face: Tensor,  # [T, 256]
        pose: Tensor,  # [T, P]
        cameras: Sequence[Camera],
        *,
        batch: int = 8,
        look: RenderOptions = OWN,
    ) -> Iterator[Frames]:
        """Frames in order, [N, H, W * views, C] uint8 with N <= batch, views side by side.

        RGB, or RGBA where the look is transparent; the avatar's own background is a lit wall.

        One batch is painted ahead while the caller has the one before it; no more is kept.
        Raises ValueError for wrong shapes, cameras of different heights, or none at all.
        """
        check_motion(
            face,
            pose,
            cameras,
            batch,
            face_width=self.face_basis.shape[0],
            pose_width=len(self.parameter_names),
        )
        views, look = list(cameras), replace(look, samples=look.samples or self.samples)
        return batches_ahead(
            lambda painters, some: self._batch(painters, face[some], pose[some], views, look),
            len(face),
            batch,
            threads=self.threads,
        )

    @torch.inference_mode()
    def _batch(
        self,
        painters: ThreadPoolExecutor,
        face: Tensor,
        pose: Tensor,
        cameras: list[Camera],
        look: RenderOptions,
    ) -> Frames:
        device = self.model.template.device
        face, pose = face.to(device).float(), pose.to(device).float()
        height, width = cameras[0].height, sum(camera.width for camera in cameras)
        shape = (len(face), height, width, look.channels)
        frames = torch.empty(shape, dtype=torch.uint8, device=device)
        step = len(face) if self._together else 1
        slices = [slice(i, i + step) for i in range(0, len(face), step)]
        jobs = [
            painters.submit(self._paint, face[some], pose[some], cameras, frames[some], look)
            for some in slices
        ]
        for job in jobs:
            job.result()
        return frames.cpu().numpy()

    def _paint(
        self, face: Tensor, pose: Tensor, cameras: list[Camera], frames: Tensor, look: RenderOptions
    ) -> None:
        painter = self._painters.get()
        try:
            with torch.inference_mode():
                painter.paint(pose_mesh(self.model, face, pose), cameras, frames, look)
        finally:
            self._painters.put(painter)


def _painters(model: BlendshapeModel, count: int, *, plain: bool) -> list[Painter]:
    if plain or not kernels_available():
        return [PlainPainter(model) for _ in range(count)]
    from models.avatar.blendshape.warp_painter import KernelPainter, PersonOnDevice

    person = PersonOnDevice(model)
    return [KernelPainter(person) for _ in range(count)]
