"""Secrets come from the environment or from files, and are shown nowhere."""

import logging
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsError

from jobs.queue.celery_app import make_celery, wake
from jobs.settings import SECRETS, Settings
from jobs.storage.factory import StorageError, open_storage
from jobs.telemetry import logging as logs
from jobs.telemetry.redaction import redact

HUSH = "hush-hush"
ADDRESSES = {
    "database_url": f"postgresql://visavis:{HUSH}@127.0.0.1:1/visavis",
    "broker_url": f"redis://:{HUSH}@127.0.0.1:1/0",
    "storage_url": f"s3://bucket/visavis?endpoint_url=https://key:{HUSH}@127.0.0.1:1",
    "signing_secret": HUSH,
    "previous_signing_secret": HUSH,
}


def shown(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    return value.get_secret_value() if name.endswith("signing_secret") else value


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_lie_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "secret.txt").write_text(ADDRESSES[name] + "\n")
    monkeypatch.setenv(f"VISAVIS_{name.upper()}_FILE", str(tmp_path / "secret.txt"))

    settings = Settings(data=tmp_path)

    assert shown(settings, name) == ADDRESSES[name]
    assert HUSH not in repr(settings)
    assert HUSH not in str(settings)


def test_a_secret_that_is_set_twice_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISAVIS_SIGNING_SECRET", HUSH)
    monkeypatch.setenv("VISAVIS_SIGNING_SECRET_FILE", str(tmp_path / "secret.txt"))

    with pytest.raises(SettingsError, match="are both set; unset one of them") as caught:
        Settings()

    assert HUSH not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), (b"", "is empty"), (b"\xff\xfe", "is no text")]
)
def test_a_file_that_holds_no_secret_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, words: str
) -> None:
    path = tmp_path / "secret.txt"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("VISAVIS_DATABASE_URL_FILE", str(path))

    with pytest.raises(SettingsError, match=f"VISAVIS_DATABASE_URL_FILE: .*{words}"):
        Settings()


def test_a_setting_that_makes_no_sense_shows_no_other(tmp_path: Path) -> None:
    wrong = ADDRESSES | {"data": tmp_path, "reaper_seconds": 99}

    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(wrong)

    assert "reaper_seconds" in str(caught.value)
    assert HUSH not in str(caught.value)


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
def test_passwords_in_addresses_are_masked(words: str, seen: str) -> None:
    assert redact(words) == seen


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_log_line_shows_no_password(form: str) -> None:
    try:
        raise ConnectionError(f"no route to {ADDRESSES['broker_url']}")
    except ConnectionError as error:
        failed = (type(error), error, error.__traceback__)
    record = logging.LogRecord(
        "x", logging.ERROR, "x.py", 1, ADDRESSES["database_url"], None, failed
    )
    record.reason = ADDRESSES["storage_url"]

    line = logs.formatter(form).format(record)

    assert HUSH not in line
    assert line.count("***") == 3


def test_a_broker_that_is_away_is_named_without_its_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_celery(Settings(data=tmp_path, broker_url=ADDRESSES["broker_url"]))

    assert not wake(app, "0198")
    app.close()

    assert caplog.records
    assert HUSH not in caplog.text + str([record.__dict__ for record in caplog.records])


def test_a_storage_that_makes_no_sense_is_named_without_its_password(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, storage_url=f"ftp://me:{HUSH}@files/x")

    with pytest.raises(StorageError, match=r"ftp://me:\*\*\*@files/x"):
        open_storage(settings)
