"""Batched rendering of a codec avatar.

Letters: T frames of motion, N frames of a batch, H and W pixels, C width of a face code, P pose
parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from contracts.avatar_kinds import FAST
from models.avatar.appearance import OWN, TRANSPARENT, RenderOptions
from models.avatar.camera import camera_named
from models.avatar.codec.clay import clay_mesh, render_clay
from models.avatar.codec.figure import codec_figure
from models.avatar.frame_batches import RenderBatch, batches_ahead, check_motion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor

    from models.animation.figure import Figure
    from models.avatar.camera import Camera
    from models.avatar.codec.model import CodecModel, Posed
    from models.avatar.frame_batches import Frames


@dataclass(frozen=True)
class CodecOptions:
    """Default render options of a codec avatar; as they are, they reproduce the reference's bytes.

    Raises: ValueError: when samples is below 1.
    """

    samples: int = 1  # per pixel side; 2 smoothes edges
    rounding: bool = False  # round to the nearest byte instead of truncating

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1 per pixel side, got {self.samples}")


class CodecAvatar:
    """Avatar of the kind "codec"."""

    def __init__(
        self,
        model: CodecModel,
        cameras: Mapping[str, Camera],
        *,
        options: CodecOptions | None = None,
    ) -> None:
        self.model, self.cameras = model, dict(cameras)
        self.options = options or CodecOptions()
        self._whole_batch = model.device.type == "cuda"  # on a CPU, one frame fills the cache

    def camera(self, name: str | None = None) -> Camera:
        """Return the camera of a name; None selects the default.

        Raises: CameraUnknown: when no camera has the name.
        """
        return camera_named(name, self.cameras)

    def figure(self, name: str) -> Figure:
        """Describe skeleton and mesh for animation files."""
        return codec_figure(self.model, name)

    def render(
        self,
        face: Tensor,  # [T, C]
        pose: Tensor,  # [T, P]
        cameras: Sequence[Camera],
        *,
        batch: int = 8,
        options: RenderOptions = OWN,
    ) -> Iterator[Frames]:
        """Yield frames [N, H, W * views, 3 or 4] uint8 in order, N <= batch, views side by side.

        Frames are RGB, or RGBA for a transparent background; the default background is black.
        At most one batch is rendered ahead of the caller.

        Raises: ValueError: for wrong shapes, no cameras, mixed heights, batch < 1, or a shading
            other than `fast`.
        """
        if options.shading != FAST:
            raise ValueError(f"shading: a codec avatar has only {FAST} ({options.shading})")
        config = self.model.config
        check_motion(
            face, pose, cameras, batch, face_width=config.face_code, pose_width=config.pose
        )
        frames = RenderBatch(face, pose, list(cameras), options)
        return batches_ahead(self._batch, frames, batch, threads=1)

    @torch.inference_mode()
    def _batch(self, pool: ThreadPoolExecutor, batch: RenderBatch) -> Frames:
        device, options = self.model.device, batch.options
        batch = batch.to(device)
        frames = torch.zeros(batch.shape, dtype=torch.uint8, device=device)
        if options.background not in (None, TRANSPARENT):
            frames[:] = torch.tensor(options.background, dtype=torch.uint8, device=device)
        if options.clay:
            self._batch_of_clay(batch, frames)
            return frames.cpu().numpy()
        step = len(batch) if self._whole_batch else 1
        tasks: list[Future[None]] = []
        for start in range(0, len(batch), step):
            chunk = slice(start, start + step)
            posed, first = self.model.posed(batch.face[chunk], batch.pose[chunk]), 0
            for camera in batch.cameras:
                view = frames[chunk, :, first : first + camera.width]
                position = torch.from_numpy(camera.position).to(posed.vertices)
                texture = self.model.view_texture(
                    self.model.with_view_light(posed, self._camera_index(camera)), position
                )
                while len(tasks) > 1:  # this bounds the number of textures in memory
                    tasks.pop(0).result()
                tasks.append(pool.submit(self._render, posed, texture, camera, view, options))
                first += camera.width
        for task in tasks:
            task.result()
        return frames.cpu().numpy()

    def _batch_of_clay(self, batch: RenderBatch, frames: Tensor) -> None:
        vertices, first = clay_mesh(self.model, batch.face, batch.pose), 0
        for camera in batch.cameras:
            view = frames[:, :, first : first + camera.width]
            render_clay(self.model, vertices, camera, view)
            first += camera.width

    def _camera_index(self, camera: Camera) -> int:
        """Index of a camera among those of the person; 0 for any other camera."""
        names = list(self.cameras)
        return names.index(camera.name) if camera.name in names else 0

    @torch.inference_mode()
    def _render(
        self, posed: Posed, texture: Tensor, camera: Camera, view: Tensor, options: RenderOptions
    ) -> None:
        """Render one view, while the networks compute the texture of the next one."""
        samples, rounding = options.samples or self.options.samples, self.options.rounding
        self.model.surface.render(
            posed.vertices, texture, camera, view, samples=samples, rounding=rounding
        )
