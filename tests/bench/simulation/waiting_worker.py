"""Worker process whose pipeline waits instead of computing: real claims, leases and writes."""

import os
import random
import signal
import socket
import time
from contextlib import ExitStack, closing
from functools import partial
from multiprocessing.synchronize import Event

from jobs.database import open_database
from jobs.model import Job, Output
from jobs.queue.wake_ups import Looks, open_wake_ups
from jobs.settings import Settings
from worker.process.attempt import attempt
from worker.process.claim_loop import ClaimLoop
from worker.process.progress import Reporter, StopRequest
from worker.process.worker_loop import serve

# Seconds of each stage for each second of a clip: the simulation does not know them.
STAGES = {"decode": 0.01, "speech": 0.02, "face": 0.16, "guide": 0.03, "body": 0.13, "render": 0.15}
# Standard deviation of the logarithm of a job's seconds, as measured for 40 jobs of the demo person
# at 64 pixels, beside a line over the lengths of their clips.
NOISE = 0.1


def work(job: Job, report: Reporter) -> list[Output]:
    """Wait for each stage of a job."""
    factor = random.Random(job.id).lognormvariate(0, NOISE)
    for stage, seconds in STAGES.items():
        report(stage, 0.0)
        time.sleep(seconds * factor * job.clip_seconds)
    return []


def main(environment: dict[str, str], ready: Event) -> None:
    """Work until SIGTERM, in a process of a fork server."""
    os.environ.update(environment)
    settings = Settings()
    name = f"{socket.gethostname()}-{os.getpid()}"
    stop = StopRequest()
    with ExitStack() as stack:
        database = stack.enter_context(closing(open_database(settings)))
        wake_ups = stack.enter_context(closing(open_wake_ups(settings, name)))
        looks = Looks()
        stack.enter_context(wake_ups.listening(looks.ask))
        stack.callback(looks.close)
        signal.signal(signal.SIGTERM, lambda number, frame: stop.request())
        claim_loop = ClaimLoop(
            database.attempts,
            partial(attempt, work=work, store=database.attempts, stop=stop),
            worker=name,
            stop=stop,
        )
        ready.set()
        serve(claim_loop, looks, wake_ups, stop, database.attempts.any_waiting)
