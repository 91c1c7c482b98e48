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
