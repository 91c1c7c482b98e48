"""Commands called in this process, with a small person."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.main import get_command
from typer.testing import CliRunner

from cli.main import app
from tests.clip_readers import read_in_process
from tests.tiny_person import write_tiny_person

Call = Callable[..., Result]
COMMAND = get_command(app)  # built once: its options take 27 ms


@pytest.fixture
def reader_child() -> None:
    """Read the clips of a test in child processes, as the commands do."""


@pytest.fixture(autouse=True)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the clips of other tests in this process."""
    if "reader_child" not in request.fixturenames:
        read_in_process(monkeypatch)


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write_tiny_person(folder)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> Call:
    """`call("doctor", VISAVIS_PORT="1")` runs `visavis-server doctor` in a temporary folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISAVIS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("VISAVIS_DEVICE", "cpu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr("typer.testing._get_command", lambda _app: COMMAND)

    def run(*arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(app, arguments, env=environment)

    return run
