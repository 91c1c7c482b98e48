"""An API for the tests of a file, with two people and no broker; a clip to send."""

from collections.abc import Iterator

import pytest

from jobs.settings import Settings
from tests.api_server import Served, serving, write_person
from tests.audio_clips import write_clip


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
    with serving(settings) as running:
        yield running


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Half a second in two channels, as wav."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.wav").read_bytes()


@pytest.fixture
def queue(served: Served) -> Iterator[Served]:
    """An API whose queue is empty, before and after."""
    _empty(served)
    yield served
    _empty(served)


def _empty(served: Served) -> None:
    while served.services.database.attempts.claim("tidy") is not None:
        continue
