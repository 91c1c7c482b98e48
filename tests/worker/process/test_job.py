"""One job from its claim to its published outputs, with fake collaborators."""

import errno
import io
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from sqlalchemy.exc import OperationalError
from torch import Tensor

from contracts.provenance import joint_digest
from jobs.database import Database
from jobs.db.engine import writing
from jobs.db.tables import jobs
from jobs.model import Job, JobWarning, NewJob, State, StoredMotion, new_job_id, utc_now
from jobs.request.model import motion_digest
from jobs.request.values import partner_seed
from jobs.sandbox.audio_formats import MediaError
from jobs.storage.factory import StorageFull
from models.avatar.appearance import RenderOptions
from models.avatar.camera import CameraError
from models.motion.pipeline import Motion, Sampling, take_seed
from tests.audio_clips import write_clip
from tests.worker.conftest import Submit, end_pauses
from tests.worker.fakes import FakeAnimator, FakeAvatar, InMemoryStorage, fake_person
from tests.worker.pipeline.media.test_decode import write_wav
from worker.pipeline.media.container import X264
from worker.pipeline.media.decode import Audio, decode
from worker.pipeline.motion_stream import TakeMotion
from worker.pipeline.persons import Models, Person, PersonUnknown
from worker.pipeline.progress import Progress
from worker.pipeline.render import render_frames
from worker.process.attempt import attempt
from worker.process.faults.failures import FULL_MOST, UNKNOWN_MOST
from worker.process.faults.health import Obstacle
from worker.process.job import JobContext, run
from worker.process.outcomes import AttemptOutcome, ShutdownRequested
from worker.process.progress import Reporter, StopRequest
from worker.process.retry import READ_TRIES, RetryingStorage

if TYPE_CHECKING:
    from worker.provenance.manifest import ManifestSigner

pytestmark = pytest.mark.usefixtures("decoder_in_process")


class FakeWorker:
    """Run queued jobs with fakes, like `worker.process.worker_loop.WorkerContext`."""

    def __init__(self, database: Database, storage: InMemoryStorage, scratch: Path) -> None:
        self.database, self.storage, self.scratch = database, storage, scratch
        self.animator = FakeAnimator()
        self.person = fake_person(self.animator)
        self.signer: ManifestSigner | None = None
        self.stop = StopRequest()
        self.obstacle: Obstacle | None = None
        self.stages: list[str] = []
        self.at_stage: dict[str, Callable[[], None]] = {}  # called once when the stage begins

    def work(self) -> AttemptOutcome:
        end_pauses(self.database)
        job = self.database.attempts.claim("tester")
        assert job is not None
        return attempt(
            job,
            self._work,
            store=self.database.attempts,
            stop=self.stop,
            obstacle=lambda: self.obstacle,
        )

    def person_named(self, name: str) -> Person:
        if name != self.person.name:
            raise PersonUnknown(f"unknown person {name!r}; available: {self.person.name}")
        return self.person

    def _work(self, job: Job, report: Reporter) -> list:
        def progress(stage: str, fraction: float) -> None:
            if stage not in self.stages:
                self.stages.append(stage)
                self.at_stage.pop(stage, lambda: None)()
            report(stage, fraction)

        record = partial(self.database.attempts.record_motion, job.id, job.attempt)
        context = JobContext(
            files=RetryingStorage(self.storage, lambda seconds: report.check()),
            person_named=self.person_named,
            record_motion=lambda key, digest: record(motion_key=key, digest=digest),
            record_warnings=partial(self.database.attempts.record_warnings, job.id, job.attempt),
            record_takes=partial(self.database.attempts.record_takes, job.id, job.attempt),
            record_outputs=partial(self.database.attempts.record_outputs, job.id, job.attempt),
            expect=lambda costs: report.time_left.expect(costs, {}),
            encoder=X264,
            signer=self.signer,
            use=None,
            scratch=self.scratch,
        )
        return run(job, context, progress)


@pytest.fixture
def worker(database: Database, storage: InMemoryStorage, tmp_path: Path) -> FakeWorker:
    (tmp_path / "scratch").mkdir()
    return FakeWorker(database, storage, tmp_path / "scratch")


def arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.mark.usefixtures("decoder_child")
def test_a_successful_job_publishes_its_videos(worker: FakeWorker, submit: Submit) -> None:
    job_id = submit(seconds=0.5, takes=2).id

    assert worker.work() is AttemptOutcome.PUBLISHED

    job = worker.database.jobs.get(job_id)
    assert (job.state, job.progress, job.attempt) == (State.SUCCEEDED, 1.0, 1)
    assert [output.name for output in job.outputs] == ["take-1.mp4", "take-2.mp4"]
    for output in job.outputs:
        assert output.key == f"jobs/{job_id}/attempt-1/{output.name}"
        assert output.bytes == len(worker.storage.objects[output.key])
        with av.open(io.BytesIO(worker.storage.objects[output.key])) as video:
            assert video.streams.video[0].frames == 15
            assert (video.streams.video[0].width, video.streams.video[0].height) == (64, 64)
    assert worker.stages == ["decode", "speech", "face", "guide", "body", "render", "publish"]
    assert list(worker.scratch.glob("*.mp4")) == []


