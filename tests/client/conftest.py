"""Fixtures of client tests: a service with a stub worker, and retries without pauses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import visavis
from jobs.settings import Settings
from tests.api_server import Served, serving, write_person
from tests.audio_clips import write_clip
from tests.client.stub_worker import working
from visavis.core.steps import Sleep


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without a key and an address."""
    for name in ("VISAVIS_API_KEY", "VISAVIS_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service without keys, whose jobs succeed at once."""
    folder = tmp_path_factory.mktemp("service")
    settings = Settings(
        data=folder / "data", people=write_person(folder / "people"), max_upload_bytes=2_000_000
    )
    with serving(settings) as served, working(settings):
        yield served


@pytest.fixture(scope="package")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second in two channels."""
    return write_clip(tmp_path_factory.mktemp("clip") / "talk.wav")


@pytest.fixture
def client(service: Served) -> Iterator[visavis.Client]:
    with visavis.Client(str(service.http.base_url)) as made:
        yield made


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of the pauses, which are not waited for."""
    seconds: list[float] = []

    def without_pause(asked: float) -> Sleep:
        seconds.append(asked)
        return Sleep(0)

    for module in ("visavis.core.retry", "visavis.jobs.wait", "visavis.batch.items"):
        monkeypatch.setattr(f"{module}.Sleep", without_pause)
    return seconds
