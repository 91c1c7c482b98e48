"""Wake-ups of the worker process, with messages of version 0.1 included."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from celery import Celery
from celery.worker import state

from jobs.queue.celery_app import QUEUE, make_celery
from jobs.settings import Settings
from tests.jobs.db.version_0_1 import FACTS
from worker.process.celery_worker import BROKEN_DEVICE, _consume, _wake_up
from worker.process.outcomes import AttemptOutcome
from worker.process.progress import StopRequest


@pytest.fixture(autouse=True)
def _unchanged_state() -> Iterator[None]:
    before = state.should_stop
    yield
    state.should_stop = before


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
        connection.default_channel._purge(QUEUE)  # the queue in memory is shared with other tests
        connection.default_channel._put(QUEUE, FACTS["wake_message"])
    wakes: list[None] = []

    def stop(status: int) -> None:
        state.should_stop = status  # type: ignore[assignment]

    def wake_up() -> bool:
        wakes.append(None)
        if len(wakes) == 2:  # the worker wakes itself once when it starts
            stop(0)
        return False

    too_late = threading.Timer(30, stop, [1])
    too_late.start()
    status = _consume(app, settings, "tester", wake_up, StopRequest())
    too_late.cancel()

    assert (status, len(wakes)) == (0, 2)


def test_a_worker_of_some_people_passes_on_a_wake_up_without_a_job_for_it(
    app: Celery, settings: Settings
) -> None:
    with app.connection_for_write() as connection:
        connection.default_channel._purge(QUEUE)
    wakes: list[None] = []

    def wake_up() -> bool:
        wakes.append(None)
        if len(wakes) == 3:  # its own at the start comes back to it, since no other worker waits
            state.should_stop = 0  # type: ignore[assignment]
        return len(wakes) == 3

    too_late = threading.Timer(30, setattr, [state, "should_stop", 1])
    too_late.start()
    some_people = settings.model_copy(update={"worker_people": ("demo",)})
    status = _consume(app, some_people, "tester", wake_up, StopRequest())
    too_late.cancel()

    assert (status, len(wakes)) == (0, 3)


class WakeUp:
    """A wake-up whose claim loop has the given outcomes."""

    def __init__(self, *outcomes: AttemptOutcome, device: object) -> None:
        self.sent: list[str] = []
        self.claim_loop = SimpleNamespace(run=lambda: list(outcomes))
        self.context = SimpleNamespace(device=device)
        self.app = SimpleNamespace(
            conf=SimpleNamespace(broker_url="redis://"),
            send_task=lambda name, args, **_: self.sent.append(args[0]),
        )

    def run(self) -> None:
        _wake_up(self.claim_loop, self.context, self.app)


def test_a_broken_device_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.process.celery_worker.works", lambda device: False)
    WakeUp(
        AttemptOutcome.PUBLISHED, AttemptOutcome.INTERNAL_ERROR, device=torch.device("cpu")
    ).run()

    assert state.should_stop == BROKEN_DEVICE


def test_a_bug_on_a_working_device_does_not_end_the_process() -> None:
    before = state.should_stop
    WakeUp(AttemptOutcome.INTERNAL_ERROR, device=torch.device("cpu")).run()

    assert state.should_stop == before


def test_a_job_that_was_handed_back_wakes_other_workers() -> None:
    wake_up = WakeUp(
        AttemptOutcome.PUBLISHED, AttemptOutcome.HANDED_BACK, device=torch.device("cpu")
    )

    wake_up.run()

    assert wake_up.sent == ["handed-back"]