def test_a_later_attempt_uses_the_motion_of_both_people(worker: FakeWorker, submit: Submit) -> None:
    outputs = ["video", "motion", "preview"]
    job_id = submit(takes=2, both=True, layout="files", outputs=outputs).id
    worker.at_stage["publish"] = worker.stop.request
    assert worker.work() is AttemptOutcome.HANDED_BACK
    worker.stop = StopRequest()
    job = worker.database.jobs.get(job_id)
    with writing(worker.database.engine) as connection:
        connection.execute(jobs.update().values(finished_takes=[]))
    sampled = len(worker.animator.calls)

    assert worker.work() is AttemptOutcome.PUBLISHED

    done = worker.database.jobs.get(job_id)
    names = ["take-1.mp4", "take-1-partner.mp4", "motion-1.npz", "motion-1-partner.npz"]
    previews = ["preview-1.mp4", "preview-1-partner.mp4"]
    assert [output.name for output in done.outputs][:6] == names + previews
    assert len(done.outputs) == 12
    assert (sampled, len(worker.animator.calls)) == (2, 2)
    assert job.motion_digest == motion_digest(job.request, joint_digest([worker.person.digest] * 2))
    first, partner = (call.seeds for call in worker.animator.calls)
    assert partner == tuple(take_seed(partner_seed(7), take) for take in (1, 2))
    assert first == tuple(take_seed(7, take) for take in (1, 2))


def test_identical_channels_are_no_two_people_and_a_silent_one_listens(
    worker: FakeWorker, submit: Submit, tmp_path: Path
) -> None:
    voice = (0.3 * np.sin(np.arange(9600) / 30)).astype(np.float32)[:, None]
    same = write_wav(tmp_path / "same.wav", np.repeat(voice, 2, axis=1)).read_bytes()
    refused = submit(both=True, clip=same).id
    listening = submit(both=True, clip=write_wav(tmp_path / "one.wav", voice).read_bytes()).id

    assert [worker.work(), worker.work()] == [AttemptOutcome.USER_ERROR, AttemptOutcome.PUBLISHED]

    job = worker.database.jobs.get(refused)
    assert (job.state, job.error_code) == (State.FAILED, "audio_channels")
    warnings = worker.database.jobs.get(listening).warnings
    assert [warning.code for warning in warnings] == ["partner_silent"]


