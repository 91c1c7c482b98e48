"""One job, from its claim to what its owner finds, with collaborators of a few lines."""

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
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from sqlalchemy.exc import OperationalError
from torch import Tensor

from jobs.database import Database
from jobs.model import Job, KeptMotion, NewJob, State, new_job_id
from jobs.request.model import motion_digest
from jobs.sandbox.audio_probe import MediaError
from jobs.storage.factory import StorageFull
from models.avatar.appearance import RenderOptions
from models.avatar.camera import CameraError
from models.motion.pipeline import Motion, Sampling, take_seed
from tests.audio_clips import write_clip
from tests.worker.conftest import Submit
from tests.worker.toys import DictStorage, ToyAnimator, ToyAvatar, toy_person
from worker.pipeline.container import X264
from worker.pipeline.persons import Models, Person, PersonUnknown
from worker.pipeline.progress import Progress
from worker.pipeline.render import rendered
from worker.process.attempt import attempt
from worker.process.job import JobContext, run
from worker.process.outcomes import AttemptOutcome, ShutdownRequested
from worker.process.progress import Reporter, StopRequest
from worker.process.retry import RetryingStorage

Prepare = Callable[[Job, Reporter], None]


class Floor:
    """Stands in for `worker.process.celery_worker.WorkerContext`: the place where jobs are done."""

    def __init__(self, database: Database, storage: DictStorage, scratch: Path) -> None:
        self.database, self.storage, self.scratch = database, storage, scratch
        self.animator = ToyAnimator()
        self.person = toy_person(self.animator)
        self.stop = StopRequest()
        self.seen: list[str] = []
        self.at: dict[str, Callable[[], None]] = {}  # what happens when a stage begins

    def work(self) -> AttemptOutcome:
        job = self.database.attempts.claim("tester")
        assert job is not None
        return attempt(job, self._work, store=self.database.attempts, stop=self.stop)

    def named(self, name: str) -> Person:
        if name != self.person.name:
            raise PersonUnknown(f"there is no person {name!r}; there are: {self.person.name}")
        return self.person

    def _work(self, job: Job, report: Reporter) -> list:
        def progress(stage: str, fraction: float) -> None:
            if stage not in self.seen:
                self.seen.append(stage)
                self.at.pop(stage, lambda: None)()
            report(stage, fraction)

        keep = partial(self.database.attempts.checkpoint, job.id, job.attempt)
        context = JobContext(
            files=RetryingStorage(self.storage, lambda seconds: report.check()),
            person_named=self.named,
            keep_motion=lambda key, digest: keep(motion_key=key, digest=digest),
            keep_takes=partial(self.database.attempts.keep_takes, job.id, job.attempt),
            encoder=X264,
            scratch=self.scratch,
        )
        return run(job, context, progress)


@pytest.fixture
def floor(database: Database, storage: DictStorage, tmp_path: Path) -> Floor:
    (tmp_path / "scratch").mkdir()
    return Floor(database, storage, tmp_path / "scratch")


def arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_a_job_ends_with_its_videos_published_by_one_write(floor: Floor, submit: Submit) -> None:
    job_id = submit(seconds=0.5, takes=2).id

    assert floor.work() is AttemptOutcome.PUBLISHED

    job = floor.database.jobs.get(job_id)
    assert (job.state, job.progress, job.attempt) == (State.SUCCEEDED, 1.0, 1)
    assert [output.name for output in job.outputs] == ["take-1.mp4", "take-2.mp4"]
    for output in job.outputs:
        assert output.key == f"jobs/{job_id}/attempt-1/{output.name}"
        assert output.bytes == len(floor.storage.objects[output.key])
        with av.open(io.BytesIO(floor.storage.objects[output.key])) as video:
            assert video.streams.video[0].frames == 15
            assert (video.streams.video[0].width, video.streams.video[0].height) == (64, 64)
    assert floor.seen == ["decode", "speech", "face", "guide", "body", "render", "publish"]
    assert list(floor.scratch.glob("*.mp4")) == []


