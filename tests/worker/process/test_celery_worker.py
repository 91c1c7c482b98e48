"""Wake-ups: messages of the queue, as version 0.1 sent them too."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery.worker import state

from jobs.queue.celery_app import QUEUE, make_celery
from jobs.settings import Settings
from tests.jobs.db.version_0_1 import FACTS
from worker.process.celery_worker import _consume
from worker.process.progress import StopRequest


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, broker_url="memory://")


@pytest.fixture
def app(settings: Settings) -> Iterator[Celery]:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    opened = make_celery(settings)
    yield opened
    opened.close()
    state.should_stop = None
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)  # the worker has installed its own


def test_a_message_of_version_0_1_wakes_the_worker(app: Celery, settings: Settings) -> None:
    with app.connection_for_write() as connection:
        connection.default_channel._put(QUEUE, FACTS["wake_message"])
    wakes: list[None] = []

    def stop(status: int) -> None:
        state.should_stop = status  # type: ignore[assignment]

    def wake_up() -> None:
        wakes.append(None)
        if len(wakes) == 2:  # the worker wakes itself once when it starts
            stop(0)

    too_late = threading.Timer(30, stop, [1])
    too_late.start()
    status = _consume(app, settings, "tester", wake_up, StopRequest())
    too_late.cancel()

    assert (status, len(wakes)) == (0, 2)
