"""The work of one job, as a function with its collaborators handed in.

`run` is what the worker does; its parts `animate` and `film` are what `visavis-server generate`
does without any server.
"""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar, cast

import torch

from jobs.job import FinishedTake, Output, attempt_key
from jobs.request import (
    SUFFIXES,
    TRANSPARENT,
    check_samples,
    check_width,
    motion_digest,
    parse_colour,
    parse_size,
)
from jobs.storage import CONTENT_TYPES, ObjectMissing
from models.avatar import OWN, Look
from models.motion.animate import Sampling, take_seed
from worker.archive import ArchiveError, load_takes, save_output, save_takes
from worker.audio import decode
from worker.pictures import write_pictures
from worker.progress import LeaseLost
from worker.refusals import ClipMissing
from worker.video import FORMS, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from jobs.job import Job
    from jobs.people import PersonDefaults
    from jobs.request import Format, GenerateRequest
    from models.avatar import Camera
    from models.motion.animate import Motion
    from worker.audio import Sound
    from worker.patience import Files
    from worker.people import Person, Renders
    from worker.progress import Progress
    from worker.video import Encoder, Frames

logger = logging.getLogger(__name__)

T = TypeVar("T")

BATCH = 8  # frames that are painted at a time
SLACK_SECONDS = 1.0  # decoders differ by some samples in how long a clip is


@dataclass(frozen=True)
class Plan:
    """A request with the person's own defaults in the places that were left empty."""

    sampling: Sampling
    width: int  # of each view
    height: int
    views: tuple[str, ...]  # empty: the first camera
    look: Look
    format: Format


@dataclass(frozen=True)
class Workshop:
    """What the work of a job needs."""

    files: Files
    person_named: Callable[[str], Person]
    keep_motion: Callable[[str, str], bool]  # (key, digest): False when the job is not ours
    keep_takes: Callable[[Sequence[FinishedTake]], bool]  # all that are finished; False as above
    encoder: Encoder
    scratch: Path  # an empty folder, for this job


def run(job: Job, workshop: Workshop, progress: Progress) -> list[Output]:
    """Everything from the clip to stored outputs; nothing is published by it.

    Raises what `worker.refusals` knows where the job cannot be done, and what `progress` raises.
    """
    request = job.request
    progress("decode", 0.0)
    person = workshop.person_named(request.person)
    sound = _decoded(job, workshop, lambda share: progress("decode", share))
    progress("decode", 1.0)
    plan = plan_of(request, person.defaults)
    if "video" in request.outputs:
        cameras_of(
            plan, person.models.avatar
        )  # what cannot be shown is told before anything is drawn
    digest = motion_digest(request, person.digest)
    takes = _kept_motion(job, digest, workshop)
    if takes is None:
        takes = animate(sound, plan, person, progress)
        _keep_motion(job, takes, digest, workshop)
    finished = _kept_takes(job, digest, workshop)
    shown = [index for index in range(len(takes)) if request.shows(index + 1)]
    for done, index in enumerate(shown):
        if index + 1 not in finished:
            told = rendering(progress, done, len(shown))
            outputs = _outputs(job, index, takes[index], plan, person, sound, workshop, told)
            finished[index + 1] = FinishedTake(index + 1, digest, outputs)
            _keep_takes(finished, workshop)
    progress("publish", 0.0)
    return [output for take in sorted(finished) for output in finished[take].outputs]


def plan_of(request: GenerateRequest, defaults: PersonDefaults) -> Plan:
    """What to make; the request's seed is set: see `GenerateRequest.seeded`.

    Raises SizeUnsupported where the views are too wide together.
    """
    assert request.seed is not None
    size, views = request.size or defaults.size, request.views or defaults.views or ()
    check_width(size, views)
    check_samples(size, request.supersampling)
    width, height = parse_size(size)
    sampling = Sampling(
        seeds=tuple(take_seed(request.seed, take) for take in range(1, request.takes + 1)),
        steps=_given(request.steps, defaults.steps),
        guidance_face=_given(request.guidance_face, defaults.guidance_face),
        guidance_body=_given(request.guidance_body, defaults.guidance_body),
        diversity=_given(request.diversity, defaults.diversity),
    )
    return Plan(sampling, width, height, views, look_of(request), request.format)