def test_empty_fields_mean_the_persons_defaults_and_takes_have_seeds_of_their_own(
    floor: Floor, submit: Submit
) -> None:
    submit(takes=2, seed=11, steps=9, outputs=["motion"])

    floor.work()

    asked = floor.animator.asked[0]
    assert asked.seeds == (take_seed(11, 1), take_seed(11, 2))
    assert (asked.steps, asked.guidance_face, asked.diversity) == (9, 1.5, 0.9)


def test_a_size_is_taken_from_the_request(floor: Floor, submit: Submit) -> None:
    job_id = submit(seconds=0.1, size="128x96").id

    floor.work()

    key = floor.database.jobs.get(job_id).outputs[0].key
    with av.open(io.BytesIO(floor.storage.objects[key])) as video:
        assert (video.streams.video[0].width, video.streams.video[0].height) == (128, 96)


@pytest.mark.parametrize("asked", [{"views": ("side", "front")}, {}])
def test_views_stand_side_by_side_in_the_order_that_was_asked_for(
    floor: Floor, submit: Submit, asked: dict[str, Any]
) -> None:
    if not asked:  # the person's own
        defaults = floor.person.defaults.model_copy(update={"views": ("side", "front")})
        floor.person = replace(floor.person, defaults=defaults)
    job_id = submit(seconds=0.1, size="96x64", **asked).id

    floor.work()

    key = floor.database.jobs.get(job_id).outputs[0].key
    with av.open(io.BytesIO(floor.storage.objects[key])) as video:
        picture = next(video.decode(video=0)).to_ndarray(format="gray")
    assert picture.shape == (64, 192)
    assert picture[:, :90].max() < 20 < picture[:, 102:].min()


@pytest.mark.parametrize(
    ("form", "name", "codec"),
    [("mov", "take-1.mov", "prores"), ("webm", "take-1.webm", "vp9")],
)
def test_a_format_decides_what_the_video_is(
    floor: Floor, submit: Submit, form: str, name: str, codec: str
) -> None:
    job_id = submit(seconds=0.1, format=form).id

    assert floor.work() is AttemptOutcome.PUBLISHED

    (output,) = floor.database.jobs.get(job_id).outputs
    assert output.name == name
    with av.open(io.BytesIO(floor.storage.objects[output.key])) as video:
        assert video.streams.video[0].codec_context.name == codec
    assert list(floor.scratch.glob("take*")) == []


def test_more_samples_than_can_be_held_end_the_job(floor: Floor, submit: Submit) -> None:
    job_id = submit(seconds=0.1, size="2048", supersampling=4).id

    floor.work()

    job = floor.database.jobs.get(job_id)
    assert (job.state, job.error_code) == (State.FAILED, "size_unsupported")


def test_pictures_come_in_a_zip_and_are_transparent_where_nobody_is(
    floor: Floor, submit: Submit
) -> None:
    job_id = submit(seconds=0.1, format="png").id

    assert floor.work() is AttemptOutcome.PUBLISHED

    (output,) = floor.database.jobs.get(job_id).outputs
    assert (output.name, output.content_type) == ("take-1.zip", "application/zip")
    with zipfile.ZipFile(io.BytesIO(floor.storage.objects[output.key])) as archive:
        assert len(archive.namelist()) == 4
        picture = np.asarray(Image.open(io.BytesIO(archive.read("000002.png"))))
    assert picture.shape == (64, 64, 4)
    assert (picture[:32, :, 3] == 255).all()
    assert not picture[32:].any()


def test_a_background_is_painted_and_draws_no_motion_anew(floor: Floor, submit: Submit) -> None:
    job_id = submit(seconds=0.1, background="#c83c28").id

    floor.work()

    job = floor.database.jobs.get(job_id)
    with av.open(io.BytesIO(floor.storage.objects[job.outputs[0].key])) as video:
        picture = next(video.decode(video=0)).to_ndarray(format="rgb24", src_colorspace="ITU709")
    assert np.abs(picture[40:].astype(int) - (200, 60, 40)).max() <= 5
    plain = job.request.model_copy(update={"background": None})
    assert job.motion_digest == motion_digest(plain, floor.person.digest)


