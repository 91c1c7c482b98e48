"""The work of one job: from the clip to stored outputs, with all collaborators passed in.

`visavis-server generate` uses the same pipeline without a job.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.model import FinishedTake, Output, merged_warnings
from jobs.request.model import motion_digest
from jobs.storage.factory import ObjectMissing
from jobs.storage.keys import attempt_key
from worker.pipeline.decode import decode
from worker.pipeline.motion_file import MotionFileError, load_takes, save_takes
from worker.pipeline.plan import Plan, cameras_of, plan_of
from worker.pipeline.render import animate, render_progress, take_of
from worker.pipeline.user_errors import ClipMissing
from worker.process.outcomes import LeaseLost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from jobs.model import Job, JobWarning
    from models.motion.pipeline import Motion
    from worker.pipeline.container import Encoder
    from worker.pipeline.decode import Audio
    from worker.pipeline.persons import Person
    from worker.pipeline.progress import Progress
    from worker.pipeline.take import Take
    from worker.process.retry import Files

logger = logging.getLogger(__name__)

SLACK_SECONDS = 1.0  # decoders differ by some samples in the length of a clip
MOTION_FILE = ("motion.npz", "application/octet-stream")  # motion of all takes, for later attempts


@dataclass(frozen=True)
class JobContext:
    """Collaborators of one job."""

    files: Files
    person_named: Callable[[str], Person]
    record_motion: Callable[[str, str], bool]  # (key, digest); False when the lease is lost
    record_warnings: Callable[[Sequence[JobWarning]], bool]  # all of them; False as above
    record_takes: Callable[[Sequence[FinishedTake]], bool]  # all finished takes; False as above
    encoder: Encoder
    scratch: Path  # an empty folder for this job


def run(job: Job, context: JobContext, progress: Progress) -> list[Output]:
    """Make and store the outputs of a job; the caller publishes them.

    Raises: the user errors of `worker.pipeline.user_errors`; LeaseLost; any error of `progress`.
    """
    request = job.request
    progress("decode", 0.0)
    person = context.person_named(request.person)
    audio = _decoded(job, context, lambda share: progress("decode", share))
    progress("decode", 1.0)
    _record_warnings(job, audio, context)
    plan = plan_of(request, person.defaults)
    if plan.renders:
        cameras_of(plan, person.models.avatar)  # an unknown view fails before sampling starts
    digest = motion_digest(request, person.digest)
    takes = _stored_motion(job, digest, context)
    if takes is None:
        takes = animate(audio, plan, person, progress)
        _store_motion(job, takes, digest, context)
    finished = _finished_takes(job, digest, context)
    shown = [index for index in range(len(takes)) if request.shows(index + 1)]
    for done, index in enumerate(shown):
        if index + 1 not in finished:
            take = take_of(
                takes[index],
                plan,
                person.models.avatar,
                audio,
                encoder=context.encoder,
                progress=render_progress(progress, done, len(shown)),
                person=person.name,
                seed=plan.sampling.seeds[index],
            )
            outputs = _write_outputs(job, index + 1, take, plan, context)
            finished[index + 1] = FinishedTake(index + 1, digest, outputs)
            _record_takes(finished, context)
    progress("publish", 0.0)
    return [output for take in sorted(finished) for output in finished[take].outputs]


def _decoded(job: Job, context: JobContext, progress: Callable[[float], None]) -> Audio:
    clips = [context.scratch / "clip", context.scratch / "partner"]
    keys = [key for key in (job.input_key, job.partner_key) if key is not None]
    try:
        for key, path in zip(keys, clips, strict=False):
            context.files.get(key, path)
    except ObjectMissing as error:
        raise ClipMissing("the clip of this job is no longer stored; send it again") from error
    clip, partner = clips
    audio = decode(
        clip,
        context.scratch / "sound.f32",
        max_seconds=job.clip_seconds + SLACK_SECONDS,
        progress=progress,
        partner=None if job.partner_key is None else partner,
        person_channel=job.request.person_channel,
    )
    for path in clips:
        path.unlink(missing_ok=True)
    return audio


def _record_warnings(job: Job, audio: Audio, context: JobContext) -> None:
    """Add the warnings of the decoder to those of the probe."""
    warnings = merged_warnings(job.warnings, audio.warnings)
    if warnings != job.warnings and not context.record_warnings(warnings):
        raise LeaseLost("the lease was lost while warnings were recorded")


def _stored_motion(job: Job, digest: str, context: JobContext) -> list[Motion] | None:
    """Return the motion of an earlier attempt with the same digest, if it is readable."""
    if job.motion_key is None or job.motion_digest != digest:
        return None
    path = context.scratch / "stored.npz"
    try:
        context.files.get(job.motion_key, path)
        takes = load_takes(path)
    except (ObjectMissing, MotionFileError) as error:
        logger.warning("kept motion is of no use", extra={"reason": str(error)})
        return None
    logger.info("motion of an earlier attempt", extra={"key": job.motion_key})
    return takes


def _store_motion(job: Job, takes: list[Motion], digest: str, context: JobContext) -> None:
    name, content_type = MOTION_FILE
    path = context.scratch / name
    save_takes(path, takes)
    stored = _store(job, path, content_type, context)
    if not context.record_motion(stored.key, digest):
        raise LeaseLost("the lease was lost while motion was stored")
    path.unlink()


def _finished_takes(job: Job, digest: str, context: JobContext) -> dict[int, FinishedTake]:
    """Return the finished takes of earlier attempts, by number, whose files are complete."""
    recorded = [take for take in job.finished_takes if take.digest == digest]
    intact = {
        take.take: take for take in recorded if all(_intact(o, context) for o in take.outputs)
    }
    if intact:
        logger.info("takes of an earlier attempt", extra={"takes": sorted(intact)})
    return intact


def _intact(output: Output, context: JobContext) -> bool:
    try:
        return context.files.stat(output.key).bytes == output.bytes
    except ObjectMissing:
        return False


def _record_takes(finished: dict[int, FinishedTake], context: JobContext) -> None:
    if not context.record_takes(list(finished.values())):
        raise LeaseLost("the lease was lost while finished takes were recorded")


def _write_outputs(
    job: Job, number: int, take: Take, plan: Plan, context: JobContext
) -> tuple[Output, ...]:
    """Write and store the files of one take, one on disk at a time."""
    outputs = []
    for output in plan.outputs:
        path = context.scratch / output.file_name(number)
        output.write(take, path)
        outputs.append(_store(job, path, output.content_type, context))
        path.unlink()
    return tuple(outputs)


def _store(job: Job, path: Path, content_type: str, context: JobContext) -> Output:
    key = attempt_key(job.id, job.attempt, path.name)
    context.files.put(key, path, content_type)
    return Output(path.name, key, content_type, path.stat().st_size)