def test_a_live_output_is_published_while_it_grows_and_leaves_one_file(
    worker: FakeWorker, submit: Submit
) -> None:
    job_id = submit(seconds=3.0, takes=2, format="fmp4", outputs=["video", "motion"]).id
    seen: list[tuple[Any, ...]] = []
    record = worker.storage.put

    def put(key: str, path: Path, content_type: str) -> None:
        record(key, path, content_type)
        if ".part-" in key:
            seen.append(worker.database.jobs.get(job_id).live)

    worker.storage.put = put  # type: ignore[method-assign]
    worker.work()

    job = worker.database.jobs.get(job_id)
    names = ["take-1.mp4", "motion-1.npz", "take-2.mp4", "motion-2.npz"]
    assert [output.name for output in job.outputs] == names
    assert job.live == ()
    assert not [key for key in worker.storage.objects if ".part-" in key]
    assert seen, "no piece was stored"
    assert all(output.name.startswith("take-") for live in seen for output in live)
    content = worker.storage.objects[job.outputs[0].key]
    assert len(content) == job.outputs[0].bytes
    with av.open(io.BytesIO(content)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 90


def test_empty_fields_have_the_persons_defaults_and_each_take_has_its_own_seed(
    worker: FakeWorker, submit: Submit
) -> None:
    submit(takes=2, seed=11, steps=9, outputs=["motion"])

    worker.work()

    sampling = worker.animator.calls[0]
    assert sampling.seeds == (take_seed(11, 1), take_seed(11, 2))
    assert (sampling.steps, sampling.guidance_face, sampling.diversity) == (9, 1.5, 0.9)


def test_the_request_can_set_the_size(worker: FakeWorker, submit: Submit) -> None:
    job_id = submit(seconds=0.1, size="128x96").id

    worker.work()

    key = worker.database.jobs.get(job_id).outputs[0].key
    with av.open(io.BytesIO(worker.storage.objects[key])) as video:
        assert (video.streams.video[0].width, video.streams.video[0].height) == (128, 96)


@pytest.mark.parametrize("fields", [{"views": ("side", "front")}, {}])
def test_views_are_side_by_side_in_the_requested_order(
    worker: FakeWorker, submit: Submit, fields: dict[str, Any]
) -> None:
    if not fields:  # views are a default of the person
        defaults = worker.person.defaults.model_copy(update={"views": ("side", "front")})
        worker.person = replace(worker.person, defaults=defaults)
    job_id = submit(seconds=0.1, size="96x64", **fields).id

    worker.work()

    key = worker.database.jobs.get(job_id).outputs[0].key
    with av.open(io.BytesIO(worker.storage.objects[key])) as video:
        picture = next(video.decode(video=0)).to_ndarray(format="gray")
    assert picture.shape == (64, 192)
    assert picture[:, :90].max() < 20 < picture[:, 102:].min()


@pytest.mark.parametrize(
    ("form", "name", "codec"),
    [("mov", "take-1.mov", "prores"), ("webm", "take-1.webm", "vp9")],
)
def test_the_format_selects_the_container_and_codec(
    worker: FakeWorker, submit: Submit, form: str, name: str, codec: str
) -> None:
    job_id = submit(seconds=0.1, format=form).id

    assert worker.work() is AttemptOutcome.PUBLISHED

    (output,) = worker.database.jobs.get(job_id).outputs
    assert output.name == name
    with av.open(io.BytesIO(worker.storage.objects[output.key])) as video:
        assert video.streams.video[0].codec_context.name == codec
    assert list(worker.scratch.glob("take*")) == []


def test_too_much_supersampling_fails_the_job(worker: FakeWorker, submit: Submit) -> None:
    job_id = submit(seconds=0.1, size="2048", supersampling=4).id

    worker.work()

    job = worker.database.jobs.get(job_id)
    assert (job.state, job.error_code) == (State.FAILED, "size_unsupported")


def test_png_pictures_are_zipped_and_transparent_around_the_person(
    worker: FakeWorker, submit: Submit
) -> None:
    job_id = submit(seconds=0.1, format="png").id

    assert worker.work() is AttemptOutcome.PUBLISHED

    (output,) = worker.database.jobs.get(job_id).outputs
    assert (output.name, output.content_type) == ("take-1.zip", "application/zip")
    with zipfile.ZipFile(io.BytesIO(worker.storage.objects[output.key])) as archive:
        assert len(archive.namelist()) == 4
        picture = np.asarray(Image.open(io.BytesIO(archive.read("000002.png"))))
    assert picture.shape == (64, 64, 4)
    assert (picture[:32, :, 3] == 255).all()
    assert not picture[32:].any()


def test_a_background_is_rendered_and_does_not_change_the_motion_digest(
    worker: FakeWorker, submit: Submit
) -> None:
    job_id = submit(seconds=0.1, background="#c83c28").id

    worker.work()

    job = worker.database.jobs.get(job_id)
    with av.open(io.BytesIO(worker.storage.objects[job.outputs[0].key])) as video:
        picture = next(video.decode(video=0)).to_ndarray(format="rgb24", src_colorspace="ITU709")
    assert np.abs(picture[40:].astype(int) - (200, 60, 40)).max() <= 5
    plain = job.request.model_copy(update={"background": None})
    assert job.motion_digest == motion_digest(plain, worker.person.digest)


def test_a_request_for_one_view_overrides_several_default_views(
    worker: FakeWorker, submit: Submit
) -> None:
    defaults = worker.person.defaults.model_copy(update={"views": ("side", "front")})
    worker.person = replace(worker.person, defaults=defaults)
    job_id = submit(seconds=0.1, views=("front",)).id

    worker.work()

    key = worker.database.jobs.get(job_id).outputs[0].key
    with av.open(io.BytesIO(worker.storage.objects[key])) as video:
        assert video.streams.video[0].width == 64


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        (
            {"views": ("front", "back")},
            "view_unknown",
            "Unknown camera 'back'; this person has front, side.",
        ),
        (
            {"views": ("a", "b", "c"), "size": "2048"},
            "size_unsupported",
            "3 views of 2048x2048 make a picture 6144 pixels wide, more than 4096; ask for a size "
            "at most 1364 wide, or for fewer views.",
        ),
    ],
)
def test_invalid_views_fail_the_job_before_motion_is_sampled(
    worker: FakeWorker, submit: Submit, fields: dict[str, Any], code: str, message: str
) -> None:
    job_id = submit(seconds=0.1, **fields).id

    assert worker.work() is AttemptOutcome.USER_ERROR

    job = worker.database.jobs.get(job_id)
    assert (job.state, job.error_code, job.error_detail) == (State.FAILED, code, message)
    assert worker.animator.calls == []


def test_motion_can_be_requested_without_rendering(worker: FakeWorker, submit: Submit) -> None:
    job_id = submit(seconds=0.5, takes=2, outputs=["motion"]).id
    worker.person = replace(worker.person, models=Models(worker.animator, None))

    assert worker.work() is AttemptOutcome.PUBLISHED

    job = worker.database.jobs.get(job_id)
    assert [output.name for output in job.outputs] == ["motion-1.npz", "motion-2.npz"]
    take = arrays(worker.storage.objects[job.outputs[1].key])
    assert (take["face"].shape, take["pose"].shape) == ((15, 256), (15, 104))
    assert take["face"].dtype == np.float32
    assert int(take["frame_rate"]) == 30
    assert (str(take["person"]), int(take["seed"])) == ("demo", take_seed(7, 2))


