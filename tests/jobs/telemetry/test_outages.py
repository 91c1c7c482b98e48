"""Outages in the log: one line at the beginning, one at the end."""

import logging

import pytest
from sqlalchemy.exc import OperationalError

from jobs.storage.errors import StorageError
from jobs.telemetry import outages

AWAY = OperationalError(
    "SELECT 1",
    {},
    Exception("connection to server at 127.0.0.1 failed\n\tIs the server running?\n"),
)


@pytest.fixture(autouse=True)
def _nothing_away() -> None:
    outages.over("database")
    outages.over("storage")


def test_an_outage_is_one_line_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(300):
        outages.report(AWAY, "reaping failed")
    outages.over("database")
    outages.over("database")

    away, back = caplog.records
    assert (away.getMessage(), back.getMessage()) == ("database away", "database back")
    assert away.exc_info is None
    assert away.reason == "connection to server at 127.0.0.1 failed; Is the server running?"
    assert back.errors == 300


def test_a_lasting_outage_is_repeated_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "REPEAT_SECONDS", 0.0)
    for _ in range(3):
        outages.report(StorageError("bucket does not answer"), "not swept")

    assert [each.errors for each in caplog.records] == [1, 2, 3]


def test_an_error_of_the_program_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    outages.report(LookupError("a mistake"), "reaping failed")

    (line,) = caplog.records
    assert line.getMessage() == "reaping failed"
    assert line.exc_info is not None


def test_a_reason_contains_no_link_to_the_library() -> None:
    assert "sqlalche.me" not in outages.reason_of(AWAY)
    assert outages.reason_of(ValueError()) == "ValueError"
