"""Address and key: their order, the stored file, and secrecy."""

import io
import json
import stat
from pathlib import Path

import httpx
import pytest

from tests.client.command.conftest import Call, Handler
from visavis.testing import FakeService

SECRET = "vv_secret_key"
LOCAL = "http://127.0.0.1:8000"


@pytest.fixture
def asked(service: FakeService) -> list[tuple[str, str | None]]:
    """Address and key of each request to `guarded`."""
    return []


@pytest.fixture
def guarded(service: FakeService, asked: list[tuple[str, str | None]]) -> Handler:
    """The fake service, which knows one key."""

    def answer(request: httpx.Request) -> httpx.Response:
        key = request.headers.get("authorization")
        asked.append((f"{request.url.scheme}://{request.url.netloc.decode()}", key))
        if key == f"Bearer {SECRET}":
            return service.handle_request(request)
        body = {"code": "invalid_key", "detail": "The key is unknown."}
        return httpx.Response(401, json=body)

    return answer


def stored(home: Path) -> Path:
    (path,) = home.rglob("credentials.json")
    return path


def test_the_stored_key_is_for_its_address_only(
    call: Call,
    guarded: Handler,
    asked: list[tuple[str, str | None]],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{SECRET}\n"))
    there = "https://video.example"
    login = call("login", "--url", f"{there}/", transport=guarded)

    assert login.status == 0, login.stderr
    assert stat.S_IMODE(stored(home).stat().st_mode) == 0o600
    assert stat.S_IMODE(stored(home).parent.stat().st_mode) == 0o700
    assert json.loads(stored(home).read_text()) == {"url": there, "keys": {there: SECRET}}
    asked.clear()
    statuses = [
        call("people", transport=guarded).status,
        call("people", "--url", LOCAL, transport=guarded).status,
        call("people", "--url", f"{there}:8443", transport=guarded).status,
    ]
    assert statuses == [0, 4, 4]
    assert asked == [(there, f"Bearer {SECRET}"), (LOCAL, None), (f"{there}:8443", None)]

    assert call("logout", transport=guarded).status == 0
    assert SECRET not in stored(home).read_text()
    assert call("people", "--url", there, transport=guarded).status == 4


def test_options_come_before_the_environment_and_the_environment_before_the_file(
    call: Call,
    guarded: Handler,
    asked: list[tuple[str, str | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call("login", "--key", SECRET, transport=guarded)
    asked.clear()
    call("people", transport=guarded)
    monkeypatch.setenv("VISAVIS_BASE_URL", "http://environment:1")
    monkeypatch.setenv("VISAVIS_API_KEY", "environment")
    call("people", transport=guarded)
    call("people", "--url", "http://option:2", "--key", "option", transport=guarded)

    assert asked == [
        (LOCAL, f"Bearer {SECRET}"),
        ("http://environment:1", "Bearer environment"),
        ("http://option:2", "Bearer option"),
    ]


def test_a_wrong_key_is_not_stored(call: Call, guarded: Handler, home: Path) -> None:
    ended = call("login", "--key", "wrong", transport=guarded)

    assert ended.status == 4
    assert list(home.rglob("credentials.json")) == []


def test_a_key_is_never_printed(call: Call, guarded: Handler, home: Path) -> None:
    commands = [
        ["login", "--key", SECRET],
        ["people"],
        ["jobs", "missing", "--key", SECRET],
        ["send", "talk.wav", "--no-wait"],
        ["--traceback", "people", "--key", SECRET, "--bogus"],
        ["logout"],
    ]
    for arguments in commands:
        for suffix in ([], ["--json"]):
            ended = call(*arguments, *suffix, transport=guarded)
            assert SECRET not in ended.stdout + ended.stderr, arguments


@pytest.mark.parametrize("content", ["", "[]", '{"url": "x"}'])
def test_a_damaged_file_is_reported(call: Call, home: Path, content: str) -> None:
    call("login", "--key", "any")
    stored(home).write_text(content)

    ended = call("people")

    assert ended.status == 2
    assert ended.stderr.endswith(
        "credentials.json is damaged; remove it, and run `visavis login` again\n"
    )


@pytest.mark.parametrize(
    "url", ["foo", "ftp://host", "http://", "http://me:word@host", "http://h?q=1"]
)
def test_an_invalid_address_is_refused(call: Call, url: str) -> None:
    ended = call("people", "--url", url)

    assert (ended.status, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith("--url: ")
