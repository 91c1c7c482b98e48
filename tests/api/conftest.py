"""Fixtures of API tests: a server with two persons and without a broker, and a clip."""

from collections.abc import Iterator

import pytest

from jobs.db.engine import writing
from jobs.db.tables import jobs
from jobs.model import State, utc_now
from jobs.settings import Settings
from tests.api_server import Served, serving, write_person
from tests.audio_clips import write_clip
from tests.clip_readers import probe_in_process


@pytest.fixture
def probe_child() -> None:
    """Probe the clips of a test in a child process, as the service does."""


@pytest.fixture(autouse=True)
def probe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe the clips of other tests in this process."""
    if "probe_child" not in request.fixturenames:
        probe_in_process(monkeypatch)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("api")
    write_person(folder / "people", "ada", max_seconds=1.0)
    return Settings(
        data=folder / "data",
        people=write_person(folder / "people", "demo"),
        max_upload_bytes=2_000_000,
    )


@pytest.fixture(scope="module")
def served(settings: Settings) -> Iterator[Served]:
    with serving(settings) as server:
        yield server


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Half a second in two channels, as wav."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.wav").read_bytes()


@pytest.fixture
def queue(served: Served) -> Iterator[Served]:
    """A server without queued or running jobs, before and after the test."""
    _cancel_all(served)
    yield served
    _cancel_all(served)


def _cancel_all(served: Served) -> None:
    """One update: a test may leave a thousand jobs."""
    unfinished = jobs.c.state.in_((State.QUEUED, State.RUNNING))
    canceled = {"state": State.CANCELED, "finished_at": utc_now(), "lease_until": None}
    with writing(served.services.database.engine) as connection:
        connection.execute(jobs.update().where(unfinished).values(canceled))
