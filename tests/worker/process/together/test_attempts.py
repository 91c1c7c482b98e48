"""Several jobs of one person at a time: claims, motion, cancels, failures, and a killed worker."""

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlalchemy.engine import make_url

from contracts.consent import SYNTHETIC, Consent
from jobs.database import Database, open_database
from jobs.model import Job, NewJob, State, new_job_id
from jobs.request.model import GenerateRequest
from jobs.settings import Settings
from jobs.storage.keys import input_key
from models.motion.execution.sharing import SharedAnimator
from models.motion.execution.sizes import BatchSizes
from models.motion.pipeline import Animator, MotionError
from tests import tiny_person
from tests.audio_clips import write_clip
from tests.worker.conftest import Submit
from tests.worker.fakes import DEFAULTS, FakeAvatar, InMemoryStorage
from worker.pipeline.media.container import X264
from worker.pipeline.persons import Models, Person
from worker.process.attempt import attempt
from worker.process.claim_loop import ClaimLoop
from worker.process.context import open_context
from worker.process.job import JobContext, run
from worker.process.liveness.orphans import release_orphan
from worker.process.outcomes import AttemptOutcome
from worker.process.progress import Reporter, StopRequest
from worker.process.retry import RetryingStorage
from worker.process.scratch import scratch_folder
from worker.process.together.turns import Turns

pytestmark = pytest.mark.usefixtures("decoder_in_process")

ROUNDING = 2e-4  # of the standard deviation of the person's codes and poses
LENGTHS = (4.2, 5.0, 4.6)  # seconds
CPU = torch.device("cpu")


class Worker:
    """A claim loop with `together`, the real pipeline and a tiny person; outputs are motion."""

    def __init__(
        self, database: Database, storage: InMemoryStorage, scratch: Path, together: int
    ) -> None:
        self.database, self.storage, self.scratch = database, storage, scratch
        self.batches: list[int] = []
        self.stop = StopRequest()
        self.turns = Turns()
        self.at_stage: dict[tuple[str, str], Callable[[], None]] = {}  # by job and stage
        networks = tiny_person.tiny_networks()
        sizes = BatchSizes(frames=10_000, clips=together)
        animator = (
            SharedAnimator(networks, device=CPU, sizes=lambda: sizes)
            if together > 1
            else Animator(networks, device=CPU)
        )
        consent = Consent(SYNTHETIC, ("non-commercial",))
        models = Models(animator, FakeAvatar())
        self.person = Person("demo", "0" * 64, DEFAULTS, models, consent)
        self.loop = ClaimLoop(
            database.attempts, self.attempt, worker="w", stop=self.stop, together=together
        )

    def attempt(self, job: Job) -> AttemptOutcome:
        return attempt(job, self._work, store=self.database.attempts, stop=self.stop)

    def _work(self, job: Job, report: Reporter) -> list:  # type: ignore[type-arg]
        def progress(stage: str, fraction: float) -> None:
            self.at_stage.pop((job.id, stage), lambda: None)()
            report(stage, fraction)

        folder = self.scratch / job.id
        folder.mkdir()
        attempts = self.database.attempts
        context = JobContext(
            files=RetryingStorage(self.storage, lambda seconds: report.check()),
            person_named=lambda name: self.person,
            record_motion=lambda key, digest: attempts.record_motion(
                job.id, job.attempt, motion_key=key, digest=digest
            ),
            record_warnings=partial(attempts.record_warnings, job.id, job.attempt),
            record_takes=partial(attempts.record_takes, job.id, job.attempt),
            record_outputs=partial(attempts.record_outputs, job.id, job.attempt),
            expect=lambda costs: None,
            encoder=X264,
            signer=None,
            use=None,
            scratch=folder,
            turn=self.turns.turn,
        )
        return run(job, context, progress)

    def motion(self, job_id: str) -> dict[str, np.ndarray]:
        job = self.database.jobs.get(job_id)
        assert job.state is State.SUCCEEDED, (job.state, job.error_detail)
        (output,) = job.outputs
        with np.load(io.BytesIO(self.storage.objects[output.key])) as archive:
            return {name: archive[name] for name in ("face", "pose")}


