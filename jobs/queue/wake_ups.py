"""Wake-ups of a worker: messages through a broker, and looks at the table of jobs.

A message only shortens the wait for the next look, so a worker without a broker, or whose broker
is away, finds its jobs all the same. Celery consumes the messages in a thread: the main thread
runs the jobs, and goes on while Celery waits for its broker.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from jobs.queue.celery_app import WAKE, make_celery, wake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from celery import Celery

    from jobs.settings import Settings

    Ask = Callable[[], bool]  # asks for a look, waits for its end, returns whether it found a job

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25  # between two looks without a broker
BROKER_POLL_SECONDS = 2.0  # beside a broker, which may be away
MAX_PASSES = 32  # of a wake-up between workers of some people; the next look finds the job
STOP_SECONDS = 5.0  # for the consumer to end
NAP_SECONDS = 0.1


class WakeUps(Protocol):
    """Source of wake-ups."""

    poll_seconds: float  # longest time between two looks of an idle worker

    def send(self, job_id: str) -> bool:
        """Wake a worker; False when nothing was sent."""

    def listening(self, ask: Ask) -> AbstractContextManager[None]:
        """Call `ask` for each message, in another thread, until the block ends."""

    def close(self) -> None:
        """Close the connections."""


class Polling:
    """No messages: workers look at the table."""

    poll_seconds = POLL_SECONDS

    def send(self, job_id: str) -> bool:
        """Send nothing."""
        return False

    def listening(self, ask: Ask) -> AbstractContextManager[None]:
        """Listen to nothing."""
        return nullcontext()

    def close(self) -> None:
        """Do nothing."""


class Messages:
    """Messages of Celery through a broker.

    passes_on: send a message on when it led to no job, because it may concern people of others.
    """

    poll_seconds = BROKER_POLL_SECONDS

    def __init__(self, app: Celery, worker: str, *, passes_on: bool = False) -> None:
        self._app = app
        self._worker = worker
        self._passes_on = passes_on

    def send(self, job_id: str) -> bool:
        """Send a message, unless the broker is away."""
        return wake(self._app, job_id)

    @contextmanager
    def listening(self, ask: Ask) -> Iterator[None]:
        """Run Celery's consumer in a thread, one message at a time."""
        from celery.worker import state

        @self._app.task(name=WAKE, shared=False)
        def woken(job_id: str, passed_on: int = 0) -> None:
            if not ask() and self._passes_on and passed_on < MAX_PASSES:
                # Redis gives it to the worker that has waited longest.
                wake(self._app, job_id, passed_on + 1)

        state.should_stop = None
        consumer = threading.Thread(target=self._consume, name="wake-ups", daemon=True)
        consumer.start()
        try:
            yield
        finally:
            state.should_stop = 0  # type: ignore[assignment]
            consumer.join(STOP_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._app.close()

    def _consume(self) -> None:
        from celery import signals
        from celery.apps.worker import Worker
        from celery.exceptions import SecurityWarning

        class Consumer(Worker):
            def install_platform_tweaks(self, worker: Any) -> None:
                """Install no signal handlers: those of the main thread decide."""

        signals.setup_logging.connect(_keep_logging)
        warnings.simplefilter("ignore", SecurityWarning)  # about root; only JSON is accepted
        try:
            Consumer(
                app=self._app,
                hostname=f"worker@{self._worker}",
                pool_cls="solo",
                concurrency=1,
                quiet=True,
                without_gossip=True,
                without_mingle=True,
                without_heartbeat=True,
            ).start()
        except Exception:  # the worker still looks at the table
            logger.exception("the consumer of wake-ups ended")


class Looks:
    """Rendezvous of the thread that runs jobs with the one that consumes messages."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked = 0  # number of the latest request
        self._answered = 0
        self._found = False
        self._closed = False

    def ask(self) -> bool:
        """Request a look, wait until it has ended, and return whether it found a job."""
        with self._changed:
            self._asked += 1
            mine = self._asked
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._answered >= mine or self._closed)
            return self._found

    def wait(self, seconds: float, stopped: Callable[[], bool]) -> bool:
        """Wait for a request; False after `seconds` or when the worker is stopped."""
        until = time.monotonic() + seconds
        with self._changed:
            while not stopped() and (left := until - time.monotonic()) > 0:
                if self._asked > self._answered:
                    return True
                self._changed.wait(min(left, NAP_SECONDS))  # signal handlers only set a flag
            return self._asked > self._answered and not stopped()

    @property
    def latest(self) -> int:
        """Number of the latest request; a look that begins now answers it."""
        with self._changed:
            return self._asked

    def answer(self, request: int, *, found: bool) -> None:
        """Answer all requests up to this one."""
        with self._changed:
            self._answered, self._found = request, found
            self._changed.notify_all()

    def close(self) -> None:
        """Answer all requests from now on at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def open_wake_ups(settings: Settings, worker: str) -> WakeUps:
    """Return messages if the settings name a broker, else polling. The caller closes it."""
    if not settings.broker_url:
        return Polling()
    return Messages(make_celery(settings), worker, passes_on=bool(settings.worker_people))


def _keep_logging(**_: Any) -> None:
    """Keep the logging of this process: Celery configures none if this signal has a receiver."""
