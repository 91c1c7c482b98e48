"""Retries of storage and database calls during an outage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from jobs.storage.factory import ObjectMissing, StorageError, StorageFull
from tests.worker.fakes import InMemoryStorage
from worker.process.outcomes import ShutdownRequested
from worker.process.retry import DELAYS, READ_TRIES, RetryingStorage, with_retries

OUTAGE = StorageError("no answer")


def failing(error: Exception, *, times: int) -> tuple[Callable[[], str], list[int]]:
    """An action that fails `times` times, and a list with one entry for each call."""
    calls: list[int] = []

    def action() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    return action, calls


@pytest.mark.parametrize(
    "error", [OUTAGE, StorageFull("no room"), OperationalError("select", {}, Exception("away"))]
)
def test_a_call_is_repeated_until_it_succeeds(error: Exception) -> None:
    pauses: list[float] = []
    action, calls = failing(error, times=3)

    assert with_retries(action, pauses.append) == "done"

    assert (len(calls), tuple(pauses)) == (4, DELAYS[:3])


def test_the_last_error_is_raised_after_one_minute_of_retries() -> None:
    pauses: list[float] = []
    action, calls = failing(OUTAGE, times=99)

    with pytest.raises(StorageError) as caught:
        with_retries(action, pauses.append)

    assert caught.value is OUTAGE
    assert (len(calls), tuple(pauses)) == (len(DELAYS) + 1, DELAYS)
    assert sum(pauses) == pytest.approx(60, abs=1)


@pytest.mark.parametrize("error", [ObjectMissing("jobs/x"), RuntimeError("a bug")])
def test_an_error_that_is_not_an_outage_is_raised_at_once(error: Exception) -> None:
    action, calls = failing(error, times=99)

    with pytest.raises(type(error)):
        with_retries(action, lambda seconds: None)

    assert len(calls) == 1


def test_a_shutdown_during_a_pause_ends_the_retries() -> None:
    action, calls = failing(OUTAGE, times=99)

    def pause(seconds: float) -> None:
        raise ShutdownRequested("the worker is shutting down")

    with pytest.raises(ShutdownRequested):
        with_retries(action, pause)

    assert len(calls) == 1


def test_slow_attempts_end_the_retries_early(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("tenacity.time.monotonic", lambda: clock[0])

    def slow() -> None:
        clock[0] += 40
        raise OUTAGE

    pauses: list[float] = []
    with pytest.raises(StorageError):
        with_retries(slow, pauses.append)

    assert tuple(pauses) == DELAYS[:1]


class AwayStorage(InMemoryStorage):
    """A storage that is not mounted."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def _fail(self, *_: object) -> Any:
        self.calls += 1
        raise OUTAGE

    get = put = stat = _fail


@pytest.mark.parametrize(
    ("call", "tries"),
    [("get", READ_TRIES), ("stat", READ_TRIES), ("put", len(DELAYS) + 1)],
)
def test_a_job_that_only_reads_is_handed_over_soon(call: str, tries: int) -> None:
    storage, pauses = AwayStorage(), []  # type: ignore[var-annotated]
    retrying = RetryingStorage(storage, pauses.append)
    arguments = {"get": ("key", Path("file")), "stat": ("key",), "put": ("key", Path("file"), "")}

    with pytest.raises(StorageError):
        getattr(retrying, call)(*arguments[call])

    assert storage.calls == tries
    assert tuple(pauses) == DELAYS[: tries - 1]
