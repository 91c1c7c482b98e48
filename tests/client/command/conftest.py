"""The command `visavis`, called in this process with a fake service."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import visavis
from visavis.command.app import run
from visavis.command.credentials import Server
from visavis.testing import FakeService

Handler = Callable[[httpx.Request], httpx.Response]


@dataclass(frozen=True)
class Ended:
    """Exit status and output of a command."""

    status: int
    stdout: str
    stderr: str

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


Call = Callable[..., Ended]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home folder, and a working directory with a recording."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("XDG_CONFIG_HOME", "VISAVIS_API_KEY", "VISAVIS_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.wav").write_bytes(b"sound")
    return folder


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def call(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """`call("send", "talk.wav")` runs the command; `transport` replaces the fake service."""

    def called(*arguments: str, transport: Handler | None = None) -> Ended:
        chosen = service if transport is None else httpx.MockTransport(transport)

        def make_client(server: Server) -> visavis.Client:
            key = server.key or ""
            return visavis.Client(server.url, api_key=key, transport=chosen, max_retries=0)

        monkeypatch.setattr("visavis.command.session.make_client", make_client)
        capsys.readouterr()
        status = run(list(arguments))
        return Ended(status, *capsys.readouterr())

    return called
