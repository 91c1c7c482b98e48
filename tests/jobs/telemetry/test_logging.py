"""Log lines: facts as JSON, plain tracebacks."""

import json
import logging

from jobs.telemetry import logging as logs


def test_a_log_line_contains_its_facts_as_json() -> None:
    record = logging.LogRecord("jobs.x", logging.INFO, "x.py", 1, "claimed", None, None)
    record.job = "0198"

    line = json.loads(logs.formatter("json").format(record))

    assert (line["event"], line["job"], line["level"], line["logger"]) == (
        "claimed",
        "0198",
        "info",
        "jobs.x",
    )
    assert "timestamp" in line


def test_a_line_has_nothing_that_libraries_add_for_themselves() -> None:
    record = logging.LogRecord("uvicorn.error", logging.INFO, "x.py", 1, "started", None, None)
    record.color_message = "\x1b[32mstarted\x1b[0m"
    record._ray_timestamp_ns = 1

    line = json.loads(logs.formatter("json").format(record))

    assert set(line) == {"event", "level", "logger", "timestamp"}


def test_a_traceback_shows_no_local_variables() -> None:
    password = "hush-hush"
    try:
        raise LookupError(f"{len(password)} letters")
    except LookupError as error:
        failed = (type(error), error, error.__traceback__)
    record = logging.LogRecord("jobs.x", logging.ERROR, "x.py", 1, "failed", None, failed)

    text = logs.formatter("console").format(record)

    assert "LookupError: 9 letters" in text
    assert "password = 'hush" not in text
    assert len(text.splitlines()) < 10


def test_a_console_line_contains_no_control_characters_of_callers() -> None:
    """A path without a key is logged, too, and a terminal would obey it."""
    path = "/healthz/\x1b[2J\x1b[31mOWNED\x07\u202egnp\r\n2026 fake line"
    try:
        raise LookupError(f"not found: {path}")
    except LookupError as error:
        failed = (type(error), error, error.__traceback__)
    record = logging.LogRecord("api", logging.INFO, "x.py", 1, f"request {path}", None, failed)
    record.path = path

    text = logs.formatter("console").format(record)

    assert not [each for each in text if not each.isprintable() and each != "\n"]
    assert r"\x1b[2J" in text
    assert r"\u202e" in text
    assert "2026 fake line" in text.splitlines()[0]  # a message of an exception may have lines
