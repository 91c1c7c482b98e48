"""The worker process: it claims jobs until the queue is empty, then waits for the next look.

One process per GPU. Nothing forks, so torch and CUDA stay in the process that started them, and
jobs run in its main thread. A wake-up only shortens the wait for the next look at the table.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from jobs.queue.wake_ups import Looks, open_wake_ups
from jobs.telemetry.metrics import WORKER_LAST_CLAIM
from jobs.telemetry.prometheus import put
from worker.process.claim_loop import ClaimLoop
from worker.process.context import open_context
from worker.process.liveness.heartbeat import Heartbeat
from worker.process.liveness.orphans import OrphanWatch, release_orphan
from worker.process.outcomes import AttemptOutcome
from worker.process.progress import StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from jobs.queue.wake_ups import WakeUps
    from jobs.settings import Settings


def run_worker(settings: Settings) -> int:
    """Work until a signal and return the exit status.

    Raises: DeviceError: when the device does not exist.
    """
    stop = StopRequest(settings.drain_seconds)
    name = f"{socket.gethostname()}-{os.getpid()}"
    with ExitStack() as stack:
        stack.enter_context(structlog.contextvars.bound_contextvars(worker=name))
        context = open_context(settings, name, stop, stack)
        claim_loop = ClaimLoop(
            context.store,
            context.attempt,
            worker=name,
            stop=stop,
            people=settings.worker_people,
            obstacle=context.health.obstacle,
            usable=context.people.usable,
            together=settings.jobs_together,
        )
        wake_ups = stack.enter_context(closing(open_wake_ups(settings, name)))
        looks = Looks()

        def on_orphan(job_id: str, attempt: int) -> bool:
            return release_orphan(context.store, job_id, attempt) and (
                wake_ups.send(job_id) or True
            )

        any_waiting = partial(context.store.any_waiting, settings.worker_people)
        stack.enter_context(Heartbeat(context.scratch.path))
        stack.enter_context(OrphanWatch(settings.scratch, context.locks, on_orphan))
        stack.enter_context(_stopping(stop))
        stack.enter_context(wake_ups.listening(looks.ask))
        stack.callback(looks.close)
        return serve(claim_loop, looks, wake_ups, stop, any_waiting)


def serve(
    claim_loop: ClaimLoop,
    looks: Looks,
    wake_ups: WakeUps,
    stop: StopRequest,
    any_waiting: Callable[[], bool],
) -> int:
    """Claim jobs at each wake-up and each look, until a stop; return the exit status.

    any_waiting: a cheap look, before a claim takes the write lock of the database.
    """
    asked = True  # there may be jobs at the start
    while not stop.requested and claim_loop.exit_status is None:
        request = looks.latest
        outcomes = claim_loop.run() if asked or _any_waiting(any_waiting) else []
        looks.answer(request, found=bool(outcomes))
        if AttemptOutcome.HANDED_BACK in outcomes:
            wake_ups.send("handed-back")  # another worker need not wait for its next look
        asked = looks.wait(wake_ups.poll_seconds, lambda: stop.requested)
    return claim_loop.exit_status or 0


def _any_waiting(look: Callable[[], bool]) -> bool:
    try:
        found = look()
    except SQLAlchemyError:  # the claim loop waits for the database
        return True
    put(WORKER_LAST_CLAIM, time.time())
    return found


@contextmanager
def _stopping(stop: StopRequest) -> Iterator[None]:
    """Request a stop at SIGTERM and SIGINT; the handler only sets flags."""

    def request(number: int, frame: FrameType | None) -> None:
        stop.request()

    before = {each: signal.signal(each, request) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