@pytest.fixture(autouse=True)
def _patient_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three decoders start at the same time, perhaps beside much other work."""
    monkeypatch.setattr("worker.pipeline.media.decode.WALL_SECONDS", 600.0)


@pytest.fixture
def make(database: Database, storage: InMemoryStorage, tmp_path: Path) -> Callable[[int], Worker]:
    return lambda together: Worker(database, storage, tmp_path, together)


def submit_three(submit: Submit, **request: object) -> list[str]:
    fields = {"outputs": ["motion"], "sampler": "unipc", "steps": 3} | request
    return [submit(seconds=seconds, seed=seed, **fields).id for seed, seconds in enumerate(LENGTHS)]


def _arrive(barrier: threading.Barrier) -> None:
    barrier.wait()


def at_the_same_time(worker: Worker, ids: list[str], stage: str = "speech") -> None:
    """Let the jobs wait for each other before a stage."""
    barrier = threading.Barrier(len(ids), timeout=60)
    for job_id in ids:
        worker.at_stage[job_id, stage] = partial(_arrive, barrier)


def test_jobs_together_have_the_motion_of_each_alone(
    make: Callable[[int], Worker], submit: Submit
) -> None:
    worker = make(3)
    ids = submit_three(submit)
    at_the_same_time(worker, ids, "decode")

    assert worker.loop.run() == [AttemptOutcome.PUBLISHED] * 3

    together = [worker.motion(job_id) for job_id in ids]
    alone = make(1)
    others = submit_three(submit)
    assert alone.loop.run() == [AttemptOutcome.PUBLISHED] * 3
    statistics = tiny_person.tiny_statistics()
    for motion, other in zip(together, map(alone.motion, others), strict=True):
        for name, spread in (("face", statistics.code_std), ("pose", statistics.pose_std)):
            difference = torch.from_numpy(motion[name] - other[name]) / spread
            assert float(difference.abs().max()) < ROUNDING


def test_a_canceled_job_leaves_the_others_untouched(
    make: Callable[[int], Worker], submit: Submit
) -> None:
    worker = make(3)
    ids = submit_three(submit)
    at_the_same_time(worker, ids, "decode")

    def cancel() -> None:
        worker.database.jobs.cancel(ids[1])

    worker.at_stage[ids[1], "face"] = cancel

    outcomes = worker.loop.run()

    assert sorted(outcomes) == sorted([AttemptOutcome.LEASE_LOST, *[AttemptOutcome.PUBLISHED] * 2])
    states = [worker.database.jobs.get(job_id).state for job_id in ids]
    assert states == [State.SUCCEEDED, State.CANCELED, State.SUCCEEDED]


def test_a_failed_job_leaves_the_others_untouched(
    make: Callable[[int], Worker], submit: Submit
) -> None:
    worker = make(3)
    ids = submit_three(submit)
    at_the_same_time(worker, ids, "decode")

    def fail() -> None:
        raise MotionError("steps: wrong")

    worker.at_stage[ids[2], "body"] = fail

    outcomes = worker.loop.run()

    assert outcomes.count(AttemptOutcome.USER_ERROR) == 1
    states = [worker.database.jobs.get(job_id).state for job_id in ids]
    assert states == [State.SUCCEEDED, State.SUCCEEDED, State.FAILED]


def test_a_shutdown_hands_back_every_job(make: Callable[[int], Worker], submit: Submit) -> None:
    worker = make(3)
    ids = submit_three(submit)
    at_the_same_time(worker, ids, "decode")
    worker.at_stage[ids[0], "face"] = worker.stop.request

    outcomes = worker.loop.run()

    assert outcomes.count(AttemptOutcome.HANDED_BACK) >= 1
    for job_id in ids:
        job = worker.database.jobs.get(job_id)
        assert job.state in (State.QUEUED, State.SUCCEEDED)


class Claims:
    """A claim loop whose attempts end when they are told to, and then succeed."""

    def __init__(self, database: Database, together: int) -> None:
        self.database = database
        self.running: list[Job] = []
        self.most = 0
        self.order: list[str] = []
        self.changed = threading.Condition()
        self.free = threading.Event()
        self.loop = ClaimLoop(
            database.attempts, self.attempt, worker="w", stop=StopRequest(), together=together
        )

    def attempt(self, job: Job) -> AttemptOutcome:
        with self.changed:
            self.running.append(job)
            self.order.append(job.id)
            self.most = max(self.most, len(self.running))
            self.changed.notify_all()
        assert self.free.wait(60)
        with self.changed:
            self.running.remove(job)
        assert self.database.attempts.succeed(job.id, job.attempt, [])
        return AttemptOutcome.PUBLISHED

    def run(self, running: int) -> set[str]:
        """Run the loop until so many jobs have begun, then let all end; return those at once."""
        thread = threading.Thread(target=self.loop.run)
        thread.start()
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.running) == running, 60)
        with self.changed:
            self.changed.wait_for(lambda: len(self.running) > running, 0.3)
            begun = {job.id for job in self.running}
        self.free.set()
        thread.join(60)
        assert not thread.is_alive()
        return begun


def test_no_more_jobs_than_the_setting_run_at_once(database: Database, submit: Submit) -> None:
    ids = [submit(seed=seed).id for seed in range(5)]
    claims = Claims(database, 3)

    assert claims.run(3) == set(ids[:3])
    assert claims.most == 3
    assert set(claims.order) == set(ids)


@pytest.mark.parametrize(
    "other",
    [
        {"person": "eve"},
        {"steps": 20},
        {"guidance_face": 3.0},
        {"both": True},
        {"quality": "draft"},
    ],
)
def test_a_job_of_other_options_waits_and_so_do_those_after_it(
    database: Database, submit: Submit, other: dict[str, object]
) -> None:
    """No job overtakes the next one in the order of claims."""
    first, second = (submit(seed=seed).id for seed in (1, 2))
    third = submit(**other).id
    submit(seed=3)
    claims = Claims(database, 8)

    assert claims.run(2) == {first, second}
    assert claims.order[2] == third


def test_jobs_of_several_tenants_join_in_the_order_of_claims(
    database: Database, submit: Submit
) -> None:
    jobs = [submit(seed=seed, takes=1 + seed % 2).id for seed in range(3)]
    joining = Claims(database, 2)
    assert joining.run(2) == set(jobs[:2])


def test_a_job_that_comes_later_joins(
    database: Database, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.claim_loop.JOIN_SECONDS", 0.05)
    first = submit(seed=1).id
    claims = Claims(database, 4)
    thread = threading.Thread(target=claims.loop.run)
    thread.start()
    with claims.changed:
        assert claims.changed.wait_for(lambda: claims.order == [first], 60)
    second = submit(seed=2).id
    with claims.changed:
        joined = claims.changed.wait_for(lambda: claims.order == [first, second], 60)
    claims.free.set()
    thread.join(60)

    assert joined


def test_an_error_of_an_attempt_is_raised_after_the_others_have_ended(
    database: Database, submit: Submit
) -> None:
    ids = [submit(seed=seed).id for seed in range(2)]
    began = threading.Barrier(2, timeout=60)
    ended: list[str] = []

    def work(job: Job) -> AttemptOutcome:
        began.wait()
        if job.id == ids[0]:
            raise ZeroDivisionError
        ended.append(job.id)
        return AttemptOutcome.PUBLISHED

    loop = ClaimLoop(database.attempts, work, worker="w", stop=StopRequest(), together=2)
    with pytest.raises(ZeroDivisionError):
        loop.run()
    assert ended == [ids[1]]


KILLED = """
import sys, time
from functools import partial
from pathlib import Path
from jobs.database import StoreConfig, stores_on
from jobs.db.engine import connect
from jobs.store.job_rows import JobLimits
from worker.process.claim_loop import ClaimLoop
from worker.process.context import open_context
from worker.process.progress import StopRequest
from worker.process.scratch import recorded_job, scratch_folder

