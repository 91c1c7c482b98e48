"""Collaborators of a job that are a few lines each: no network, no renderer, no server."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs.persons import PersonDefaults
from jobs.storage.factory import ObjectInfo, ObjectMissing, StorageError
from models.avatar.appearance import TRANSPARENT, RenderOptions
from models.avatar.camera import Camera, camera_named, looking_at
from models.motion.pipeline import Motion, MotionError, Sampling
from worker.pipeline.encode import SAMPLES_PER_FRAME
from worker.pipeline.persons import Models, Person
from worker.pipeline.progress import Progress

DEFAULTS = PersonDefaults(
    steps=4, guidance_face=1.5, guidance_body=1.5, diversity=0.9, size="64x64"
)


def stuck_ffmpeg(folder: Path) -> Path:
    """A program that reads nothing, says nothing and does not end."""
    program = folder / "stuck-ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    return program


class DictStorage:
    """Objects in a dictionary. `away` counts the calls that fail before it answers again."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.away = 0

    def put(self, key: str, path: Path, content_type: str) -> None:
        self._answer()
        self.objects[key] = path.read_bytes()

    def get(self, key: str, path: Path) -> None:
        self._answer()
        if key not in self.objects:
            raise ObjectMissing(key)
        path.write_bytes(self.objects[key])

    def stat(self, key: str) -> ObjectInfo:
        self._answer()
        if key not in self.objects:
            raise ObjectMissing(key)
        return ObjectInfo(key, len(self.objects[key]), "video/mp4")

    def _answer(self) -> None:
        if self.away > 0:
            self.away -= 1
            raise StorageError("the storage is on holiday")


class ToyAnimator:
    """Noise of the right shape, by the seeds; remembers what it was asked for."""

    def __init__(self, *, longest: float = 60.0) -> None:
        self.longest = longest
        self.asked: list[Sampling] = []

    def animate(self, audio: Tensor, sampling: Sampling, *, progress: Progress) -> list[Motion]:
        self.asked.append(sampling)
        if len(audio) > self.longest * 48_000:
            raise MotionError(f"the clip is too long; this person takes {self.longest:g} s")
        for stage in ("speech", "face", "guide", "body"):
            progress(stage, 0.5)
            progress(stage, 1.0)
        frames = -(-len(audio) // SAMPLES_PER_FRAME)
        return [_noise(frames, seed) for seed in sampling.seeds]


CAMERAS = {
    name: looking_at(name, eye=eye, target=(0, 0, 0), focal=1.0, width=512, height=512)
    for name, eye in (("front", (0, 0, 10)), ("side", (10, 0, 0)))
}


class ToyAvatar:
    """A grey that follows the face, in front; black from elsewhere. Backgrounds lie below it.

    holds: frames that fit into its memory at a time.
    """

    def __init__(self, *, holds: int = 1000) -> None:
        self.holds = holds
        self.batches: list[int] = []  # that it was asked for

    def camera(self, name: str | None = None) -> Camera:
        return camera_named(name, CAMERAS)

    def render(
        self,
        face: Tensor,
        pose: Tensor,
        cameras: Sequence[Camera],
        *,
        batch: int,
        options: RenderOptions,
    ) -> Iterator[NDArray[np.uint8]]:
        self.batches.append(batch)
        below = (0, 0, 0, 0) if options.background == TRANSPARENT else options.background
        for start in range(0, len(face), batch):
            if min(batch, len(face) - start) > self.holds:
                raise torch.OutOfMemoryError("CUDA out of memory")
            some = face[start : start + batch, 0].sigmoid().numpy()
            views = []
            for camera in cameras:
                shape = (len(some), camera.height, camera.width, 3)
                grey = 255 * some[:, None, None, None] * (camera.name == "front")
                views.append(np.broadcast_to(grey.astype(np.uint8), shape))
            frames = np.concatenate(views, axis=2)
            if options.channels == 4:
                frames = np.concatenate([frames, np.full_like(frames[..., :1], 255)], axis=-1)
            if below is not None:
                frames[:, frames.shape[1] // 2 :] = below
            yield frames


def toy_person(animator: ToyAnimator | None = None, *, digest: str = "d1") -> Person:
    return Person("demo", digest, DEFAULTS, Models(animator or ToyAnimator(), ToyAvatar()))


def _noise(frames: int, seed: int) -> Motion:
    generator = torch.Generator().manual_seed(seed)
    return Motion(
        face=torch.randn(frames, 256, generator=generator),
        pose=torch.randn(frames, 104, generator=generator),
    )
