"""The work of one job: from the clip to stored outputs, with all collaborators passed in.

`visavis-server generate` uses the same pipeline without a job.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from contracts.outputs import SIDECAR_SUFFIX
from contracts.provenance import joint_digest
from jobs.model import FinishedTake, Output, merged_warnings
from jobs.persons import check_use
from jobs.request.model import motion_digest
from jobs.storage.base import content_type_of, part_key
from jobs.storage.factory import ObjectMissing
from jobs.storage.keys import attempt_key
from worker.pipeline.media.decode import decode
from worker.pipeline.media.live_file import LiveFile
from worker.pipeline.motion_file import MotionFileError, load_takes, save_takes
from worker.pipeline.plan import cast_of
from worker.pipeline.publish import consent_warnings, origin_of, shown_in, write_output
from worker.pipeline.render import TakeMaker, part_of, render_progress, sampled_motion
from worker.pipeline.user_errors import ClipMissing
from worker.process.outcomes import LeaseLost
from worker.time_left.costs import stage_costs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from contracts.outputs import Output as Kind
    from contracts.provenance import Origin
    from jobs.model import Job, JobWarning
    from jobs.request.model import JobRequest
    from worker.pipeline.media.container import Encoder
    from worker.pipeline.media.decode import Audio
    from worker.pipeline.media.watermark import Watermark
    from worker.pipeline.motion_stream import TakeMotion
    from worker.pipeline.persons import Person
    from worker.pipeline.plan import Cast, TakeFile
    from worker.pipeline.progress import Progress
    from worker.pipeline.take import Take
    from worker.process.retry import Files
    from worker.provenance.manifest import ManifestSigner
    from worker.time_left.costs import Cost

    # (number, file, its place and their number, part of the stage "render")
    MakeTake = Callable[[int, TakeFile, tuple[int, int], tuple[float, float]], Take]

logger = logging.getLogger(__name__)

SLACK_SECONDS = 1.0  # decoders differ by some samples in the length of a clip
PAGE = 500  # pieces removed at a time
MOTION_FILE = ("motion.npz", "application/octet-stream")  # motion of all takes, for later attempts


@dataclass(frozen=True)
class JobContext:
    """Collaborators of one job."""

    files: Files
    person_named: Callable[[str], Person]
    record_motion: Callable[[str, str], bool]  # (key, digest); False when the lease is lost
    record_warnings: Callable[[Sequence[JobWarning]], bool]  # all of them; False as above
    record_takes: Callable[[Sequence[FinishedTake]], bool]  # all finished takes; False as above
    record_outputs: Callable[[Sequence[Output]], bool]  # of the running job; False as above
    expect: Callable[[Mapping[str, Cost]], None]  # called when the cost of stages is known
    encoder: Encoder
    signer: ManifestSigner | None  # None: manifests are turned off
    use: str | None  # `VISAVIS_USE`
    scratch: Path  # an empty folder for this job
    watermark_of: Callable[[JobRequest, Origin], Watermark | None] = lambda request, origin: None
    record_watermark: Callable[[str], bool] = lambda watermark: True  # False as above
    # Waits until no other job of this worker renders; calls its argument meanwhile.
    turn: Callable[[Callable[[], None]], AbstractContextManager[None]] = lambda report: (
        nullcontext()
    )


def run(job: Job, context: JobContext, progress: Progress) -> list[Output]:
    """Make and store the outputs of a job; the caller publishes them.

    Raises: the user errors of `worker.pipeline.user_errors`; LeaseLost; any error of `progress`.
    """
    request = job.request
    progress("decode", 0.0)
    cast = cast_of(request, context.person_named)
    people = shown_in(cast)
    for person in people:
        check_use(person.name, person.consent, request.use, context.use)
    clips = _clips(job, context)
    origin = origin_of(cast.request, people, clips, job.id)
    watermark = context.watermark_of(request, origin)
    audio = _decoded(job, clips, context, lambda share: progress("decode", share))
    progress("decode", 1.0)
    consents = consent_warnings(person.consent for person in people)
    _record_warnings(job, (*audio.warnings, *consents), context)
    plan = cast.plan
    if watermark is not None and plan.renders and not context.record_watermark(watermark.name):
        raise LeaseLost("the lease was lost while the watermark was recorded")
    cast.check_cameras()  # an unknown view fails before sampling starts
    digest = motion_digest(request, joint_digest(person.digest for person in people))
    takes = _stored_motion(job, digest, context)
    finished = _finished_takes(job, digest, context)
    shown = [number for number in range(1, request.takes + 1) if request.shows(number)]
    done = len(finished.keys() & set(shown))
    stored = takes is not None
    plans = [each.plan for each in cast.performers]
    costs = stage_costs(plans, audio.seconds, shown=len(shown), finished=done, stored=stored)
    context.expect(costs)
    with ExitStack() as stack:
        stream = None
        if takes is None:
            store = partial(_store_motion, job, digest, context)
            stream = stack.enter_context(sampled_motion(audio, cast.performers, progress, store))
            takes, progress = stream.takes, stream.report
        maker = TakeMaker(cast, audio, context.encoder, origin, watermark)

        def take(
            number: int, file: TakeFile, part: tuple[int, int], between: tuple[float, float]
        ) -> Take:
            report = render_progress(progress, shown.index(number), len(shown), between)
            return maker.take(file, number, takes, part_of(report, *part))

        missing = [number for number in shown if number not in finished]
        with context.turn(partial(progress, "render", 0.0)):
            _make_takes(job, missing, take, finished, digest, cast, context)
        if stream is not None:
            stream.finish()
    progress("publish", 0.0)
    return [output for take in sorted(finished) for output in finished[take].outputs]


def _make_takes(
    job: Job,
    numbers: list[int],
    take: MakeTake,
    finished: dict[int, FinishedTake],
    digest: str,
    cast: Cast,
    context: JobContext,
) -> None:
    """Write the files of these takes and add them to the finished ones."""
    early: dict[int, tuple[Output, ...]] = {}
    plan, shown = cast.plan, _Shown(finished, cast, context)

    def written(
        number: int, kinds: Sequence[Kind], start: float, stop: float
    ) -> tuple[Output, ...]:
        stored: list[Output] = []
        for kind in kinds:
            files_of_take = cast.files(kind)
            for place, file in enumerate(files_of_take):
                ready = take(number, file, (place, len(files_of_take)), (start, stop))
                name = kind.file_name(number, file.role)
                stored += _write_output(job, ready, kind, name, context, shown)
        return tuple(stored)

    for number in numbers if plan.early else ():
        early[number] = written(number, plan.early, 0.0, plan.early_share)
        shown.add(*early[number])
    for number in numbers:
        late = written(number, plan.late, plan.early_share, 1.0)
        finished[number] = FinishedTake(number, digest, late + early.get(number, ()))
        _record_takes(finished, context)


def _clips(job: Job, context: JobContext) -> list[Path]:
    """Fetch the recordings."""
    clips = [context.scratch / "clip", context.scratch / "partner"]
    keys = [key for key in (job.input_key, job.partner_key) if key is not None]
    try:
        for key, path in zip(keys, clips, strict=False):
            context.files.get(key, path)
    except ObjectMissing as error:
        raise ClipMissing("the clip of this job is no longer stored; send it again") from error
    return clips[: len(keys)]


def _decoded(
    job: Job, clips: Sequence[Path], context: JobContext, progress: Callable[[float], None]
) -> Audio:
    clip, *partner = clips
    audio = decode(
        clip,
        context.scratch / "sound.f32",
        max_seconds=job.clip_seconds + SLACK_SECONDS,
        progress=progress,
        partner=partner[0] if partner else None,
        person_channel=job.request.person_channel,
        both=job.request.both,
    )
    for path in clips:
        path.unlink(missing_ok=True)
    return audio


def _record_warnings(job: Job, found: Sequence[JobWarning], context: JobContext) -> None:
    """Add the warnings of the decoder and of the consent to those of the probe."""
    warnings = merged_warnings(job.warnings, found)
    if warnings != job.warnings and not context.record_warnings(warnings):
        raise LeaseLost("the lease was lost while warnings were recorded")


def _stored_motion(job: Job, digest: str, context: JobContext) -> list[TakeMotion] | None:
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


def _store_motion(job: Job, digest: str, context: JobContext, takes: list[TakeMotion]) -> None:
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


class _Shown:
    """Outputs that are published while the job runs: early ones, and live ones as they grow."""

    def __init__(
        self, finished: Mapping[int, FinishedTake], cast: Cast, context: JobContext
    ) -> None:
        """finished: takes of earlier attempts."""
        self._record = context.record_outputs
        names = {
            kind.file_name(take, file.role) + suffix
            for kind in cast.plan.outputs
            if kind.early or kind.live
            for file in cast.files(kind)
            for take in finished
            for suffix in ("", SIDECAR_SUFFIX)
        }
        outputs = (output for number in sorted(finished) for output in finished[number].outputs)
        self._outputs = {output.name: output for output in outputs if output.name in names}

    def add(self, *outputs: Output) -> None:
        """Publish outputs, or their next state. Raises: LeaseLost."""
        self._outputs |= {output.name: output for output in outputs}
        if not self._record(list(self._outputs.values())):
            raise LeaseLost("the lease was lost while outputs were published")


def _write_output(
    job: Job, take: Take, output: Kind, name: str, context: JobContext, shown: _Shown
) -> list[Output]:
    """Write and store one file of a take, and the manifest beside it."""
    path = context.scratch / name
    pieces = _Pieces(job, output, name, context, shown) if output.live else None
    kind = pieces.followed if pieces else output
    stored = []
    for file in write_output(kind, take, path, context.signer):
        content_type = output.content_type if file == path else content_type_of(file.name)
        stored.append(_store(job, file, content_type, context))
        file.unlink()
    if pieces:
        pieces.replace_by(stored)
    return stored


class _Pieces:
    """Pieces of a live output, stored and published while its file grows."""

    def __init__(
        self, job: Job, output: Kind, name: str, context: JobContext, shown: _Shown
    ) -> None:
        self._output, self._name, self._shown = output, name, shown
        self._files = context.files
        self._key = attempt_key(job.id, job.attempt, name)
        self._count = 0

    @property
    def followed(self) -> Kind:
        """The kind of output whose file is followed while it is written."""
        return replace(self._output, write=self._write)

    def replace_by(self, outputs: Sequence[Output]) -> None:
        """Publish the complete file, then remove its pieces: readers continue with the file."""
        self._shown.add(*outputs)
        keys = [part_key(self._key, number) for number in range(1, self._count + 1)]
        for start in range(0, len(keys), PAGE):
            self._files.remove(keys[start : start + PAGE])

    def _write(self, take: Take, path: Path) -> None:
        growing = LiveFile(path, self._publish)

        def progress(share: float) -> None:
            take.progress(share)
            growing.follow()

        self._output.write(replace(take, progress=progress), path)

    def _publish(self, piece: Path, number: int, size: int) -> None:
        key = part_key(self._key, number)
        self._files.put(key, piece, content_type_of(key))
        self._count = number
        kind = self._output.content_type
        self._shown.add(Output(self._name, self._key, kind, size, pieces=number))


def _store(job: Job, path: Path, content_type: str, context: JobContext) -> Output:
    key = attempt_key(job.id, job.attempt, path.name)
    context.files.put(key, path, content_type)
    return Output(path.name, key, content_type, path.stat().st_size)
