"""A worker looks at the queue at each wake-up, and without wake-ups, too."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from celery.worker import state

from jobs.database import Database
from jobs.model import State
from jobs.queue.celery_app import QUEUE, make_celery
from jobs.queue.wake_ups import Looks, Messages, Polling, WakeUps, open_wake_ups
from jobs.settings import Settings
from tests.jobs.db.version_0_1 import FACTS
from tests.worker.conftest import Submit
from worker.process.claim_loop import UNFIT, ClaimLoop
from worker.process.outcomes import AttemptOutcome
from worker.process.progress import StopRequest
from worker.process.worker_loop import _stopping, serve

WAIT_SECONDS = 30.0


@pytest.fixture(autouse=True)
def _unchanged_state() -> Iterator[None]:
    yield
    state.should_stop = None


class FakeLoop:
    """A claim loop with the given outcomes of its looks; it stops the worker after the last."""

    def __init__(self, *looks: list[AttemptOutcome], exit_status: int | None = None) -> None:
        self.stop = StopRequest()
        self.exit_status: int | None = None
        self.looks = list(looks)
        self.count = 0
        self._last_status = exit_status

    def run(self) -> list[AttemptOutcome]:
        self.count += 1
        outcomes = self.looks.pop(0)
        if not self.looks:
            self.exit_status = self._last_status
            if self._last_status is None:
                self.stop.request()
        return outcomes


def run_worker(loop: FakeLoop, wake_ups: WakeUps, *, waiting: bool = False) -> int:
    """Serve until the loop stops, or WAIT_SECONDS."""
    looks = Looks()
    too_late = threading.Timer(WAIT_SECONDS, loop.stop.request)
    too_late.start()
    try:
        with wake_ups.listening(looks.ask):
            try:
                return serve(loop, looks, wake_ups, loop.stop, lambda: waiting)  # type: ignore[arg-type]
            finally:
                looks.close()
    finally:
        too_late.cancel()


@pytest.fixture
def messages(tmp_path: Path) -> Iterator[Messages]:
    """A broker in the memory of this process, with an empty queue; looks are rare."""
    settings = Settings(data=tmp_path, broker_url="memory://", worker_people=("demo",))
    app = make_celery(settings)
    with app.connection_for_write() as connection:
        connection.default_channel._purge(QUEUE)  # shared with other tests
    with closing(Messages(app, "tester", passes_on=True)) as opened:
        opened.poll_seconds = WAIT_SECONDS
        yield opened


def test_a_message_of_version_0_1_wakes_the_worker(messages: Messages) -> None:
    with messages._app.connection_for_write() as connection:
        connection.default_channel._put(QUEUE, FACTS["wake_message"])
    loop = FakeLoop([], [AttemptOutcome.PUBLISHED])

    run_worker(loop, messages)

    assert loop.count == 2


def test_a_worker_of_some_people_passes_on_a_wake_up_without_a_job_for_it(
    messages: Messages,
) -> None:
    loop = FakeLoop([], [], [], [AttemptOutcome.PUBLISHED])
    assert messages.send("a job for other people")

    run_worker(loop, messages)

    assert loop.count == 4  # it comes back to this worker, since no other one waits


def test_a_claim_loop_that_gives_up_ends_the_process() -> None:
    loop = FakeLoop([AttemptOutcome.INTERNAL_ERROR], exit_status=UNFIT)

    assert run_worker(loop, Polling()) == UNFIT


def test_a_job_that_was_handed_back_wakes_other_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    polling = Polling()
    monkeypatch.setattr(polling, "send", sent.append)

    assert run_worker(FakeLoop([AttemptOutcome.HANDED_BACK]), polling) == 0

    assert sent == ["handed-back"]


@pytest.mark.parametrize("broker", ["", "redis://127.0.0.1:1/0"])
def test_a_worker_finds_jobs_without_a_broker(
    database: Database, submit: Submit, tmp_path: Path, broker: str
) -> None:
    stop = StopRequest()
    done = threading.Event()

    def attempt(job: object) -> AttemptOutcome:
        stop.request()
        done.set()
        return AttemptOutcome.HANDED_BACK

    settings = Settings(data=tmp_path, broker_url=broker)
    loop = ClaimLoop(database.attempts, attempt, worker="w", stop=stop)  # type: ignore[arg-type]
    looks = Looks()
    with (
        closing(open_wake_ups(settings, "w")) as wake_ups,
        wake_ups.listening(looks.ask),
    ):
        arguments = (loop, looks, wake_ups, stop, database.attempts.any_waiting)
        serving = threading.Thread(target=serve, args=arguments)
        serving.start()
        job_id = submit().id  # after the first look, or before it
        found = done.wait(WAIT_SECONDS)
        stop.request()
        serving.join()
        looks.close()

    assert found
    assert database.jobs.get(job_id).state is State.RUNNING


def test_a_look_takes_no_write_lock_and_ignores_jobs_of_others(
    database: Database, submit: Submit
) -> None:
    assert not database.attempts.any_waiting()
    submit(person="ada")
    with database.engine.begin():  # another writer
        assert database.attempts.any_waiting()
        assert not database.attempts.any_waiting(["bob"])


def test_sigterm_stops_an_idle_worker() -> None:
    loop = FakeLoop([], [])
    with _stopping(loop.stop):
        sending = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGTERM])
        sending.start()
        assert run_worker(loop, _slow(Polling())) == 0
        sending.join()

    assert loop.count == 1


def _slow(polling: Polling) -> Polling:
    polling.poll_seconds = WAIT_SECONDS
    return polling


def test_each_request_is_answered_by_a_look_that_began_after_it() -> None:
    looks = Looks()
    answers: list[bool] = []

    def ask() -> None:
        answers.append(looks.ask())

    began = looks.latest  # a look that began before the request
    asking = threading.Thread(target=ask)
    asking.start()
    assert looks.wait(WAIT_SECONDS, lambda: False)
    looks.answer(began, found=True)
    assert asking.is_alive()
    looks.answer(looks.latest, found=False)
    asking.join(WAIT_SECONDS)

    assert answers == [False]
