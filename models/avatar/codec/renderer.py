"""Motion to frames for a codec avatar, behind the same `render` as the demo person's.

Letters: T frames of motion, N frames of a batch, H and W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.avatar.appearance import OWN, TRANSPARENT, RenderOptions
from models.avatar.camera import camera_named
from models.avatar.frame_batches import batches_ahead, check_motion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor

    from models.avatar.camera import Camera
    from models.avatar.codec.model import CodecModel, Posed
    from models.avatar.frame_batches import Frames


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
        look: RenderOptions = OWN,
    ) -> Iterator[Frames]:
        """Frames in order, [N, H, W * views, C] uint8 with N <= batch, views side by side.

        RGB, or RGBA where the look is transparent; the avatar's own background is black.
        One batch is painted ahead while the caller has the one before it; no more is kept.
        Raises ValueError for wrong shapes, cameras of different heights, or none at all.
        """
        config, views = self.model.config, list(cameras)
        check_motion(
            face, pose, cameras, batch, face_width=config.face_code, pose_width=config.pose
        )
        return batches_ahead(
            lambda painter, some: self._batch(painter, face[some], pose[some], views, look),
            len(face),
            batch,
            threads=1,
        )

    @torch.inference_mode()
    def _batch(
        self,
        painter: ThreadPoolExecutor,
        face: Tensor,
        pose: Tensor,
        cameras: list[Camera],
        look: RenderOptions,
    ) -> Frames:
        device = self.model.device
        face, pose = face.to(device).float(), pose.to(device).float()
        height, width = cameras[0].height, sum(camera.width for camera in cameras)
        frames = torch.zeros(
            len(face), height, width, look.channels, dtype=torch.uint8, device=device
        )
        if look.background not in (None, TRANSPARENT):
            frames[:] = torch.tensor(look.background, dtype=torch.uint8, device=device)
        step = len(face) if self._together else 1
        painting: list[Future[None]] = []
        for start in range(0, len(face), step):
            some = slice(start, start + step)
            posed, first = self.model.posed(face[some], pose[some]), 0
            for camera in cameras:
                view = frames[some, :, first : first + camera.width]
                position = torch.from_numpy(camera.position).to(posed.vertices)
                texture = self.model.view_texture(
                    self.model.lit(posed, self._number(camera)), position
                )
                while len(painting) > 1:  # no more textures than are worked on
                    painting.pop(0).result()
                painting.append(painter.submit(self._paint, posed, texture, camera, view, look))
                first += camera.width
        for job in painting:
            job.result()
        return frames.cpu().numpy()

    def _number(self, camera: Camera) -> int:
        """Which of the person's cameras this is; the first for one that was made up."""
        names = list(self.cameras)
        return names.index(camera.name) if camera.name in names else 0

    @torch.inference_mode()
    def _paint(
        self, posed: Posed, texture: Tensor, camera: Camera, view: Tensor, look: RenderOptions
    ) -> None:
        """One view, while the networks draw the next one."""
        samples, rounding = look.samples or self.options.samples, self.options.rounding
        self.model.surface.paint(
            posed.vertices, texture, camera, view, samples=samples, rounding=rounding
        )
