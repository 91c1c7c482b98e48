"""Passwords in URLs are redacted in logs and errors."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


URLS = (
    "redis://:{}@broker.example:6379/0",
    "redis://{}@broker.example",
    "rediss://default:{}@broker.example:6380/1",
    "redis+socket://:{}@localhost/s?virtual_host=0",
    "postgresql+psycopg://visavis:{}@db.example:5432/visavis",
    "amqp://guest:{}@broker.example//",
    "https://user:{}@hooks.example/path?x=1",
)
# A password of a URL is percent-encoded or not; one without an escape may contain any character.
PASSWORDS = st.text(
    st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=8, max_size=24
).filter(lambda each: not any(each in url for url in (*URLS, "postgresql://example.com")))


@pytest.mark.parametrize("url", URLS)
@given(password=PASSWORDS)
def test_no_password_of_an_address_is_shown(url: str, password: str) -> None:
    for text in (
        url.format(password),
        f"cannot connect to {url.format(password)}: refused",
        repr({"url": url.format(password)}),
        json.dumps({"reason": f"no answer from {url.format(password)}", "job": "0198"}),
    ):
        seen = redact(text)
        assert "***" in seen
        assert password not in seen
        assert repr(password)[1:-1] not in seen
        assert "example" in seen or "localhost" in seen  # the host is still there


@pytest.mark.parametrize(
    "name",
    [
        "password", "access_token", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential",
        "signature", "client_secret", "api_key", "VISAVIS_SIGNING_SECRET",
    ],
)  # fmt: skip
@given(value=st.text("abcdefABCDEF0123456789%._~-", min_size=6, max_size=40))
def test_no_secret_of_a_query_is_shown(name: str, value: str) -> None:
    for text in (
        f"{name}={value}",
        f"https://bucket.example/key?expires=5&{name}={value}&x=1",
        f"('{name}={value}', 1)",
        json.dumps({"url": f"https://bucket.example/key?{name}={value}"}),
    ):
        assert f"={value}" not in redact(text)


@given(key_id=st.text("0123456789abcdef", min_size=12, max_size=12), secret=st.integers(2**200))
def test_no_api_key_is_shown(key_id: str, secret: int) -> None:
    token = f"vv_{key_id}_{secret:064x}"

    for text in (token, f"Authorization: Bearer {token}", json.dumps({"key": token})):
        seen = redact(text)
        assert f"{secret:064x}" not in seen


def test_json_stays_json() -> None:
    line = json.dumps({"url": "https://a.example/?signature=abc", "to": "redis://:a'b@c", "n": 1})

    assert json.loads(redact(line)) == {
        "url": "https://a.example/?signature=***",
        "to": "redis://:***@c",
        "n": 1,
    }


@pytest.mark.parametrize(
    "text",
    [
        "wrote https://example.com/path to me@example.org",
        "GET /jobs/0198?limit=5",
        "max_tokens=5 tokens: 17",
        "s3://bucket/prefix?region=eu-central-1",
    ],
)
def test_plain_texts_are_left_alone(text: str) -> None:
    assert redact(text) == text