def test_video_and_motion_can_be_requested_together(worker: FakeWorker, submit: Submit) -> None:
    job_id = submit(seconds=0.1, outputs=["motion", "video"]).id

    worker.work()

    names = {output.name for output in worker.database.jobs.get(job_id).outputs}
    assert names == {"take-1.mp4", "motion-1.npz"}


def test_a_retry_reuses_stored_motion(worker: FakeWorker, submit: Submit) -> None:
    job_id = submit(seconds=0.2, takes=2).id
    worker.at_stage["render"] = lambda: 1 / 0

    assert worker.work() is AttemptOutcome.INTERNAL_ERROR
    failed = worker.database.jobs.get(job_id)
    worker.stages.clear()
    assert worker.work() is AttemptOutcome.PUBLISHED

    job = worker.database.jobs.get(job_id)
    assert failed.motion_key == job.motion_key == f"jobs/{job_id}/attempt-1/motion.npz"
    assert (job.attempt, len(worker.animator.calls)) == (2, 1)
    assert worker.stages == ["decode", "render", "publish"]
    assert all("attempt-2" in output.key for output in job.outputs)


def test_motion_of_another_version_of_the_person_is_not_used(
    worker: FakeWorker, submit: Submit
) -> None:
    submit(seconds=0.2)
    worker.at_stage["render"] = lambda: 1 / 0
    worker.work()
    worker.person = fake_person(worker.animator, digest="d2")

    assert worker.work() is AttemptOutcome.PUBLISHED

    assert len(worker.animator.calls) == 2


def crash_in_take(worker: FakeWorker, take: int) -> None:
    """Run one attempt that crashes when it begins to render this take."""
    avatar = worker.person.models.avatar
    rendered_takes: list[int] = []

    def render(*arguments: Any, batch: int, options: RenderOptions) -> Iterator[np.ndarray]:
        rendered_takes.append(1)
        if len(rendered_takes) == take:
            raise RuntimeError("a crash")
        return FakeAvatar.render(avatar, *arguments, batch=batch, options=options)

    avatar.render = render
    assert worker.work() is AttemptOutcome.INTERNAL_ERROR
    del avatar.render


def test_a_retry_reuses_finished_takes(worker: FakeWorker, submit: Submit) -> None:
    job_id = submit(seconds=0.2, takes=3, outputs=["video", "motion"]).id
    crash_in_take(worker, 3)
    worker.person.models.avatar.batches.clear()

    assert worker.work() is AttemptOutcome.PUBLISHED

    job = worker.database.jobs.get(job_id)
    assert len(worker.person.models.avatar.batches) == 1
    keys = [output.key.removeprefix(f"jobs/{job_id}/") for output in job.outputs]
    assert keys == [
        "attempt-1/take-1.mp4",
        "attempt-1/motion-1.npz",
        "attempt-1/take-2.mp4",
        "attempt-1/motion-2.npz",
        "attempt-2/take-3.mp4",
        "attempt-2/motion-3.npz",
    ]
    assert [len(worker.storage.objects[o.key]) for o in job.outputs] == [
        output.bytes for output in job.outputs
    ]
    assert [take.take for take in job.finished_takes] == [1, 2, 3]


@pytest.mark.parametrize("fault", ["missing", "damaged", "another person"])
def test_finished_takes_that_are_unusable_are_rendered_again(
    worker: FakeWorker, submit: Submit, fault: str
) -> None:
    job_id = submit(seconds=0.2, takes=3).id
    crash_in_take(worker, 3)
    key = f"jobs/{job_id}/attempt-1/take-1.mp4"
    if fault == "missing":
        del worker.storage.objects[key]
    elif fault == "damaged":
        worker.storage.objects[key] += b"more"
    else:
        worker.person = fake_person(worker.animator, digest="d2")

    assert worker.work() is AttemptOutcome.PUBLISHED

    attempts = [2, 2, 2] if fault == "another person" else [2, 1, 2]
    assert [o.key for o in worker.database.jobs.get(job_id).outputs] == [
        f"jobs/{job_id}/attempt-{attempt}/take-{take}.mp4"
        for take, attempt in enumerate(attempts, start=1)
    ]


@pytest.mark.parametrize("fault", ["missing", "damaged", "empty"])
def test_stored_motion_that_is_unusable_is_sampled_again(
    worker: FakeWorker, submit: Submit, fault: str
) -> None:
    job_id = submit(seconds=0.2).id
    worker.at_stage["render"] = lambda: 1 / 0
    worker.work()
    key = f"jobs/{job_id}/attempt-1/motion.npz"
    content = worker.storage.objects.pop(key)
    if fault != "missing":
        worker.storage.objects[key] = content[:300] if fault == "damaged" else b""

    assert worker.work() is AttemptOutcome.PUBLISHED

    assert len(worker.animator.calls) == 2


