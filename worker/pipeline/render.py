"""Motion of every take, and the frames of a take in batches that fit into memory."""

from __future__ import annotations

import logging
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, cast

import torch

from models.avatar.appearance import OWN, RenderOptions
from worker.pipeline.plan import cameras_of
from worker.pipeline.take import Take

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from models.avatar.avatar import Avatar
    from models.avatar.camera import Camera
    from models.motion.pipeline import Motion
    from worker.pipeline.container import Encoder
    from worker.pipeline.decode import Audio
    from worker.pipeline.persons import Person
    from worker.pipeline.plan import Plan
    from worker.pipeline.progress import Progress
    from worker.pipeline.take import Frames

logger = logging.getLogger(__name__)

BATCH = 8  # frames rendered at a time


def animate(audio: Audio, plan: Plan, person: Person, progress: Progress) -> list[Motion]:
    """Sample the motion of every take; features of the audio are computed once for all."""
    samples = torch.from_numpy(audio.samples)  # [samples, 2]
    return person.models.animator.animate(samples, plan.sampling, progress=progress)


def take_of(
    motion: Motion,
    plan: Plan,
    avatar: Avatar,
    audio: Audio,
    *,
    encoder: Encoder,
    progress: Callable[[float], None],
    person: str = "",
    seed: int = 0,
) -> Take:
    """Return a take with the plan's cameras and render options. Raises: CameraError."""
    cameras = cameras_of(plan, avatar) if plan.renders else []
    render = partial(render_frames, motion, avatar, cameras, plan.options)
    return Take(motion, audio, render, encoder, progress, person, seed)


def render_frames(
    motion: Motion,
    avatar: Avatar,
    cameras: list[Camera],
    options: RenderOptions = OWN,
    *,
    batch: int = BATCH,
) -> Generator[Frames, None, None]:
    """Yield all frames in order; batches are halved until they fit into GPU memory.

    A frame is the same in any batch.
    Raises: torch.OutOfMemoryError: when a single frame does not fit.
    """
    done = 0
    while done < len(motion.face):
        face, pose = motion.face[done:], motion.pose[done:]
        try:
            batches = avatar.render(face, pose, cameras, batch=batch, options=options)
            with closing(_closable(batches)) as frames_of_batch:
                for frames in frames_of_batch:
                    yield frames
                    done += len(frames)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
            logger.warning("GPU memory is short", extra={"frame": done, "batch": batch})
        torch.cuda.empty_cache()  # outside `except`, where the error still refers to the frames


def render_progress(progress: Progress, index: int, count: int) -> Callable[[float], None]:
    """Map the progress of one of `count` takes to that of the stage "render"."""
    return lambda share: progress("render", (index + share) / count)


def _closable(frames: Iterator[Frames]) -> Generator[Frames, None, None]:
    """Cast to a generator, which every renderer returns; closing it ends its threads."""
    return cast("Generator[Frames, None, None]", frames)
