"""A sick worker leaves the jobs to a healthy one: they neither fail nor lose an attempt.

`make sick-workers` does the same with processes and 200 jobs.
"""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from jobs.database import Database
from jobs.maintenance.storage_root import check_owner, prepare_storage
from jobs.model import Job, NewJob, State, new_job_id
from jobs.request.model import GenerateRequest
from jobs.settings import Settings
from jobs.storage.factory import LocalStorage, open_storage
from jobs.storage.keys import input_key
from tests.api_server import write_person
from tests.audio_clips import write_clip
from tests.worker.conftest import end_pauses
from tests.worker.fakes import FakeAnimator, FakeAvatar
from worker.pipeline.media.container import X264
from worker.pipeline.persons import Models, PersonCache
from worker.process.attempt import attempt
from worker.process.claim_loop import ClaimLoop
from worker.process.faults.health import HealthCheck
from worker.process.job import JobContext, run
from worker.process.outcomes import AttemptOutcome
from worker.process.progress import Reporter, StopRequest
from worker.process.retry import RetryingStorage
from worker.process.scratch import scratch_folder

JOBS = 3
CHECKS = 3  # of the health of the sick worker, before the test stops it


class Worker:
    """A worker with real files, decoder, encoder and health check, and fake networks."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        self.storage = open_storage(Settings(data=folder))
        prepare_storage(database.engine, self.storage)
        self.people = write_person(folder / "people", "demo")
        self.claimed: list[str] = []

    def work(self, *, pauses: int) -> None:
        """Work until no job is left, or for so many pauses."""
        end_pauses(self.database)
        self.claimed.clear()
        stop, count = StopRequest(), [pauses]

        def pause(seconds: float, *, in_attempt: bool = False) -> None:
            count[0] -= not in_attempt
            if count[0] <= 0:
                stop.request()

        stop.pause = pause  # type: ignore[method-assign]
        with scratch_folder(self.folder / "scratch") as scratch:
            people = PersonCache(self.people, load=lambda _: Models(FakeAnimator(), FakeAvatar()))
            health = HealthCheck(
                scratch,
                self.storage,
                check_owner=partial(check_owner, self.database.engine),
                people=self.people,
                device=torch.device("cpu"),
                encoder=X264,
            )

            def work(job: Job, report: Reporter) -> list:
                self.claimed.append(job.id)
                job_folder = scratch.path / "job"
                job_folder.mkdir()
                record = partial(self.database.attempts.record_motion, job.id, job.attempt)
                context = JobContext(
                    files=RetryingStorage(self.storage, lambda seconds: None),
                    person_named=people.get,
                    record_motion=lambda key, digest: record(motion_key=key, digest=digest),
                    record_warnings=lambda warnings: True,
                    record_takes=lambda takes: True,
                    record_outputs=lambda outputs: True,
                    expect=lambda costs: None,
                    encoder=X264,
                    signer=None,
                    use=None,
                    scratch=job_folder,
                )
                try:
                    return run(job, context, report)
                finally:
                    shutil.rmtree(job_folder, ignore_errors=True)

            def one(job: Job) -> AttemptOutcome:
                return attempt(
                    job,
                    work,
                    store=self.database.attempts,
                    stop=stop,
                    obstacle=health.obstacle,
                )

            ClaimLoop(
                self.database.attempts,
                one,
                worker="w",
                stop=stop,
                obstacle=health.obstacle,
                usable=people.usable,
            ).run()


@pytest.fixture
def worker(database: Database, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(database, tmp_path)
    yield worker
    worker.storage.close()


def submit(worker: Worker) -> list[str]:
    clip = write_clip(worker.folder / "clip.wav", seconds=0.1)
    request = GenerateRequest(size="64", seed=1)
    ids = [new_job_id() for _ in range(JOBS)]
    for job_id in ids:
        key = input_key(job_id, "wav")
        worker.storage.put(key, clip, "audio/wav")
        worker.database.jobs.submit(NewJob(job_id, request, input_key=key, clip_seconds=0.1))
    return ids


def without_ffmpeg(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("IMAGEIO_FFMPEG_EXE", "/no/ffmpeg")


def without_decoder(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("worker.pipeline.media.decode.read_command", lambda *_, **__: ["/dev/null"])


def without_people(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(worker, "people", worker.folder / "empty")
    worker.people.mkdir()


def with_damaged_people(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    damaged = worker.folder / "damaged"
    shutil.copytree(worker.people, damaged)
    (damaged / "demo" / "person.json").write_text("{")
    patch.setattr(worker, "people", damaged)
    patch.setattr("jobs.persons._last_valid", {})


def without_storage(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    away = LocalStorage(worker.folder / "not mounted", address="", signing_key=b"x")
    patch.setattr(worker, "storage", away)


def with_broken_device(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    patch.setattr(FakeAnimator, "animate", fail)
    patch.setattr("worker.process.faults.health.works", lambda device: False)


@pytest.mark.parametrize(
    "sicken",
    [
        without_ffmpeg,
        without_decoder,
        without_people,
        with_damaged_people,
        without_storage,
        with_broken_device,
    ],
)
def test_a_sick_worker_claims_one_job_and_costs_none(
    worker: Worker, sicken: Callable[[Worker, pytest.MonkeyPatch], None]
) -> None:
    ids = submit(worker)
    with pytest.MonkeyPatch.context() as patch:
        sicken(worker, patch)
        worker.work(pauses=CHECKS)
        assert len(worker.claimed) == 1

    for job_id in ids:
        job = worker.database.jobs.get(job_id)
        assert job.state is State.QUEUED
        assert job.max_attempts - job.attempt == 3  # none has counted
    worker.work(pauses=CHECKS)

    states = [worker.database.jobs.get(job_id).state for job_id in ids]
    assert states == [State.SUCCEEDED] * JOBS


def test_scratch_that_is_removed_during_a_job_costs_nothing(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = submit(worker)
    removals = [worker.folder / "scratch"]
    animate = FakeAnimator.animate

    def animate_without_scratch(*arguments: object, **named: object) -> object:
        if removals:
            shutil.rmtree(removals.pop())
        return animate(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeAnimator, "animate", animate_without_scratch)

    worker.work(pauses=CHECKS)
    end_pauses(worker.database)
    worker.work(pauses=CHECKS)

    jobs = [worker.database.jobs.get(job_id) for job_id in ids]
    assert [job.state for job in jobs] == [State.SUCCEEDED] * JOBS
    assert sum(job.attempt for job in jobs) == JOBS + 1
