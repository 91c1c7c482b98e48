"""Batched rendering of a blendshape avatar, on all cores or on a GPU.

Letters: T frames of motion, N frames of a batch, H and W pixels, P pose parameters.
"""

from __future__ import annotations

import queue
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.avatar.appearance import OWN, RenderOptions
from models.avatar.blendshape.figure import blendshape_figure
from models.avatar.blendshape.plain_painter import PlainPainter
from models.avatar.blendshape.surface import Painter, deformed
from models.avatar.camera import camera_named
from models.avatar.frame_batches import RenderBatch, batches_ahead, check_motion
from models.avatar.mesh.skinning import joint_matrices
from models.avatar.raster.rasterise import kernels_available

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor

    from models.animation.figure import Figure
    from models.avatar.blendshape.model import BlendshapeModel
    from models.avatar.camera import Camera
    from models.avatar.frame_batches import Frames


class BlendshapeAvatar:
    """Avatar of the kind "blendshape"."""

    def __init__(
        self,
        model: BlendshapeModel,
        cameras: Mapping[str, Camera],
        *,
        samples: int = 2,
        threads: int | None = None,
        plain: bool = False,
    ) -> None:
        """Create the painters, one per thread.

        samples: per pixel side; 1 disables anti-aliasing. threads: default torch.get_num_threads().
        plain: render in plain torch even when warp is installed.
        """
        self.model, self.cameras, self.samples = model, dict(cameras), samples
        on_gpu = model.template.device.type == "cuda"
        self.threads = 1 if on_gpu else threads or torch.get_num_threads()
        self._whole_batch = on_gpu  # a GPU renders a batch in one pass, a CPU core single frames
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
        """Encode face units [T, 52] as face codes [T, 256]."""
        return self.model.face_code(units)

    def unit_weights(self, face: Tensor) -> Tensor:
        """Decode face codes [T, 256] to face units [T, 52]."""
        return self.model.unit_weights(face)

    def lip_opening(self, face: Tensor) -> Tensor:
        """Lip distance in centimetres: face codes [T, 256] or face units [T, 52] -> [T]."""
        return self.model.lip_opening(face)

    def camera(self, name: str | None = None) -> Camera:
        """Return the camera of a name; None selects the default.

        Raises: CameraUnknown: when no camera has the name.
        """
        return camera_named(name, self.cameras)

    def figure(self, name: str) -> Figure:
        """Describe skeleton, mesh and face units for animation files."""
        return blendshape_figure(self.model, name)

    def render(
        self,
        face: Tensor,  # [T, 256]
        pose: Tensor,  # [T, P]
        cameras: Sequence[Camera],
        *,
        batch: int = 8,
        options: RenderOptions = OWN,
    ) -> Iterator[Frames]:
        """Yield frames in order, [N, H, W * views, C] uint8 with N <= batch, views side by side.

        Frames are RGB, or RGBA for a transparent background; the default background is a lit wall.
        At most one batch is rendered ahead of the caller.

        Raises: ValueError: for wrong shapes, no cameras, mixed heights, or batch < 1.
        """
        check_motion(
            face,
            pose,
            cameras,
            batch,
            face_width=self.face_basis.shape[0],
            pose_width=len(self.parameter_names),
        )
        options = replace(options, samples=options.samples or self.samples)
        frames = RenderBatch(face, pose, list(cameras), options)
        return batches_ahead(self._batch, frames, batch, threads=self.threads)

    @torch.inference_mode()
    def _batch(self, pool: ThreadPoolExecutor, batch: RenderBatch) -> Frames:
        batch = batch.to(self.model.template.device)
        frames = torch.empty(batch.shape, dtype=torch.uint8, device=batch.face.device)
        step = len(batch) if self._whole_batch else 1
        chunks = [slice(i, i + step) for i in range(0, len(batch), step)]
        # Operations on such small tensors cost the same for one frame as for all.
        by_frame = not self._whole_batch
        matrices = joint_matrices(self.model.skeleton, batch.pose, by_frame=by_frame)
        tasks = [
            pool.submit(self._render, batch[chunk], matrices[chunk], frames[chunk])
            for chunk in chunks
        ]
        for task in tasks:
            task.result()
        return frames.cpu().numpy()

    def _render(self, batch: RenderBatch, matrices: Tensor, frames: Tensor) -> None:
        painter = self._painters.get()
        try:
            with torch.inference_mode():
                mesh = deformed(self.model, batch.face, matrices)
                painter.render(mesh, batch.cameras, frames, batch.options)
        finally:
            self._painters.put(painter)


def _painters(model: BlendshapeModel, count: int, *, plain: bool) -> list[Painter]:
    if plain or not kernels_available():
        return [PlainPainter(model) for _ in range(count)]
    from models.avatar.blendshape.warp_painter import KernelPainter, PersonOnDevice

    person = PersonOnDevice(model)
    return [KernelPainter(person) for _ in range(count)]
