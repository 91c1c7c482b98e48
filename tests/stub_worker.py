"""Worker without networks, for tests of clients: it claims jobs and publishes small files.

A job with the metadata `{"stub": "fail"}` fails, and one with `{"stub": "wait"}` runs until it is
canceled.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.outputs import OUTPUTS
from jobs.model import Job, Output
from jobs.storage.keys import attempt_key
from tests.api_server import Served

IDLE_SECONDS = 0.02
STAGES = ("decode", "body", "render")


def content_of(job_id: str, name: str) -> bytes:
    """The bytes of an output: different for each file, and more than one block."""
    return f"{job_id} {name}\n".encode() * 2000


@contextmanager
def working(served: Served, folder: Path) -> Iterator[None]:
    """Work on the jobs of a server in a thread. folder: for files on their way to the storage."""
    stop = threading.Event()
    thread = threading.Thread(target=_work, args=(served, folder, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _work(served: Served, folder: Path, stop: threading.Event) -> None:
    while not stop.is_set():
        job = served.services.database.attempts.claim("stub")
        if job is None:
            stop.wait(IDLE_SECONDS)
        else:
            _run(job, served, folder, stop)


def _run(job: Job, served: Served, folder: Path, stop: threading.Event) -> None:
    attempts, wish = served.services.database.attempts, job.metadata.get("stub")
    for stage in STAGES:
        if not attempts.progress(job.id, job.attempt, stage, 0.5):
            return
    while wish == "wait":
        if stop.wait(IDLE_SECONDS) or not attempts.renew(job.id, job.attempt):
            return
    if wish == "fail":
        attempts.fail(job.id, job.attempt, "audio_damaged", "The clip cannot be decoded.")
        return
    attempts.succeed(job.id, job.attempt, _outputs(job, served, folder))


def _outputs(job: Job, served: Served, folder: Path) -> list[Output]:
    wanted = job.request.selected_outputs()
    made = []
    for number in range(1, job.request.takes + 1):
        for output in (each for each in OUTPUTS if each in wanted):
            name = output.file_name(number)
            key = attempt_key(job.id, job.attempt, name)
            content = content_of(job.id, name)
            (folder / "output").write_bytes(content)
            served.services.storage.put(key, folder / "output", output.content_type)
            made.append(Output(name, key, output.content_type, len(content)))
    return made
