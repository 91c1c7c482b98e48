"""Passwords in URLs are redacted in logs and errors."""

import logging
from pathlib import Path

import pytest

from jobs.queue.celery_app import make_celery, wake
from jobs.settings import Settings
from jobs.storage.factory import StorageError, open_storage
from jobs.telemetry import logging as logs
from jobs.telemetry.redaction import redact
from tests.jobs.secret_values import PASSWORD, SECRET_SETTINGS


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ("redis://:hush@db:6379/0", "redis://:***@db:6379/0"),
        ("at postgresql+psycopg://me:hu@sh@db/x!", "at postgresql+psycopg://me:***@db/x!"),
        ("'amqp://a:b@c', 'http://d:e@f'", "'amqp://a:***@c', 'http://d:***@f'"),
        (
            "s3://b/p?endpoint_url=http://k:hush@s&region=x",
            "s3://b/p?endpoint_url=http://k:***@s&region=x",
        ),
        ("x?password=hush&user=me", "x?password=***&user=me"),
        ("http://127.0.0.1:8000/ and me@example.org", "http://127.0.0.1:8000/ and me@example.org"),
        ("sqlite:////data/a@b/visavis.db", "sqlite:////data/a@b/visavis.db"),
    ],
)
def test_passwords_in_urls_are_redacted(words: str, seen: str) -> None:
    assert redact(words) == seen


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_log_line_contains_no_password(form: str) -> None:
    try:
        raise ConnectionError(f"no route to {SECRET_SETTINGS['broker_url']}")
    except ConnectionError as error:
        failed = (type(error), error, error.__traceback__)
    record = logging.LogRecord(
        "x", logging.ERROR, "x.py", 1, SECRET_SETTINGS["database_url"], None, failed
    )
    record.reason = SECRET_SETTINGS["storage_url"]

    line = logs.formatter(form).format(record)

    assert PASSWORD not in line
    assert line.count("***") == 3


def test_the_warning_about_an_unavailable_broker_contains_no_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_celery(Settings(data=tmp_path, broker_url=SECRET_SETTINGS["broker_url"]))

    assert not wake(app, "0198")
    app.close()

    assert caplog.records
    assert PASSWORD not in caplog.text + str([record.__dict__ for record in caplog.records])


def test_the_error_of_an_invalid_storage_url_contains_no_password(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, storage_url=f"ftp://me:{PASSWORD}@files/x")

    with pytest.raises(StorageError, match=r"ftp://me:\*\*\*@files/x"):
        open_storage(settings)