@pytest.mark.parametrize("stage", ["speech", "body", "render", "publish"])
def test_a_worker_whose_job_was_claimed_by_another_changes_nothing(
    worker: FakeWorker, submit: Submit, stage: str
) -> None:
    job_id = submit(seconds=0.2).id

    def lose_lease() -> None:
        worker.database.attempts.release(job_id, 1, "lease lost")
        assert worker.database.attempts.claim("another worker") is not None

    worker.at_stage[stage] = lose_lease

    assert worker.work() is AttemptOutcome.LEASE_LOST

    job = worker.database.jobs.get(job_id)
    assert (job.state, job.attempt, job.worker) == (State.RUNNING, 2, "another worker")
    assert (job.outputs, job.stage) == ((), "decode")


@pytest.mark.parametrize("stage", ["decode", "speech", "guide", "body", "render", "publish"])
def test_a_canceled_job_stops_at_its_next_step(
    worker: FakeWorker, submit: Submit, stage: str
) -> None:
    job_id = submit(seconds=0.2).id
    worker.at_stage[stage] = lambda: worker.database.jobs.cancel(job_id) or None

    assert worker.work() is AttemptOutcome.LEASE_LOST

    job = worker.database.jobs.get(job_id)
    assert (job.state, job.outputs, worker.stages[-1]) == (State.CANCELED, (), stage)


@pytest.mark.parametrize("stage", ["decode", "body", "render", "publish"])
def test_a_deleted_job_stops_at_its_next_step(
    worker: FakeWorker, submit: Submit, stage: str
) -> None:
    job_id = submit(seconds=0.2).id
    worker.at_stage[stage] = lambda: worker.database.jobs.delete(job_id) and None

    assert worker.work() is AttemptOutcome.LEASE_LOST

    assert (worker.database.jobs.page().jobs, worker.stages[-1]) == ([], stage)


@pytest.mark.parametrize("stage", ["decode", "body", "publish"])
def test_a_job_stops_at_its_first_step_after_its_time(
    worker: FakeWorker, submit: Submit, stage: str
) -> None:
    job_id = submit(seconds=0.2).id

    def pass_time() -> None:
        past = {"cancel_after": 1.0, "cancel_at": utc_now()}
        with writing(worker.database.engine) as connection:
            connection.execute(jobs.update().values(past))

    worker.at_stage[stage] = pass_time

    assert worker.work() is AttemptOutcome.LEASE_LOST

    job = worker.database.jobs.get(job_id)
    assert (job.state, job.outputs, worker.stages[-1]) == (State.CANCELED, (), stage)
    assert job.error is not None
    assert job.error.code == "cancel_after"


class SlowAnimator(FakeAnimator):
    """Spend ten seconds on the face, in steps of 50 ms."""

    def animate(self, audio: Tensor, sampling: Sampling, *, progress: Progress) -> list[Motion]:
        for step in range(200):
            progress("face", step / 200)
            time.sleep(0.05)
        return super().animate(audio, sampling, progress=progress)


@pytest.mark.usefixtures("decoder_child")
def test_canceling_ends_long_work_within_two_seconds(worker: FakeWorker, submit: Submit) -> None:
    job_id = submit(seconds=0.2).id
    worker.person = fake_person(SlowAnimator())
    canceled_at: list[float] = []

    def cancel() -> None:
        canceled_at.append(time.monotonic())
        worker.database.jobs.cancel(job_id)

    timer = threading.Timer(0.5, cancel)
    timer.start()
    assert worker.work() is AttemptOutcome.LEASE_LOST
    seconds = time.monotonic() - canceled_at[0]

    timer.join()
    assert seconds < 2  # one write of progress, 0.3 s, and one step


def raises(error: Exception) -> Callable[..., Any]:
    def raise_error(*_: object, **__: object) -> None:
        raise error

    return raise_error


@pytest.mark.usefixtures("decoder_child")
@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"seconds": 3.0}, "clip_unsuitable", "The clip is too long; this person takes 2 s."),
        ({"clip": b"fLaC" + bytes(999)}, "audio_damaged", "export it again."),
        ({"clip": b"hello, this is text"}, "audio_type_unsupported", "send wav"),
    ],
)
def test_a_user_error_fails_the_job_with_a_message(
    worker: FakeWorker, submit: Submit, fields: dict[str, Any], code: str, message: str
) -> None:
    worker.animator.longest = 2.0
    job_id = submit(**fields).id

    assert worker.work() is AttemptOutcome.USER_ERROR

    job = worker.database.jobs.get(job_id)
    assert (job.state, job.error_code, job.outputs) == (State.FAILED, code, ())
    assert message in str(job.error_detail)