def look_of(request: GenerateRequest) -> Look:
    """What is behind the person, and how finely edges are drawn."""
    behind = request.behind
    colour = None if behind in (None, TRANSPARENT) else parse_colour(behind)
    return Look("transparent" if behind == TRANSPARENT else colour, request.supersampling)


def cameras_of(plan: Plan, avatar: Renders) -> list[Camera]:
    """The avatar's cameras for every view, from left to right. Raises CameraError."""
    names = plan.views or (None,)
    return [avatar.camera(name).resized(plan.width, plan.height) for name in names]


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
    look: Look = OWN,
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


def _decoded(job: Job, workshop: Workshop, progress: Callable[[float], None]) -> Sound:
    clip = workshop.scratch / "clip"
    try:
        workshop.files.get(job.input_key, clip)
    except ObjectMissing as error:
        raise ClipMissing("the clip of this job is no longer stored; send it again") from error
    longest = job.clip_seconds + SLACK_SECONDS
    sound = decode(clip, workshop.scratch / "sound.f32", max_seconds=longest, progress=progress)
    clip.unlink()
    return sound


def _kept_motion(job: Job, digest: str, workshop: Workshop) -> list[Motion] | None:
    """Motion of an earlier attempt, when it is what this one would draw."""
    if job.motion_key is None or job.motion_digest != digest:
        return None
    path = workshop.scratch / "kept.npz"
    try:
        workshop.files.get(job.motion_key, path)
        takes = load_takes(path)
    except (ObjectMissing, ArchiveError) as error:
        logger.warning("kept motion is of no use", extra={"reason": str(error)})
        return None
    logger.info("motion of an earlier attempt", extra={"key": job.motion_key})
    return takes


def _keep_motion(job: Job, takes: list[Motion], digest: str, workshop: Workshop) -> None:
    path = workshop.scratch / "motion.npz"
    save_takes(path, takes)
    stored = _stored(job, path, workshop)
    if not workshop.keep_motion(stored.key, digest):
        raise LeaseLost("the job was taken away while its motion was kept")
    path.unlink()


def _kept_takes(job: Job, digest: str, workshop: Workshop) -> dict[int, FinishedTake]:
    """Takes that an earlier attempt has finished, by number, where their files are still whole."""
    kept = [take for take in job.finished_takes if take.digest == digest]
    whole = {take.take: take for take in kept if all(_whole(o, workshop) for o in take.outputs)}
    if whole:
        logger.info("takes of an earlier attempt", extra={"takes": sorted(whole)})
    return whole


def _whole(output: Output, workshop: Workshop) -> bool:
    try:
        return workshop.files.stat(output.key).bytes == output.bytes
    except ObjectMissing:
        return False


def _keep_takes(finished: dict[int, FinishedTake], workshop: Workshop) -> None:
    if not workshop.keep_takes(list(finished.values())):
        raise LeaseLost("the job was taken away while its takes were kept")


def _outputs(
    job: Job,
    index: int,
    motion: Motion,
    plan: Plan,
    person: Person,
    sound: Sound,
    workshop: Workshop,
    progress: Callable[[float], None],
) -> tuple[Output, ...]:
    """Make and store the files of one take in turn, so that the disk holds one at a time."""
    outputs = []
    if "video" in job.request.outputs:
        path = workshop.scratch / f"take-{index + 1}{SUFFIXES[plan.format]}"
        avatar, encoder = person.models.avatar, workshop.encoder
        film(motion, plan, avatar, sound, path, encoder=encoder, progress=progress)
        outputs.append(_stored(job, path, workshop))
        path.unlink()
    if "motion" in job.request.outputs:
        path = workshop.scratch / f"motion-{index + 1}.npz"
        save_output(path, motion, person=person.name, seed=plan.sampling.seeds[index])
        outputs.append(_stored(job, path, workshop))
        path.unlink()
    return tuple(outputs)


def _stored(job: Job, path: Path, workshop: Workshop) -> Output:
    key = attempt_key(job.id, job.attempt, path.name)
    content_type = CONTENT_TYPES[path.suffix]
    workshop.files.put(key, path, content_type)
    return Output(path.name, key, content_type, path.stat().st_size)


def _given(value: T | None, default: T) -> T:
    return default if value is None else value


def _closable(frames: Iterator[Frames]) -> Generator[Frames, None, None]:
    """Every renderer's iterator is a generator, whose threads end when it is closed."""
    return cast("Generator[Frames, None, None]", frames)
