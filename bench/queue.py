"""Load test of database, broker and storage, each alone: `python -m bench queue`.

Processes repeat one operation for some seconds: claims (a claim, and the write that ends the job),
looks of idle workers, polls (the state of 20 jobs), submissions, progress, wake-ups, and objects of
one megabyte. The servers are those of the settings (`VISAVIS_DATABASE_URL`, `VISAVIS_BROKER_URL`,
`VISAVIS_STORAGE_URL`), and the database must contain no jobs. Without `--settings`, it runs on
SQLite, and on a folder.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.performance.machine import this_machine
from contracts.errors import InputError
from training.commands.options import output_file, positive_float, positive_int

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from jobs.database import Database
    from jobs.settings import Settings

    Operation = Callable[[int], object]

QUEUED_A_SECOND = 1000  # jobs for each second of claims, so that no process finds none
TENANTS = 20
POLLED = 20  # jobs of one poll
OBJECT_BYTES = 1_000_000


@dataclass(frozen=True)
class Rate:
    """Rate of an operation in several processes."""

    operation: str
    server: str
    processes: int
    rate: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--processes", type=positive_int, nargs="+", default=[1, 4])
    parser.add_argument("--seconds", type=positive_float, default=5.0, help="of each measurement")
    parser.add_argument("--settings", action="store_true", help="use the servers of the settings")
    parser.add_argument(
        "--operations", nargs="+", choices=OPERATIONS, default=list(OPERATIONS), metavar="NAME"
    )
    parser.add_argument("--json", type=output_file, metavar="PATH", help="JSON report")


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print one line for each operation and number of processes."""
    from jobs.settings import Settings

    load = os.getloadavg()[0]
    with ExitStack() as stack:
        if arguments.settings:
            settings = Settings()
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="visavis-bench-")))
            settings = Settings(data=folder, broker_url="")
        rates = measure(settings, arguments.operations, arguments.processes, arguments.seconds)
    for rate in rates:
        sys.stdout.write(
            f"{rate.operation:<10} {rate.server:<10} {rate.processes:>3} processes "
            f"{rate.rate:>8.0f} a second\n"
        )
    if arguments.json:
        facts = asdict(this_machine()) | machine(load)
        report = {"rates": [vars(rate) for rate in rates], "machine": facts}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def machine(load: float) -> dict[str, object]:
    """Facts of this machine. load: mean number of running processes before the measurement."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": round(load, 1),
    }


def measure(
    settings: Settings, operations: list[str], processes: list[int], seconds: float
) -> list[Rate]:
    """Measure each operation with each number of processes.

    Raises: InputError: when the database has jobs.
    """
    from jobs.database import open_database
    from jobs.db.migrate import upgrade

    upgrade(settings.database_url)
    with closing(open_database(settings)) as database:
        if database.jobs.page(limit=1).jobs:
            raise InputError("the database has jobs; measure with an empty one")
        rates = []
        for name in operations:
            if name == "wake-ups" and not settings.broker_url:
                continue
            for count in processes:
                _prepare(database, name, seconds)
                rate = _rate(settings, name, count, seconds)
                rates.append(Rate(name, _server(settings, name), count, rate))
    return rates


def _server(settings: Settings, name: str) -> str:
    if name == "wake-ups":
        return "redis"
    url = settings.storage_url if name == "objects" else settings.database_url
    return url.partition(":")[0].partition("+")[0]


def _prepare(database: Database, name: str, seconds: float) -> None:
    """Queue jobs for claims, the same number for any number of processes, or a few for others."""
    import sqlalchemy as sa

    from jobs.db.engine import writing
    from jobs.db.tables import jobs
    from jobs.model import new_job_id

    with writing(database.engine) as connection:
        connection.execute(jobs.delete())
    _submit(database, 0)
    count = int(QUEUED_A_SECOND * seconds) if name == "claims" else 10 * POLLED
    with writing(database.engine) as connection:
        row = dict(connection.execute(sa.select(jobs)).mappings().one())
        rows = [
            row | {"id": new_job_id(), "tenant": f"tenant-{number % TENANTS}"}
            for number in range(count)
        ]
        connection.execute(jobs.insert(), rows)
    database.engine.dispose()


def _rate(settings: Settings, name: str, processes: int, seconds: float) -> float:
    """Rate of all processes together, in operations a second."""
    context = multiprocessing.get_context("fork")  # no thread runs, and no connection is open
    barrier, counts = context.Barrier(processes), context.Queue()
    started = [
        context.Process(target=_repeat, args=(settings, name, number, seconds, barrier, counts))
        for number in range(processes)
    ]
    for process in started:
        process.start()
    rate = sum(counts.get(timeout=60 + 20 * seconds) for _ in started)
    for process in started:
        process.join()
    return rate


def _repeat(
    settings: Settings, name: str, number: int, seconds: float, barrier: object, counts: object
) -> None:
    """Repeat an operation in a process, and report its rate."""
    with ExitStack() as stack:
        operation = OPERATIONS[name](settings, stack)
        operation(number)  # opens the connection
        barrier.wait()  # type: ignore[attr-defined]
        began, done = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            operation(number)
            done += 1
        counts.put(done / passed)  # type: ignore[attr-defined]


def _database(settings: Settings, stack: ExitStack) -> Database:
    from jobs.database import open_database

    return stack.enter_context(closing(open_database(settings)))


def _submit(database: Database, number: int) -> None:
    from jobs.model import NewJob, new_job_id
    from jobs.request.model import GenerateRequest
    from jobs.storage.keys import input_key

    job_id = new_job_id()
    new = NewJob(
        job_id,
        GenerateRequest(),
        input_key=input_key(job_id, "wav"),
        clip_seconds=10.0,
        tenant=f"tenant-{number % TENANTS}",
    )
    database.jobs.submit(new)


def _claims(settings: Settings, stack: ExitStack) -> Operation:
    attempts = _database(settings, stack).attempts

    def operation(number: int) -> None:
        job = attempts.claim(f"bench-{number}")
        if job is None or not attempts.succeed(job.id, job.attempt, []):
            raise RuntimeError("no job left; lower --seconds")

    return operation


def _looks(settings: Settings, stack: ExitStack) -> Operation:
    attempts = _database(settings, stack).attempts
    return lambda number: attempts.any_waiting()


def _polls(settings: Settings, stack: ExitStack) -> Operation:
    database = _database(settings, stack)
    ids = [job.id for job in database.jobs.page(limit=POLLED).jobs]
    return lambda number: database.jobs.statuses(ids)


def _submissions(settings: Settings, stack: ExitStack) -> Operation:
    database = _database(settings, stack)
    return lambda number: _submit(database, number)


def _progress(settings: Settings, stack: ExitStack) -> Operation:
    attempts = _database(settings, stack).attempts
    claimed = attempts.claim("bench")
    if claimed is None:
        raise RuntimeError("no job to report on")
    return lambda number: attempts.progress(claimed.id, claimed.attempt, "face", 0.5)


def _wake_ups(settings: Settings, stack: ExitStack) -> Operation:
    from jobs.queue.celery_app import make_celery, wake

    app = stack.enter_context(closing(make_celery(settings)))
    return lambda number: wake(app, "bench")


def _objects(settings: Settings, stack: ExitStack) -> Operation:
    from jobs.storage.factory import open_storage

    storage = stack.enter_context(closing(open_storage(settings)))
    if storage.owner() is None:
        storage.make_root("bench")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="visavis-bench-")))
    source, back = folder / "object", folder / "back"
    source.write_bytes(os.urandom(OBJECT_BYTES))

    def operation(number: int) -> None:
        key = f"bench/{number}"
        storage.put(key, source, "application/octet-stream")
        storage.get(key, back)

    return operation


OPERATIONS: dict[str, Callable[[Settings, ExitStack], Operation]] = {
    "claims": _claims,
    "looks": _looks,
    "polls": _polls,
    "submissions": _submissions,
    "progress": _progress,
    "wake-ups": _wake_ups,
    "objects": _objects,
}