def test_one_view_can_be_asked_for_where_several_are_the_default(
    floor: Floor, submit: Submit
) -> None:
    defaults = floor.person.defaults.model_copy(update={"views": ("side", "front")})
    floor.person = replace(floor.person, defaults=defaults)
    job_id = submit(seconds=0.1, views=("front",)).id

    floor.work()

    key = floor.database.jobs.get(job_id).outputs[0].key
    with av.open(io.BytesIO(floor.storage.objects[key])) as video:
        assert video.streams.video[0].width == 64


@pytest.mark.parametrize(
    ("asked", "code", "words"),
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
def test_views_that_cannot_be_shown_end_the_job_before_anything_is_drawn(
    floor: Floor, submit: Submit, asked: dict[str, Any], code: str, words: str
) -> None:
    job_id = submit(seconds=0.1, **asked).id

    assert floor.work() is AttemptOutcome.USER_ERROR

    job = floor.database.jobs.get(job_id)
    assert (job.state, job.error_code, job.error_detail) == (State.FAILED, code, words)
    assert floor.animator.asked == []


def test_motion_can_be_had_without_rendering_anything(floor: Floor, submit: Submit) -> None:
    job_id = submit(seconds=0.5, takes=2, outputs=["motion"]).id
    floor.person = replace(floor.person, models=Models(floor.animator, None))

    assert floor.work() is AttemptOutcome.PUBLISHED

    job = floor.database.jobs.get(job_id)
    assert [output.name for output in job.outputs] == ["motion-1.npz", "motion-2.npz"]
    take = arrays(floor.storage.objects[job.outputs[1].key])
    assert (take["face"].shape, take["pose"].shape) == ((15, 256), (15, 104))
    assert take["face"].dtype == np.float32
    assert int(take["frame_rate"]) == 30
    assert (str(take["person"]), int(take["seed"])) == ("demo", take_seed(7, 2))


def test_both_can_be_had(floor: Floor, submit: Submit) -> None:
    job_id = submit(seconds=0.1, outputs=["motion", "video"]).id

    floor.work()

    names = {output.name for output in floor.database.jobs.get(job_id).outputs}
    assert names == {"take-1.mp4", "motion-1.npz"}


def test_a_retry_draws_nothing_again(floor: Floor, submit: Submit) -> None:
    job_id = submit(seconds=0.2, takes=2).id
    floor.at["render"] = lambda: 1 / 0

    assert floor.work() is AttemptOutcome.INTERNAL_ERROR
    kept = floor.database.jobs.get(job_id)
    floor.seen.clear()
    assert floor.work() is AttemptOutcome.PUBLISHED

    job = floor.database.jobs.get(job_id)
    assert kept.motion_key == job.motion_key == f"jobs/{job_id}/attempt-1/motion.npz"
    assert (job.attempt, len(floor.animator.asked)) == (2, 1)
    assert floor.seen == ["decode", "render", "publish"]
    assert all("attempt-2" in output.key for output in job.outputs)


def test_motion_of_another_version_of_the_person_is_not_used(floor: Floor, submit: Submit) -> None:
    submit(seconds=0.2)
    floor.at["render"] = lambda: 1 / 0
    floor.work()
    floor.person = toy_person(floor.animator, digest="d2")

    assert floor.work() is AttemptOutcome.PUBLISHED

    assert len(floor.animator.asked) == 2


def crash_in_take(floor: Floor, take: int) -> None:
    """The next attempt breaks when it begins with this take."""
    avatar = floor.person.models.avatar
    begun: list[int] = []

    def render(*asked: Any, batch: int, options: RenderOptions) -> Iterator[np.ndarray]:
        begun.append(1)
        if len(begun) == take:
            raise RuntimeError("a crash")
        return ToyAvatar.render(avatar, *asked, batch=batch, options=options)

    avatar.render = render
    assert floor.work() is AttemptOutcome.INTERNAL_ERROR
    del avatar.render


def test_takes_that_were_finished_are_not_made_again(floor: Floor, submit: Submit) -> None:
    job_id = submit(seconds=0.2, takes=3, outputs=["video", "motion"]).id
    crash_in_take(floor, 3)
    floor.person.models.avatar.batches.clear()

    assert floor.work() is AttemptOutcome.PUBLISHED

    job = floor.database.jobs.get(job_id)
    assert len(floor.person.models.avatar.batches) == 1
    places = [output.key.removeprefix(f"jobs/{job_id}/") for output in job.outputs]
    assert places == [
        "attempt-1/take-1.mp4",
        "attempt-1/motion-1.npz",
        "attempt-1/take-2.mp4",
        "attempt-1/motion-2.npz",
        "attempt-2/take-3.mp4",
        "attempt-2/motion-3.npz",
    ]
    assert [len(floor.storage.objects[o.key]) for o in job.outputs] == [
        output.bytes for output in job.outputs
    ]
    assert [take.take for take in job.finished_takes] == [1, 2, 3]


@pytest.mark.parametrize("spoil", ["gone", "damaged", "another person"])
def test_finished_takes_that_are_of_no_use_are_made_again(
    floor: Floor, submit: Submit, spoil: str
) -> None:
    job_id = submit(seconds=0.2, takes=3).id
    crash_in_take(floor, 3)
    key = f"jobs/{job_id}/attempt-1/take-1.mp4"
    if spoil == "gone":
        del floor.storage.objects[key]
    elif spoil == "damaged":
        floor.storage.objects[key] += b"more"
    else:
        floor.person = toy_person(floor.animator, digest="d2")

    assert floor.work() is AttemptOutcome.PUBLISHED

    attempts = [2, 2, 2] if spoil == "another person" else [2, 1, 2]
    assert [o.key for o in floor.database.jobs.get(job_id).outputs] == [
        f"jobs/{job_id}/attempt-{attempt}/take-{take}.mp4"
        for take, attempt in enumerate(attempts, start=1)
    ]


@pytest.mark.parametrize("spoil", ["gone", "damaged", "emptied"])
def test_kept_motion_that_is_of_no_use_is_drawn_again(
    floor: Floor, submit: Submit, spoil: str
) -> None:
    job_id = submit(seconds=0.2).id
    floor.at["render"] = lambda: 1 / 0
    floor.work()
    key = f"jobs/{job_id}/attempt-1/motion.npz"
    content = floor.storage.objects.pop(key)
    if spoil != "gone":
        floor.storage.objects[key] = content[:300] if spoil == "damaged" else b""

    assert floor.work() is AttemptOutcome.PUBLISHED

    assert len(floor.animator.asked) == 2


@pytest.mark.parametrize("stage", ["speech", "body", "render", "publish"])
def test_a_job_that_was_taken_away_is_left_without_a_word(
    floor: Floor, submit: Submit, stage: str
) -> None:
    job_id = submit(seconds=0.2).id

    def take_away() -> None:
        floor.database.attempts.release(job_id, 1, "somebody else")
        assert floor.database.attempts.claim("somebody") is not None

    floor.at[stage] = take_away

    assert floor.work() is AttemptOutcome.LEASE_LOST

    job = floor.database.jobs.get(job_id)
    assert (job.state, job.attempt, job.worker) == (State.RUNNING, 2, "somebody")
    assert (job.outputs, job.stage) == ((), "decode")


@pytest.mark.parametrize("stage", ["decode", "speech", "guide", "body", "render", "publish"])
def test_a_job_that_was_canceled_stops_at_its_next_step(
    floor: Floor, submit: Submit, stage: str
) -> None:
    job_id = submit(seconds=0.2).id
    floor.at[stage] = lambda: floor.database.jobs.cancel(job_id) or None

    assert floor.work() is AttemptOutcome.LEASE_LOST

    job = floor.database.jobs.get(job_id)
    assert (job.state, job.outputs, floor.seen[-1]) == (State.CANCELED, (), stage)


@pytest.mark.parametrize("stage", ["decode", "body", "render", "publish"])
def test_a_job_that_was_deleted_stops_at_its_next_step(
    floor: Floor, submit: Submit, stage: str
) -> None:
    job_id = submit(seconds=0.2).id
    floor.at[stage] = lambda: floor.database.jobs.delete(job_id) and None

    assert floor.work() is AttemptOutcome.LEASE_LOST

    assert (floor.database.jobs.page().jobs, floor.seen[-1]) == ([], stage)


class SlowAnimator(ToyAnimator):
    """Takes ten seconds for the face, in steps of 50 ms."""

    def animate(self, audio: Tensor, sampling: Sampling, *, progress: Progress) -> list[Motion]:
        for step in range(200):
            progress("face", step / 200)
            time.sleep(0.05)
        return super().animate(audio, sampling, progress=progress)


def test_canceling_ends_long_work_within_a_moment(floor: Floor, submit: Submit) -> None:
    job_id = submit(seconds=0.2).id
    floor.person = toy_person(SlowAnimator())
    canceled_at: list[float] = []

    def cancel() -> None:
        canceled_at.append(time.monotonic())
        floor.database.jobs.cancel(job_id)

    timer = threading.Timer(0.5, cancel)
    timer.start()
    assert floor.work() is AttemptOutcome.LEASE_LOST
    took = time.monotonic() - canceled_at[0]

    timer.join()
    assert took < 2  # one write of progress, 0.3 s, and one step


def refuse(error: Exception) -> Callable[..., Any]:
    def raises(*_: object, **__: object) -> None:
        raise error

    return raises


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        ({"person": "ada"}, "person_unknown", "Unknown person 'ada'; available: demo."),
        ({"seconds": 3.0}, "clip_unsuitable", "The clip is too long; this person takes 2 s."),
        ({"clip": b"fLaC" + bytes(999)}, "audio_damaged", "export it again."),
        ({"clip": b"hello, this is text"}, "audio_type_unsupported", "send wav"),
    ],
)
def test_a_callers_fault_ends_the_job_with_a_sentence(
    floor: Floor, submit: Submit, request_: dict[str, Any], code: str, words: str
) -> None:
    floor.animator.longest = 2.0
    job_id = submit(**request_).id

    assert floor.work() is AttemptOutcome.USER_ERROR

    job = floor.database.jobs.get(job_id)
    assert (job.state, job.error_code, job.outputs) == (State.FAILED, code, ())
    assert words in str(job.error_detail)


