"""Fakes of a job's collaborators, without networks, a renderer or servers."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from contracts.consent import SYNTHETIC, Consent
from jobs.persons import PersonDefaults
from jobs.storage.factory import ObjectInfo, ObjectMissing, StorageError
from models.avatar.appearance import TRANSPARENT, RenderOptions
from models.avatar.camera import Camera, camera_named, looking_at
from models.motion.pipeline import Motion, MotionError, Sampling
from worker.pipeline.media.encode import SAMPLES_PER_FRAME
from worker.pipeline.persons import Models, Person
from worker.pipeline.progress import Progress

DEFAULTS = PersonDefaults(
    steps=4, guidance_face=1.5, guidance_body=1.5, diversity=0.9, size="64x64"
)


def stuck_ffmpeg(folder: Path) -> Path:
    """Write a program that neither reads nor writes nor ends."""
    program = folder / "stuck-ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    return program


def use_decoder(monkeypatch: pytest.MonkeyPatch, program: Path) -> None:
    """Replace the child process that decodes clips."""
    monkeypatch.setattr(
        "worker.pipeline.media.decode.read_command", lambda *clip, **options: [str(program)]
    )


class InMemoryStorage:
    """Storage in a dictionary; the next `failures` calls raise."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.failures = 0

    def put(self, key: str, path: Path, content_type: str) -> None:
        self._fail_or_pass()
        self.objects[key] = path.read_bytes()

    def get(self, key: str, path: Path) -> None:
        self._fail_or_pass()
        if key not in self.objects:
            raise ObjectMissing(key)
        path.write_bytes(self.objects[key])

    def stat(self, key: str) -> ObjectInfo:
        self._fail_or_pass()
        if key not in self.objects:
            raise ObjectMissing(key)
        return ObjectInfo(key, len(self.objects[key]), "video/mp4")

    def remove(self, keys: Sequence[str]) -> None:
        self._fail_or_pass()
        for key in keys:
            self.objects.pop(key, None)

    def _fail_or_pass(self) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise StorageError("the storage is not reachable")


class FakeAnimator:
    """Return noise of the right shape by seed, and record each call.

    longest: seconds of the longest clip that is accepted.
    """

    def __init__(self, *, longest: float = 60.0) -> None:
        self.longest = longest
        self.max_frames = round(30 * longest)
        self.calls: list[Sampling] = []

    def count_parts(self, frames: int, sampling: Sampling) -> int:
        return 1

    def stream(
        self, chunks: Iterable[Tensor], sampling: Sampling, *, progress: Progress
    ) -> Iterator[list[Motion]]:
        yield self.animate(torch.cat(list(chunks)), sampling, progress=progress)

    def animate(self, audio: Tensor, sampling: Sampling, *, progress: Progress) -> list[Motion]:
        self.calls.append(sampling)
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


class FakeAvatar:
    """Render the front view grey by the first face code, and other views black.

    The lower half of each frame has the background. fits: frames that fit into memory at a time.
    """

    def __init__(self, *, fits: int = 1000) -> None:
        self.fits = fits
        self.batches: list[int] = []  # batch size of each call

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
        background = (0, 0, 0, 0) if options.background == TRANSPARENT else options.background
        for start in range(0, len(face), batch):
            if min(batch, len(face) - start) > self.fits:
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
            if background is not None:
                frames[:, frames.shape[1] // 2 :] = background
            yield frames


def fake_person(animator: FakeAnimator | None = None, *, digest: str = "d1") -> Person:
    models = Models(animator or FakeAnimator(), FakeAvatar())
    return Person("demo", digest, DEFAULTS, models, Consent(SYNTHETIC))


def _noise(frames: int, seed: int) -> Motion:
    generator = torch.Generator().manual_seed(seed)
    return Motion(
        face=torch.randn(frames, 256, generator=generator),
        pose=torch.randn(frames, 104, generator=generator),
    )
