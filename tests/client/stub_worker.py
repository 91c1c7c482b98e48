"""Worker in a thread that finishes each job with a small file, without networks."""

import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from jobs.database import Database, open_database
from jobs.db.tables import jobs
from jobs.model import Job, Output, State
from jobs.settings import Settings
from jobs.storage.factory import open_storage
from jobs.storage.keys import attempt_key

IDLE_SECONDS = 0.02
QUEUED = sa.select(jobs.c.id).where(jobs.c.state == State.QUEUED).limit(1)
REFUSED = "refused"  # value of the metadata `outcome` of a job that fails
HELD = "held"  # ... of a job that runs until it is canceled


class Allowance:
    """Number of jobs that the worker may finish; a job beyond it waits."""

    def __init__(self, jobs: int = sys.maxsize) -> None:
        self._jobs, self._changed = jobs, threading.Condition()

    def raise_to(self, jobs: int) -> None:
        with self._changed:
            self._jobs = jobs
            self._changed.notify_all()

    def wait(self, jobs: int, stop: threading.Event) -> None:
        """Return when this many jobs may be finished, or when `stop` is set."""
        with self._changed:
            while self._jobs < jobs and not stop.is_set():
                self._changed.wait(IDLE_SECONDS)


def video_of(job_id: str, name: str) -> bytes:
    """Content of an output file: different for each file, and longer than one read."""
    return f"{job_id} {name}\n".encode() * 4000


@contextmanager
def working(settings: Settings, allowance: Allowance | None = None) -> Iterator[None]:
    """Run the worker."""
    stop = threading.Event()
    thread = threading.Thread(target=_work, args=(settings, allowance or Allowance(), stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _work(settings: Settings, allowance: Allowance, stop: threading.Event) -> None:
    database = open_database(settings)
    finished = 0
    try:
        while not stop.is_set():
            try:
                job = database.attempts.claim("stub") if _any_queued(database) else None
            except OperationalError:  # SQLite is locked by another process
                job = None
            if job is None:
                stop.wait(IDLE_SECONDS)
                continue
            allowance.wait(finished + 1, stop)
            _finish(job, database, settings)
            finished += 1
    finally:
        database.close()


def _any_queued(database: Database) -> bool:
    """Return whether a claim is worth its CPU time, which is ten times that of this query."""
    with database.engine.connect() as connection:
        return connection.scalar(QUEUED) is not None


def _finish(job: Job, database: Database, settings: Settings) -> None:
    outcome = job.metadata.get("outcome")
    database.attempts.progress(job.id, job.attempt, "render", 0.5)
    if outcome == REFUSED:
        database.attempts.fail(job.id, job.attempt, "clip_unsuitable", "The stub refuses it.")
    if outcome in (REFUSED, HELD):
        return
    storage = open_storage(settings)
    outputs = []
    with tempfile.TemporaryDirectory() as folder:
        for take in range(1, job.request.takes + 1):
            name = f"take-{take}.mp4"
            path = Path(folder, name)
            path.write_bytes(video_of(job.id, name))
            key = attempt_key(job.id, job.attempt, name)
            storage.put(key, path, "video/mp4")
            outputs.append(Output(name, key, "video/mp4", path.stat().st_size))
    database.attempts.succeed(job.id, job.attempt, outputs)