url, scratch = sys.argv[1:]
config = StoreConfig(lease_seconds=15, wake_seconds=10, jobs=JobLimits(max_attempts=3))
store = stores_on(connect(url), config).attempts
with scratch_folder(Path(scratch)) as folder:
    def hang(job):
        with recorded_job(folder.path, job.id, job.attempt):
            print(job.id, flush=True)
            time.sleep(600)
    ClaimLoop(store, hang, worker="killed", stop=StopRequest(), together=3).run()
"""


def test_a_killed_worker_puts_all_of_its_jobs_back(
    database: Database, submit: Submit, sqlite_url: str, tmp_path: Path
) -> None:
    ids = [submit(seed=seed).id for seed in range(3)]
    assert make_url(sqlite_url).drivername == "sqlite"
    scratch = tmp_path / "scratch"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, sqlite_url, str(scratch)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert {process.stdout.readline().strip() for _ in ids} == set(ids)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert {database.jobs.get(job_id).state for job_id in ids} == {State.RUNNING}

    with scratch_folder(scratch, on_orphan=partial(release_orphan, database.attempts)):
        jobs = [database.jobs.get(job_id) for job_id in ids]

    assert [(job.state, job.attempt) for job in jobs] == [(State.QUEUED, 1)] * 3


def test_a_worker_samples_and_renders_several_jobs_with_its_own_resources(
    sqlite_url: str, tmp_path: Path
) -> None:
    """With files, database, decoder, renderer and encoder as in service."""
    person = tiny_person.write_tiny_person(tmp_path / "people")
    settings = Settings(
        data=tmp_path,
        people=person.parent,
        database_url=sqlite_url,
        jobs_together=3,
        device="cpu",
        sign=False,
    )
    stop = StopRequest()
    with ExitStack() as stack:
        context = open_context(settings, "w", stop, stack)
        database = stack.enter_context(closing(open_database(settings)))
        clip = write_clip(tmp_path / "clip.wav", seconds=0.3)
        ids = [new_job_id() for _ in range(3)]
        for seed, job_id in enumerate(ids):
            key = input_key(job_id, "wav")
            context.storage.put(key, clip, "audio/wav")
            request = GenerateRequest(seed=seed, size="64x64", watermark=False)
            database.jobs.submit(NewJob(job_id, request, input_key=key, clip_seconds=0.3))
        loop = ClaimLoop(context.store, context.attempt, worker="w", stop=stop, together=3)

        assert loop.run() == [AttemptOutcome.PUBLISHED] * 3

        jobs = [database.jobs.get(job_id) for job_id in ids]
        assert [[output.name for output in job.outputs] for job in jobs] == [["take-1.mp4"]] * 3
        assert all(context.storage.stat(job.outputs[0].key).bytes > 0 for job in jobs)
        assert list(context.scratch.path.glob("*.attempt")) == []
