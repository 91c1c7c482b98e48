"""Motion of every take, and its frames written to a file."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch

from models.avatar.appearance import OWN, RenderOptions
from worker.pipeline.encode import FORMS, encode
from worker.pipeline.plan import cameras_of
from worker.pipeline.png_zip import write_pictures

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

    from jobs.request import Format
    from models.avatar.camera import Camera
    from models.motion.pipeline import Motion
    from worker.pipeline.decode import Sound
    from worker.pipeline.encode import Encoder, Frames
    from worker.pipeline.persons import Person, Renders
    from worker.pipeline.plan import Plan
    from worker.pipeline.progress import Progress

logger = logging.getLogger(__name__)

BATCH = 8  # frames that are painted at a time


def animate(sound: Sound, plan: Plan, person: Person, progress: Progress) -> list[Motion]:
    """Motion for every take; features of the sound are made once for all of them."""
    audio = torch.from_numpy(sound.samples)  # [samples, 2]
    return person.models.animator.animate(audio, plan.sampling, progress=progress)


def film(
    motion: Motion,
    plan: Plan,
    avatar: Renders,
    sound: Sound,
    video: Path,
    *,
    encoder: Encoder,
    progress: Callable[[float], None],
) -> None:
    """Paint the motion and write it with its sound to `video`. progress: told 0..1.

    encoder: of MP4s; other formats have one of their own.
    """
    frames = painted(motion, avatar, cameras_of(plan, avatar), plan.look)
    total = len(motion.face)
    with closing(frames) as batches:  # at once, not when the garbage is collected
        write(batches, sound, video, plan.format, encoder, lambda done: progress(done / total))


def write(
    batches: Iterable[Frames],
    sound: Sound,
    video: Path,
    format: Format,
    encoder: Encoder,
    progress: Callable[[int], None],
) -> None:
    """The frames with their sound in a format. progress: told how many frames are written."""
    if format == "png":
        write_pictures(batches, sound, video, progress=progress)
        return
    form = FORMS[format]
    if format == "mp4":
        form = replace(form, encoder=encoder)
    encode(batches, sound, video, form=form, progress=progress)


def painted(
    motion: Motion,
    avatar: Renders,
    cameras: list[Camera],
    look: RenderOptions = OWN,
    *,
    batch: int = BATCH,
) -> Generator[Frames, None, None]:
    """All frames in order, in batches that a GPU's memory holds: halved until they fit.

    A frame is the same in any batch. torch.OutOfMemoryError where it does not hold a single one.
    """
    done = 0
    while done < len(motion.face):
        face, pose = motion.face[done:], motion.pose[done:]
        try:
            rendered = avatar.render(face, pose, cameras, batch=batch, look=look)
            with closing(_closable(rendered)) as batches:
                for frames in batches:
                    yield frames
                    done += len(frames)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
            logger.warning("GPU memory is short", extra={"frame": done, "batch": batch})
        torch.cuda.empty_cache()  # here, where the error no longer holds what was painted


def rendering(progress: Progress, index: int, count: int) -> Callable[[float], None]:
    """Progress within one of `count` takes, as progress of the stage that renders all of them."""
    return lambda part: progress("render", (index + part) / count)


def _closable(frames: Iterator[Frames]) -> Generator[Frames, None, None]:
    """Every renderer's iterator is a generator, whose threads end when it is closed."""
    return cast("Generator[Frames, None, None]", frames)