@pytest.mark.parametrize(
    ("error", "code"),
    [(CameraError("no camera"), "size_unsupported"), (MediaError("a_code", "why"), "a_code")],
)
def test_more_faults_of_callers(
    floor: Floor, submit: Submit, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    job_id = submit(seconds=0.1).id
    monkeypatch.setattr(ToyAvatar, "camera", refuse(error))

    assert floor.work() is AttemptOutcome.USER_ERROR

    assert floor.database.jobs.get(job_id).error_code == code


def test_a_clip_that_is_gone_ends_the_job(floor: Floor, submit: Submit) -> None:
    job = submit()
    del floor.storage.objects[job.input_key]

    assert floor.work() is AttemptOutcome.USER_ERROR

    assert floor.database.jobs.get(job.id).error_code == "clip_missing"


def test_our_fault_is_logged_with_its_number_and_tried_again_until_it_is_enough(
    floor: Floor, submit: Submit, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = submit(seconds=0.1).id
    floor.animator.animate = refuse(RuntimeError("a bug"))

    endings = [floor.work() for _ in range(3)]

    job = floor.database.jobs.get(job_id)
    assert endings == [AttemptOutcome.INTERNAL_ERROR] * 3
    assert (job.state, job.error_code) == (State.FAILED, "attempts_exhausted")
    broken = [record for record in caplog.records if record.message == "internal error"]
    assert len(broken) == 3
    assert all("a bug" in str(record.exc_info) for record in broken)
    assert broken[-1].incident in str(job.error_detail)
    assert "a bug" not in str(job.error_detail)


def test_a_storage_that_is_away_for_a_moment_costs_nothing(floor: Floor, submit: Submit) -> None:
    job_id = submit(seconds=0.1).id

    def go_away() -> None:
        floor.storage.away = 5

    for stage in ("decode", "render", "publish"):
        floor.at[stage] = go_away

    assert floor.work() is AttemptOutcome.PUBLISHED

    assert floor.database.jobs.get(job_id).attempt == 1


def test_a_storage_that_stays_away_puts_the_job_back_uncounted(
    floor: Floor, submit: Submit
) -> None:
    job_id = submit(seconds=0.1).id
    for _ in range(5):
        floor.storage.away = 8
        assert floor.work() is AttemptOutcome.OUTAGE

    job = floor.database.jobs.get(job_id)
    assert (job.state, job.attempt) == (State.QUEUED, 5)
    floor.storage.away = 0
    assert floor.work() is AttemptOutcome.PUBLISHED


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_costs_attempts_and_then_ends_the_job_with_a_sentence(
    floor: Floor, submit: Submit, number: int
) -> None:
    job_id = submit(seconds=0.1).id
    for _ in range(3):
        floor.at["render"] = refuse(OSError(number, os.strerror(number)))
        floor.seen.clear()
        assert floor.work() is AttemptOutcome.RESOURCE_FAILURE

    job = floor.database.jobs.get(job_id)
    assert (job.state, job.error_code, job.outputs) == (State.FAILED, "disk_full", ())
    assert job.error_detail == (
        "The job did not end in 3 attempts; the last: no space left on the worker's disk for the "
        "files of the job."
    )


def test_a_full_storage_is_waited_for_and_then_costs_attempts(floor: Floor, submit: Submit) -> None:
    job_id = submit(seconds=0.1).id
    tried: list[str] = []

    def full(key: str, path: Path, content_type: str) -> None:
        tried.append(key)
        raise StorageFull("no room")

    floor.storage.put = full

    assert [floor.work() for _ in range(3)] == [AttemptOutcome.RESOURCE_FAILURE] * 3

    job = floor.database.jobs.get(job_id)
    assert (job.state, job.error_code) == (State.FAILED, "storage_full")
    assert len(tried) == 3 * 8  # a minute of it in each attempt


def test_batches_are_halved_until_the_memory_holds_them(floor: Floor, submit: Submit) -> None:
    roomy, narrow = ToyAvatar(), ToyAvatar(holds=3)
    videos = []
    for avatar in (roomy, narrow):
        floor.person = replace(floor.person, models=Models(floor.animator, avatar))
        job_id = submit(seconds=0.5).id
        assert floor.work() is AttemptOutcome.PUBLISHED
        videos.append(floor.storage.objects[floor.database.jobs.get(job_id).outputs[0].key])

    assert (roomy.batches, narrow.batches) == ([8], [8, 4, 2])
    assert videos[0] == videos[1]


def test_memory_that_runs_out_later_repeats_no_frame() -> None:
    class Shrinking(ToyAvatar):
        def render(self, *asked: Any, batch: int, options: RenderOptions) -> Iterator[np.ndarray]:
            for frames in super().render(*asked, batch=batch, options=options):
                yield frames
                self.holds = 1  # somebody else takes the rest

    motion = ToyAnimator().animate(
        torch.zeros(48_000, 2), Sampling((1,), 2, 1, 1, 0.5), progress=lambda *_: None
    )[0]
    cameras = [ToyAvatar().camera().resized(64, 64)]
    whole = np.concatenate(list(rendered(motion, ToyAvatar(), cameras)))

    found = list(rendered(motion, Shrinking(), cameras))

    assert [len(frames) for frames in found] == [8] + [1] * 22
    assert np.array_equal(np.concatenate(found), whole)


def test_a_memory_that_holds_no_frame_ends_the_job_with_a_sentence(
    floor: Floor, submit: Submit
) -> None:
    job_id = submit(seconds=0.2).id
    floor.person = replace(floor.person, models=Models(floor.animator, ToyAvatar(holds=0)))

    assert [floor.work() for _ in range(3)] == [AttemptOutcome.RESOURCE_FAILURE] * 3

    job = floor.database.jobs.get(job_id)
    assert (job.state, job.error_code) == (State.FAILED, "out_of_memory")
    assert "use a smaller size" in str(job.error_detail)


def test_a_database_that_goes_away_ends_the_attempt_and_not_the_worker(
    floor: Floor, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(seconds=0.1).id
    away = refuse(OperationalError("update", {}, Exception("away")))

    with monkeypatch.context() as patch:
        for name in ("checkpoint", "release", "progress"):
            patch.setattr(floor.database.attempts, name, away)
        assert floor.work() is AttemptOutcome.OUTAGE

    job = floor.database.jobs.get(job_id)
    assert job.state is State.RUNNING  # its lease expires, then the reaper requeues it


def test_a_worker_that_is_asked_to_leave_hands_its_job_back_with_its_motion(
    floor: Floor, submit: Submit
) -> None:
    job_id = submit(seconds=0.5).id
    floor.at["render"] = floor.stop.request

    assert floor.work() is AttemptOutcome.HANDED_BACK

    job = floor.database.jobs.get(job_id)
    assert (job.state, job.attempt, job.max_attempts) == (State.QUEUED, 1, 4)
    assert job.motion_key is not None
    floor.stop = StopRequest()
    assert floor.work() is AttemptOutcome.PUBLISHED
    assert len(floor.animator.asked) == 1


def test_a_worker_that_waits_for_a_storage_still_leaves(floor: Floor, submit: Submit) -> None:
    job_id = submit(seconds=0.1).id

    def leave_while_away() -> None:
        floor.storage.away = 1000
        floor.stop.request()

    floor.at["decode"] = leave_while_away

    assert floor.work() is AttemptOutcome.HANDED_BACK

    assert floor.database.jobs.get(job_id).state is State.QUEUED


def test_leaving_is_no_error() -> None:
    assert not issubclass(ShutdownRequested, RuntimeError)


def test_a_stale_attempt_cannot_publish(floor: Floor, submit: Submit) -> None:
    job_id = submit(seconds=0.1).id
    stale = floor.database.attempts.claim("stale")
    assert stale is not None
    floor.database.attempts.release(job_id, 1, "lease lost")
    assert floor.work() is AttemptOutcome.PUBLISHED
    published = floor.database.jobs.get(job_id)

    ending = attempt(
        stale, lambda job, report: [], store=floor.database.attempts, stop=StopRequest()
    )

    assert ending is AttemptOutcome.LEASE_LOST
    assert floor.database.jobs.get(job_id) == published


def test_a_clip_that_was_accepted_is_decoded_whole(floor: Floor, submit: Submit) -> None:
    clip = write_clip(floor.scratch / "long.mp3", seconds=1.3).read_bytes()
    job_id = submit(clip=clip, seconds=1.3, outputs=["motion"]).id

    floor.work()

    take = arrays(floor.storage.objects[floor.database.jobs.get(job_id).outputs[0].key])
    assert len(take["face"]) in (39, 40, 41)


def test_only_the_takes_that_are_shown_are_filmed(
    floor: Floor, database: Database, submit: Submit
) -> None:
    source = submit(takes=3, outputs=["video", "motion"])
    floor.work()
    source = database.jobs.get(source.id)
    assert source.motion_key is not None
    assert source.motion_digest is not None
    drawn = len(floor.animator.asked)
    again = NewJob(
        new_job_id(),
        source.request.model_copy(update={"shown": (1, 3)}),
        input_key=source.input_key,
        clip_seconds=source.clip_seconds,
        motion=KeptMotion(source.motion_key, source.motion_digest),
    )
    database.jobs.submit(again)

    assert floor.work() is AttemptOutcome.PUBLISHED

    outputs = database.jobs.get(again.id).outputs
    names = [output.name for output in outputs]
    assert names == ["take-1.mp4", "motion-1.npz", "take-3.mp4", "motion-3.npz"]
    assert len(floor.animator.asked) == drawn  # nothing was drawn again
    of_source = {output.name: output.key for output in source.outputs}
    for output in outputs:
        if output.name.endswith(".npz"):
            ours, theirs = (
                np.load(io.BytesIO(floor.storage.objects[key]))
                for key in (output.key, of_source[output.name])
            )
            np.testing.assert_array_equal(ours["pose"], theirs["pose"])
