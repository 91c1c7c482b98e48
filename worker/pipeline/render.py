"""Motion of every take, and the frames of a take in batches that fit into memory."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from jobs.telemetry.metrics import FRAMES, FRAMES_PER_SECOND
from jobs.telemetry.prometheus import count, put
from models.avatar.appearance import OWN, TRANSPARENT, RenderOptions
from models.avatar.camera import SMALLEST
from models.motion.pipeline import SAMPLES_PER_FRAME, Motion
from worker.pipeline.motion_stream import MotionStream, TakeMotion
from worker.pipeline.plan import cameras_of
from worker.pipeline.take import Take

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from torch import Tensor

    from contracts.provenance import Origin
    from models.avatar.avatar import Avatar
    from models.avatar.camera import Camera
    from worker.pipeline.media.container import Encoder
    from worker.pipeline.media.decode import Audio
    from worker.pipeline.media.watermark import Watermark
    from worker.pipeline.plan import Cast, Performer, Plan, TakeFile
    from worker.pipeline.progress import Progress
    from worker.pipeline.take import Frames

    Render = Callable[[], Generator[Frames, None, None]]

logger = logging.getLogger(__name__)

BATCH = 8  # frames rendered at a time
PREVIEW_PIXELS = 320  # the longer side of a preview
PREVIEW_STEP = 2  # a preview has every second frame
PREVIEW_RATE = 30 // PREVIEW_STEP


def sampled_motion(
    audio: Audio,
    performers: Sequence[Performer],
    progress: Progress,
    on_complete: Callable[[list[TakeMotion]], None] = lambda takes: None,
) -> MotionStream:
    """Return the motion of every take of each performer, sampled in a thread while it is open, in
    files beside the audio; features of the audio are computed once for all takes.
    """
    frames = -(-len(audio.samples) // SAMPLES_PER_FRAME)
    animators = [each.person.models.animator for each in performers]
    count = sum(
        animator.count_parts(frames, each.plan.sampling)
        for animator, each in zip(animators, performers, strict=True)
    )

    def sources(report: Progress) -> list[Iterator[list[Motion]]]:
        parted = PartProgress(report, count)
        return [
            parted.counted(
                animator.stream(_heard(audio, each), each.plan.sampling, progress=parted)
            )
            for animator, each in zip(animators, performers, strict=True)
        ]

    return MotionStream(
        sources,
        audio.path.parent,
        frames=frames,
        takes=len(performers[0].plan.sampling.seeds),
        performers=len(performers),
        progress=progress,
        on_complete=on_complete,
    )


def _heard(audio: Audio, performer: Performer) -> Iterator[Tensor]:
    """Yield the audio in chunks [n, 2], the voice of the performer first."""
    for chunk in audio.chunks():
        own = chunk[:, ::-1].copy() if performer.swapped else chunk
        yield torch.from_numpy(own)


class PartProgress:
    """Progress of motion that is sampled in parts: that of a stage is over all parts of all
    performers.
    """

    def __init__(self, progress: Progress, parts: int) -> None:
        self._progress, self._parts, self._done = progress, parts, 0

    def __call__(self, stage: str, share: float) -> None:
        self._progress(stage, min(1.0, (self._done + share) / self._parts))

    def counted(self, parts: Iterable[list[Motion]]) -> Iterator[list[Motion]]:
        """Yield the parts, and count them."""
        for part in parts:
            self._done += 1
            yield part


@dataclass(frozen=True)
class Shot:
    """One person in a take: motion, and how it is drawn."""

    motion: TakeMotion
    plan: Plan
    avatar: Avatar
    person: str = ""
    seed: int = 0

    def cameras(self) -> list[Camera]:
        """Return the cameras, from left to right; none without pictures. Raises: CameraError."""
        return cameras_of(self.plan, self.avatar) if self.plan.renders else []


@dataclass(frozen=True)
class TakeMaker:
    """Source of the takes of a job, each for one file.

    watermark: of frames and audio; motion has none.
    """

    cast: Cast
    audio: Audio
    encoder: Encoder
    origin: Origin
    watermark: Watermark | None

    def take(
        self,
        file: TakeFile,
        number: int,
        motions: Sequence[TakeMotion],
        progress: Callable[[float], None],
    ) -> Take:
        """Return take `number`, from 1, of the performers of a file. Raises: CameraError.

        motions: all takes of the first performer, then those of the next.
        """
        own = motions[number - 1 :: self.cast.request.takes]  # of each performer
        shots = []
        for place in file.places:
            performer = self.cast.performers[place]
            plan, person = performer.plan, performer.person
            seed = plan.sampling.seeds[number - 1]
            shots.append(Shot(own[place], plan, person.models.avatar, person.name, seed))
        return take_of(
            shots,
            self._marked_audio,
            encoder=self.encoder,
            progress=progress,
            origin=self.origin.showing(file.places),
            watermark=self.watermark,
        )

    @cached_property
    def _marked_audio(self) -> Audio:
        if self.watermark is None or not self.cast.plan.renders:
            return self.audio
        return self.watermark.audio(self.audio)


def take_of(
    shots: Sequence[Shot],
    audio: Audio,
    *,
    encoder: Encoder,
    progress: Callable[[float], None],
    origin: Origin | None = None,
    watermark: Watermark | None = None,
) -> Take:
    """Return a take of some persons side by side, with cameras and render options of their plans.

    audio: with the watermark, if there is one. watermark: of its frames. Raises: CameraError.
    """
    first = shots[0]
    cameras = [shot.cameras() for shot in shots]
    pairs = list(zip(shots, cameras, strict=True))
    render: Render = partial(
        side_by_side, [partial(_counted, shot, views) for shot, views in pairs]
    )
    preview: Render = partial(
        side_by_side, [partial(render_preview, shot, views[:1]) for shot, views in pairs]
    )
    marks = watermark is not None and first.plan.renders
    if watermark is not None and marks:
        render, preview = _marked(watermark, render), _marked(watermark, preview)
    return Take(
        first.motion,
        audio,
        render,
        encoder,
        progress,
        first.person,
        first.seed,
        avatar=first.avatar,
        options=first.plan.options,
        preview=preview,
        origin=origin,
        watermark=watermark.name if watermark is not None and marks else None,
        seeds=tuple(shot.seed for shot in shots),
    )


def side_by_side(renders: Sequence[Render]) -> Generator[Frames, None, None]:
    """Yield the frames of several persons beside each other, [N, H, sum of W, C].

    Memory is that of one batch of each. Their batches may differ in length.
    """
    if len(renders) == 1:
        yield from renders[0]()
        return
    with ExitStack() as stack:
        streams = [stack.enter_context(closing(render())) for render in renders]
        waiting: list[Frames | None] = [next(stream, None) for stream in streams]
        while all(each is not None for each in waiting):
            batches = [each for each in waiting if each is not None]
            count = min(map(len, batches))
            yield np.concatenate([each[:count] for each in batches], axis=2)
            waiting = [
                each[count:] if len(each) > count else next(stream, None)
                for stream, each in zip(streams, batches, strict=True)
            ]


def render_frames(
    motion: TakeMotion,
    avatar: Avatar,
    cameras: list[Camera],
    options: RenderOptions = OWN,
    *,
    batch: int = BATCH,
) -> Generator[Frames, None, None]:
    """Yield all frames in order, each once its motion exists.

    Batches are halved until they fit into GPU memory.

    A frame is the same in any batch.
    Raises: torch.OutOfMemoryError: when a single frame does not fit.
    """
    done = 0
    while done < motion.frames:
        span = motion.span(done)
        try:
            batches = avatar.render(span.face, span.pose, cameras, batch=batch, options=options)
            with closing(_closable(batches)) as frames_of_batch:
                for frames in frames_of_batch:
                    yield frames
                    done += len(frames)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
            logger.warning("GPU memory is short", extra={"frame": done, "batch": batch})
        else:
            continue
        torch.cuda.empty_cache()  # outside `except`, where the error still refers to the frames


def _counted(shot: Shot, cameras: list[Camera]) -> Generator[Frames, None, None]:
    """Yield all frames, and count them in the metrics of the process."""
    began, done = time.monotonic(), 0
    with closing(render_frames(shot.motion, shot.avatar, cameras, shot.plan.options)) as batches:
        for frames in batches:
            count(FRAMES, len(frames), person=shot.person)
            done += len(frames)
            yield frames
    if done and (seconds := time.monotonic() - began) > 0:
        put(FRAMES_PER_SECOND, done / seconds, person=shot.person)


def _marked(watermark: Watermark, render: Render) -> Render:
    return lambda: watermark.frames(render())


def render_preview(shot: Shot, cameras: list[Camera]) -> Generator[Frames, None, None]:
    """Yield small frames of the first view, `PREVIEW_RATE` a second, one sample a pixel."""
    options = shot.plan.options
    background = None if options.background == TRANSPARENT else options.background
    small = [camera.resized(*_preview_size(camera)) for camera in cameras]
    return render_frames(
        shot.motion.every(PREVIEW_STEP),
        shot.avatar,
        small,
        replace(options, samples=1, background=background, clay=True),
    )


def render_progress(
    progress: Progress, index: int, count: int, between: tuple[float, float] = (0.0, 1.0)
) -> Callable[[float], None]:
    """Map the progress of one of `count` takes to a part of the stage "render"."""
    first, last = between
    return lambda share: progress("render", first + (last - first) * (index + share) / count)


def part_of(progress: Callable[[float], None], index: int, count: int) -> Callable[[float], None]:
    """Map the progress of one of `count` files to that of their take."""
    return lambda share: progress((index + share) / count)


def _preview_size(camera: Camera) -> tuple[int, int]:
    """Return even sides of the camera's shape, the longer one at most `PREVIEW_PIXELS`."""
    scale = min(1.0, PREVIEW_PIXELS / max(camera.width, camera.height))
    sides = (2 * round(side * scale / 2) for side in (camera.width, camera.height))
    width, height = (max(SMALLEST, side) for side in sides)
    return width, height


def _closable(frames: Iterator[Frames]) -> Generator[Frames, None, None]:
    """Cast to a generator, which every renderer returns; closing it ends its threads."""
    return cast("Generator[Frames, None, None]", frames)