def test_a_person_that_no_worker_has_fails_the_job_after_some_setbacks(
    worker: FakeWorker, submit: Submit
) -> None:
    job_id = submit(person="ada").id

    outcomes = [worker.work() for _ in range(UNKNOWN_MOST)]

    job = worker.database.jobs.get(job_id)
    assert outcomes == [AttemptOutcome.PERSON_MISSING] * UNKNOWN_MOST
    assert (job.state, job.error_code) == (State.FAILED, "person_unknown")
    assert "Unknown person 'ada'; available: demo." in str(job.error_detail)


@pytest.mark.parametrize(
    ("fields", "error"),
    [({"clip": b"hello, this is text"}, None), ({}, RuntimeError("a bug"))],
)
def test_a_sick_worker_puts_the_job_back_for_another_one(
    worker: FakeWorker, submit: Submit, fields: dict[str, Any], error: Exception | None
) -> None:
    job_id = submit(**fields).id
    worker.obstacle = Obstacle("decoder", "the decoder is missing")
    if error is not None:
        worker.animator.animate = raises(error)

    assert worker.work() is AttemptOutcome.UNFIT

    job = worker.database.jobs.get(job_id)
    assert (job.state, job.attempt, job.max_attempts) == (State.QUEUED, 1, 4)
    assert job.error_detail == "the decoder of a worker failed"


