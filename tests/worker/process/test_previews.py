"""Previews: small videos of all takes, published while the job renders the others."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from jobs.database import Database
from jobs.model import Job, NewJob, State, StoredMotion, new_job_id
from models.avatar.appearance import TRANSPARENT, RenderOptions
from tests.worker.conftest import Submit
from tests.worker.fakes import FakeAvatar, InMemoryStorage
from tests.worker.process.test_job import FakeWorker, arrays
from worker.process.outcomes import AttemptOutcome

pytestmark = pytest.mark.usefixtures("decoder_in_process")


@pytest.fixture
def worker(database: Database, storage: InMemoryStorage, tmp_path: Path) -> FakeWorker:
    (tmp_path / "scratch").mkdir()
    return FakeWorker(database, storage, tmp_path / "scratch")


def watched(worker: FakeWorker, *, crash_at: int = 0) -> list[tuple[RenderOptions, Job]]:
    """Record the options of each render and the job when it began; the n-th one may crash."""
    avatar = worker.person.models.avatar
    seen: list[tuple[RenderOptions, Job]] = []

    def render(*arguments: Any, batch: int, options: RenderOptions) -> Iterator[np.ndarray]:
        job = worker.database.jobs.page().jobs[0]  # the newest
        seen.append((options, job))
        if len(seen) == crash_at:
            raise RuntimeError("a crash")
        return FakeAvatar.render(avatar, *arguments, batch=batch, options=options)

    avatar.render = render
    return seen


def names(job: Job) -> list[str]:
    return [output.name for output in job.outputs]


def test_previews_of_all_takes_are_published_before_the_first_video(
    worker: FakeWorker, submit: Submit
) -> None:
    job_id = submit(seconds=0.5, takes=2, outputs=["video", "preview"]).id
    seen = watched(worker)

    assert worker.work() is AttemptOutcome.PUBLISHED

    previews = ["preview-1.mp4", "preview-2.mp4"]
    assert [names(job) for _, job in seen] == [[], previews[:1], previews, previews]
    assert all(job.state is State.RUNNING for _, job in seen)
    progress = [job.progress for _, job in seen]
    assert progress == sorted(progress)
    assert names(worker.database.jobs.get(job_id)) == [
        "take-1.mp4", "preview-1.mp4", "take-2.mp4", "preview-2.mp4",
    ]  # fmt: skip


def test_a_preview_is_small_and_has_every_second_frame_of_the_first_view(
    worker: FakeWorker, submit: Submit
) -> None:
    fields = {"size": "640x480", "views": ["front", "side"], "supersampling": 3}
    job_id = submit(seconds=0.5, outputs=["preview"], format="webm", **fields).id
    seen = watched(worker)

    worker.work()

    ((options, _),) = seen
    assert (options.samples, options.clay) == (1, True)
    assert options.background != TRANSPARENT
    (preview,) = worker.database.jobs.get(job_id).outputs
    with av.open(io.BytesIO(worker.storage.objects[preview.key])) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (320, 240, 8)
        assert stream.average_rate == 15
        assert video.streams.audio[0].codec_context.name == "aac"
        assert abs(float(video.duration) / av.time_base - 0.5) < 0.1


def test_previews_alone_stop_before_the_videos_and_their_motion_is_rendered_bit_for_bit(
    worker: FakeWorker, submit: Submit
) -> None:
    first = submit(seconds=0.5, takes=3, outputs=["preview", "motion"]).id
    seen = watched(worker)
    assert worker.work() is AttemptOutcome.PUBLISHED
    source = worker.database.jobs.get(first)
    assert len(seen) == 3

    again = _render(worker, source, takes=(2,), outputs=("video", "motion"))
    assert worker.work() is AttemptOutcome.PUBLISHED

    job = worker.database.jobs.get(again)
    assert names(job) == ["take-2.mp4", "motion-2.npz"]
    assert len(worker.animator.calls) == 1
    stored = {output.name: output.key for output in (*source.outputs, *job.outputs)}
    before = {o.name: arrays(worker.storage.objects[o.key]) for o in source.outputs[::2]}
    after = arrays(worker.storage.objects[stored["motion-2.npz"]])
    for name in ("face", "pose"):
        assert after[name].tobytes() == before["motion-2.npz"][name].tobytes()


def test_a_later_attempt_makes_only_the_previews_of_unfinished_takes(
    worker: FakeWorker, submit: Submit
) -> None:
    job_id = submit(seconds=0.2, takes=2, outputs=["video", "preview"]).id
    watched(worker, crash_at=4)  # previews 1 and 2, video 1, video 2
    assert worker.work() is AttemptOutcome.INTERNAL_ERROR
    assert names(worker.database.jobs.get(job_id)) == ["preview-1.mp4", "preview-2.mp4"]

    seen = watched(worker)
    assert worker.work() is AttemptOutcome.PUBLISHED

    assert len(seen) == 2
    keys = [output.key for output in worker.database.jobs.get(job_id).outputs]
    assert ["attempt-1" in key for key in keys] == [True, True, False, False]
    assert all(key in worker.storage.objects for key in keys)


def test_a_canceled_job_publishes_no_preview(worker: FakeWorker, submit: Submit) -> None:
    job_id = submit(seconds=0.2, outputs=["preview"]).id
    worker.at_stage["render"] = lambda: worker.database.jobs.cancel(job_id)

    assert worker.work() is AttemptOutcome.LEASE_LOST

    assert worker.database.jobs.get(job_id).outputs == ()


def _render(worker: FakeWorker, source: Job, *, takes: tuple[int, ...], outputs: Any) -> str:
    """Queue the render of some takes with stored motion, as POST /jobs/{id}/render does."""
    job_id = new_job_id()
    assert source.motion_key is not None and source.motion_digest is not None
    key = f"jobs/{job_id}/attempt-0/motion.npz"
    worker.storage.objects[key] = worker.storage.objects[source.motion_key]
    request = source.request.model_copy(update={"shown": takes, "outputs": outputs})
    new = NewJob(
        job_id,
        request,
        input_key=source.input_key,
        clip_seconds=source.clip_seconds,
        motion=StoredMotion(key, source.motion_digest),
    )
    return worker.database.jobs.submit(new).id
