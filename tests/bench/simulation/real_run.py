"""Jobs through the real queue: database, broker, worker processes; and costs measured from one."""

import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from bench.simulation.costs import Costs
from bench.simulation.loads import Arrival
from cli.local.embedded_redis import EmbeddedRedis
from jobs.database import Database, open_database
from jobs.db.migrate import upgrade
from jobs.db.tables import jobs
from jobs.model import NewJob, new_job_id
from jobs.queue.wake_ups import open_wake_ups
from jobs.request.model import GenerateRequest
from jobs.settings import Settings
from jobs.storage.keys import input_key
from tests.bench.simulation import waiting_worker
from tests.postgresql import postgresql

if TYPE_CHECKING:
    from datetime import datetime

PROCESSES = multiprocessing.get_context("forkserver")  # torch is imported once
PROCESSES.set_forkserver_preload(["tests.bench.simulation.waiting_worker"])
GIVE_UP_SECONDS = 900.0
MIGRATING = threading.Lock()  # Alembic is not safe in threads
SETUPS = ("embedded", "servers")  # SQLite without a broker; PostgreSQL and Redis


@dataclass(frozen=True)
class Times:
    """Times of a job in seconds after the first submission."""

    clip_seconds: float
    submitted: float
    started: float
    finished: float
    worker: str

    @property
    def wait(self) -> float:
        return self.started - self.submitted

    @property
    def seconds(self) -> float:
        return self.finished - self.started


def run(
    arrivals: Sequence[Arrival],
    *,
    workers: int,
    setup: str,
    ready: Callable[[], object] = lambda: None,
) -> list[Times]:
    """Submit the jobs at their times to so many workers; return the times of their rows.

    ready: called before the first submission.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="visavis-queue-")))
        with MIGRATING:
            environment = stack.enter_context(_environment(folder, setup))
        settings = Settings(**{name.lower()[8:]: value for name, value in environment.items()})
        database = stack.enter_context(closing(open_database(settings)))
        wake_ups = stack.enter_context(closing(open_wake_ups(settings, "submitter")))
        for _ in range(workers):
            stack.enter_context(_worker(environment))
        time.sleep(1.0)  # the consumers of messages have connected
        ready()
        began, ids = time.monotonic(), []
        for arrival in arrivals:
            if (left := began + arrival.at - time.monotonic()) > 0:
                time.sleep(left)
            ids.append(_submit(database, arrival))
            wake_ups.send(ids[-1])
        return _collect(database, ids, [each.clip_seconds for each in arrivals])


def _submit(database: Database, arrival: Arrival) -> str:
    job_id = new_job_id()
    database.jobs.submit(
        NewJob(
            job_id,
            GenerateRequest(),
            input_key=input_key(job_id, "wav"),
            clip_seconds=arrival.clip_seconds,
            tenant=arrival.tenant,
            priority=arrival.priority,
        )
    )
    return job_id


def _collect(database: Database, ids: Sequence[str], clips: Sequence[float]) -> list[Times]:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    unfinished = sa.select(sa.func.count()).where(jobs.c.state.in_(["queued", "running"]))
    with database.engine.connect() as connection:
        while connection.scalar(unfinished):
            assert time.monotonic() < deadline, "the jobs did not finish"
            connection.rollback()
            time.sleep(0.5)
        rows = {row.id: row for row in connection.execute(sa.select(jobs))}
    assert all(row.state == "succeeded" and row.attempt == 1 for row in rows.values())
    first: datetime = rows[ids[0]].created_at
    return [
        Times(
            clip,
            *(
                (at - first).total_seconds()
                for at in (rows[each].created_at, rows[each].started_at, rows[each].finished_at)
            ),
            rows[each].worker,
        )
        for each, clip in zip(ids, clips, strict=True)
    ]


@contextmanager
def _environment(folder: Path, setup: str) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        environment = {"VISAVIS_DATA": str(folder / "data"), "VISAVIS_DEVICE": "cpu"}
        if setup == "servers":
            url = stack.enter_context(postgresql())
            redis = stack.enter_context(EmbeddedRedis(folder / "redis"))
            environment |= {"VISAVIS_DATABASE_URL": url, "VISAVIS_BROKER_URL": redis.url}
        else:
            url = f"sqlite:///{folder}/visavis.db"
            upgrade(url)
            environment |= {"VISAVIS_DATABASE_URL": url, "VISAVIS_BROKER_URL": ""}
        yield environment


@contextmanager
def _worker(environment: dict[str, str]) -> Iterator[None]:
    ready = PROCESSES.Event()
    process = PROCESSES.Process(target=waiting_worker.main, args=(environment, ready), daemon=True)
    process.start()
    try:
        assert ready.wait(GIVE_UP_SECONDS)
        yield
    finally:
        process.terminate()
        process.join(60)


def measured_costs(times: Sequence[Times], *, setup: str) -> Costs:
    """Fit costs to the rows of a run: least squares, and what is left as factors."""
    slope, intercept = statistics.linear_regression(
        [each.clip_seconds for each in times], [each.seconds for each in times]
    )
    factors = [each.seconds / (intercept + slope * each.clip_seconds) for each in times]
    gaps = []  # from the end of a job to the start of the next, which was queued before
    latest: dict[str, Times] = {}
    for each in sorted(times, key=lambda each: each.started):
        before = latest.get(each.worker)
        if before is not None and each.submitted < before.finished - 0.05:
            gaps.append(each.started - before.finished)
        latest[each.worker] = each
    return Costs(
        job=intercept,
        clip=slope,
        factors=tuple(round(factor, 4) for factor in factors),
        claim=statistics.mean(gaps),
        poll=2.0 if setup == "servers" else 0.25,
        messages=setup == "servers",
        message=0.005,
    )