@pytest.mark.parametrize(
    ("error", "code"),
    [(CameraError("no camera"), "size_unsupported"), (MediaError("a_code", "why"), "a_code")],
)
def test_exceptions_of_user_errors_fail_the_job_with_their_code(
    worker: FakeWorker, submit: Submit, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    job_id = submit(seconds=0.1).id
    monkeypatch.setattr(FakeAvatar, "camera", raises(error))

    assert worker.work() is AttemptOutcome.USER_ERROR

    assert worker.database.jobs.get(job_id).error_code == code


def test_a_missing_clip_fails_the_job(worker: FakeWorker, submit: Submit) -> None:
    job = submit()
    del worker.storage.objects[job.input_key]

    assert worker.work() is AttemptOutcome.USER_ERROR

    assert worker.database.jobs.get(job.id).error_code == "clip_missing"


def test_an_internal_error_is_logged_with_its_incident_and_retried_until_attempts_end(
    worker: FakeWorker, submit: Submit, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = submit(seconds=0.1).id
    worker.animator.animate = raises(RuntimeError("a bug"))

    outcomes = [worker.work() for _ in range(3)]

    job = worker.database.jobs.get(job_id)
    assert outcomes == [AttemptOutcome.INTERNAL_ERROR] * 3
    assert (job.state, job.error_code) == (State.FAILED, "attempts_exhausted")
    errors = [record for record in caplog.records if record.message == "internal error"]
    assert len(errors) == 3
    assert all("a bug" in str(record.exc_info) for record in errors)
    assert errors[-1].incident in str(job.error_detail)
    assert "a bug" not in str(job.error_detail)


def test_a_short_storage_outage_costs_no_attempt(worker: FakeWorker, submit: Submit) -> None:
    job_id = submit(seconds=0.1).id

    def begin_outage() -> None:
        worker.storage.failures = READ_TRIES - 1

    for stage in ("decode", "render", "publish"):
        worker.at_stage[stage] = begin_outage

    assert worker.work() is AttemptOutcome.PUBLISHED

    assert worker.database.jobs.get(job_id).attempt == 1


def test_a_long_storage_outage_requeues_the_job_without_counting_the_attempt(
    worker: FakeWorker, submit: Submit
) -> None:
    job_id = submit(seconds=0.1).id
    for _ in range(5):
        worker.storage.failures = 8
        assert worker.work() is AttemptOutcome.OUTAGE

    job = worker.database.jobs.get(job_id)
    assert (job.state, job.attempt) == (State.QUEUED, 5)
    worker.storage.failures = 0
    assert worker.work() is AttemptOutcome.PUBLISHED


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_costs_no_attempt_and_fails_the_job_after_many_setbacks(
    worker: FakeWorker, submit: Submit, number: int
) -> None:
    job_id = submit(seconds=0.1).id
    for setback in range(FULL_MOST):
        job = worker.database.jobs.get(job_id)
        assert (job.state, job.max_attempts) == (State.QUEUED, 3 + setback)
        worker.at_stage["render"] = raises(OSError(number, os.strerror(number)))
        worker.stages.clear()
        assert worker.work() is AttemptOutcome.UNFIT

    job = worker.database.jobs.get(job_id)
    assert (job.state, job.error_code, job.outputs) == (State.FAILED, "disk_full", ())
    assert job.error_detail == (
        "The job did not end in 6 attempts; the last: no space left on the worker's disk for the "
        "files of the job."
    )


def test_writes_to_a_full_storage_are_retried_before_the_job_is_put_back(
    worker: FakeWorker, submit: Submit
) -> None:
    job_id = submit(seconds=0.1).id
    written_keys: list[str] = []

    def put_when_full(key: str, path: Path, content_type: str) -> None:
        written_keys.append(key)
        raise StorageFull("no space")

    worker.storage.put = put_when_full

    assert [worker.work() for _ in range(FULL_MOST)] == [AttemptOutcome.UNFIT] * FULL_MOST

    job = worker.database.jobs.get(job_id)
    assert (job.state, job.error_code) == (State.FAILED, "storage_full")
    assert len(written_keys) == FULL_MOST * 8  # each attempt retries for a minute


def test_batches_are_halved_until_they_fit_into_memory(worker: FakeWorker, submit: Submit) -> None:
    large, small = FakeAvatar(), FakeAvatar(fits=3)
    videos = []
    for avatar in (large, small):
        worker.person = replace(worker.person, models=Models(worker.animator, avatar))
        job_id = submit(seconds=0.5).id
        assert worker.work() is AttemptOutcome.PUBLISHED
        videos.append(worker.storage.objects[worker.database.jobs.get(job_id).outputs[0].key])

    assert (large.batches, small.batches) == ([8], [8, 4, 2])
    assert videos[0] == videos[1]


def test_running_out_of_memory_later_repeats_no_frame() -> None:
    class Shrinking(FakeAvatar):
        def render(
            self, *arguments: Any, batch: int, options: RenderOptions
        ) -> Iterator[np.ndarray]:
            for frames in super().render(*arguments, batch=batch, options=options):
                yield frames
                self.fits = 1  # another process uses the rest

    sampling = Sampling((1,), 2, 1, 1, 0.5)
    sampled = FakeAnimator().animate(torch.zeros(48_000, 2), sampling, progress=lambda *_: None)
    motion = TakeMotion.of(sampled[0])
    cameras = [FakeAvatar().camera().resized(64, 64)]
    expected = np.concatenate(list(render_frames(motion, FakeAvatar(), cameras)))

    batches = list(render_frames(motion, Shrinking(), cameras))

    assert [len(frames) for frames in batches] == [8] + [1] * 22
    assert np.array_equal(np.concatenate(batches), expected)


def test_memory_too_small_for_one_frame_fails_the_job_with_a_message(
    worker: FakeWorker, submit: Submit
) -> None:
    job_id = submit(seconds=0.2).id
    worker.person = replace(worker.person, models=Models(worker.animator, FakeAvatar(fits=0)))

    assert [worker.work() for _ in range(3)] == [AttemptOutcome.RESOURCE_FAILURE] * 3

    job = worker.database.jobs.get(job_id)
    assert (job.state, job.error_code) == (State.FAILED, "out_of_memory")
    assert "use a smaller size" in str(job.error_detail)


def test_a_database_outage_ends_the_attempt_but_not_the_worker(
    worker: FakeWorker, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(seconds=0.1).id
    fail = raises(OperationalError("update", {}, Exception("connection lost")))

    with monkeypatch.context() as patch:
        for name in ("record_motion", "release", "progress"):
            patch.setattr(worker.database.attempts, name, fail)
        assert worker.work() is AttemptOutcome.OUTAGE

    job = worker.database.jobs.get(job_id)
    assert job.state is State.RUNNING  # the claim loop puts it back when the database answers


def test_shutdown_requeues_the_job_with_its_motion(worker: FakeWorker, submit: Submit) -> None:
    job_id = submit(seconds=0.5).id
    worker.at_stage["render"] = worker.stop.request

    assert worker.work() is AttemptOutcome.HANDED_BACK

    job = worker.database.jobs.get(job_id)
    assert (job.state, job.attempt, job.max_attempts) == (State.QUEUED, 1, 4)
    assert job.motion_key is not None
    worker.stop = StopRequest()
    assert worker.work() is AttemptOutcome.PUBLISHED
    assert len(worker.animator.calls) == 1


def test_a_worker_that_waits_for_the_storage_can_be_stopped(
    worker: FakeWorker, submit: Submit
) -> None:
    job_id = submit(seconds=0.1).id

    def stop_during_outage() -> None:
        worker.storage.failures = 1000
        worker.stop.request()

    worker.at_stage["decode"] = stop_during_outage

    assert worker.work() is AttemptOutcome.HANDED_BACK

    assert worker.database.jobs.get(job_id).state is State.QUEUED


def test_a_shutdown_request_is_not_a_runtime_error() -> None:
    assert not issubclass(ShutdownRequested, RuntimeError)


def test_a_stale_attempt_cannot_publish(worker: FakeWorker, submit: Submit) -> None:
    job_id = submit(seconds=0.1).id
    stale = worker.database.attempts.claim("stale")
    assert stale is not None
    worker.database.attempts.release(job_id, 1, "lease lost")
    assert worker.work() is AttemptOutcome.PUBLISHED
    published = worker.database.jobs.get(job_id)

    outcome = attempt(
        stale, lambda job, report: [], store=worker.database.attempts, stop=StopRequest()
    )

    assert outcome is AttemptOutcome.LEASE_LOST
    assert worker.database.jobs.get(job_id) == published


@pytest.mark.usefixtures("decoder_child")
def test_an_accepted_clip_is_decoded_to_its_end(worker: FakeWorker, submit: Submit) -> None:
    clip = write_clip(worker.scratch / "long.mp3", seconds=1.3).read_bytes()
    job_id = submit(clip=clip, seconds=1.3, outputs=["motion"]).id

    worker.work()

    take = arrays(worker.storage.objects[worker.database.jobs.get(job_id).outputs[0].key])
    assert len(take["face"]) in (39, 40, 41)


def test_warnings_of_the_decoder_are_added_to_those_of_the_probe(
    worker: FakeWorker, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mono = write_clip(tmp_path / "mono.wav", seconds=0.1, channels=1).read_bytes()
    source = submit(seconds=0.1, clip=mono)
    worker.work()
    cut, cut_later, silent = (
        JobWarning("audio_cut_off", "Cut off at 2 s."),
        JobWarning("audio_cut_off", "Cut off at 1 s."),
        JobWarning("left_silent", "The left channel is silent."),
    )
    job = NewJob(
        new_job_id(), source.request, input_key=source.input_key, clip_seconds=0.1,
        warnings=(silent, cut),
    )  # fmt: skip
    worker.database.jobs.submit(job)
    monkeypatch.setattr(
        "worker.process.job.decode",
        lambda *given, **options: replace(decode(*given, **options), warnings=(cut_later,)),
    )

    assert worker.work() is AttemptOutcome.PUBLISHED

    assert worker.database.jobs.get(source.id).warnings == ()
    assert worker.database.jobs.get(job.id).warnings == (silent, cut_later)


@pytest.mark.usefixtures("decoder_child")
def test_a_job_can_have_a_file_for_each_person(
    worker: FakeWorker, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = submit(seconds=0.1, person_channel="right", outputs=["motion"])
    worker.database.jobs.cancel(source.id)
    lengths = {"audio": 0.5, "partner": 2.0}
    for name, seconds in lengths.items():
        clip = write_clip(worker.scratch / "a.wav", seconds=seconds, channels=1)
        worker.storage.objects[name] = clip.read_bytes()
        clip.unlink()
    job = NewJob(
        new_job_id(), source.request, input_key="audio", partner_key="partner", clip_seconds=2.0
    )
    worker.database.jobs.submit(job)
    decoded: list[Audio] = []

    def keep(*given: Any, **options: Any) -> Audio:
        decoded.append(decode(*given, **options))
        return decoded[0]

    monkeypatch.setattr("worker.process.job.decode", keep)

    assert worker.work() is AttemptOutcome.PUBLISHED

    shown, other = decoded[0].samples[48_000:].T  # the audio of the first file has ended
    assert (bool(shown.any()), bool(other.any())) == (True, False)
    assert decoded[0].seconds == pytest.approx(2.0)
    codes = [each.code for each in worker.database.jobs.get(job.id).warnings]
    assert codes == ["lengths_differ"]
    assert not any((worker.scratch / name).exists() for name in ("clip", "partner"))


def test_only_the_shown_takes_are_rendered(
    worker: FakeWorker, database: Database, submit: Submit
) -> None:
    source = submit(takes=3, outputs=["video", "motion"])
    worker.work()
    source = database.jobs.get(source.id)
    assert source.motion_key is not None
    assert source.motion_digest is not None
    samplings = len(worker.animator.calls)
    render_job = NewJob(
        new_job_id(),
        source.request.model_copy(update={"shown": (1, 3)}),
        input_key=source.input_key,
        clip_seconds=source.clip_seconds,
        motion=StoredMotion(source.motion_key, source.motion_digest),
    )
    database.jobs.submit(render_job)

    assert worker.work() is AttemptOutcome.PUBLISHED

    outputs = database.jobs.get(render_job.id).outputs
    names = [output.name for output in outputs]
    assert names == ["take-1.mp4", "motion-1.npz", "take-3.mp4", "motion-3.npz"]
    assert len(worker.animator.calls) == samplings  # no motion was sampled again
    of_source = {output.name: output.key for output in source.outputs}
    for output in outputs:
        if output.name.endswith(".npz"):
            rendered_motion, source_motion = (
                np.load(io.BytesIO(worker.storage.objects[key]))
                for key in (output.key, of_source[output.name])
            )
            np.testing.assert_array_equal(rendered_motion["pose"], source_motion["pose"])


def test_a_running_job_has_an_estimate_and_an_ended_one_has_none(
    worker: FakeWorker, submit: Submit
) -> None:
    job_id = submit(seconds=0.5, outputs=["video", "preview"]).id
    seen: list[float | None] = []

    def look() -> None:
        seen.append(worker.database.jobs.get(job_id).seconds_left)

    worker.at_stage |= {"decode": look, "body": look, "publish": look}
    worker.work()

    assert seen[0] is None
    assert all(left is not None and left >= 0 for left in seen[1:])
    assert worker.database.jobs.get(job_id).seconds_left is None
