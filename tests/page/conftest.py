"""The page in Chromium, before the whole service: API, worker and a tiny person."""

import json
import os
import shutil
from asyncio.events import AbstractEventLoop, _get_running_loop, _set_running_loop
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from contracts.person import write_manifest
from jobs.database import open_database
from jobs.settings import Settings
from jobs.store.api_keys import Scope
from tests.api_server import serving
from tests.audio_clips import write_clip
from tests.e2e.conftest import Stack, service_environment, started
from tests.page.studio import Studio, opened
from tests.tiny_person import write_tiny_person

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DEMO = Path(__file__).parents[2] / "people" / "demo"
MEDIA = {"picture": "picture.webp", "loop": "loop.mp4"}
LIMIT = 12.0  # seconds of a clip
IDLE = "zoe"  # a person whose jobs no worker claims: they stay in the queue


@dataclass(frozen=True)
class Service:
    """The running service and the folder of its persons."""

    stack: Stack
    people: Path

    @property
    def http(self) -> httpx.Client:
        return self.stack.http

    @property
    def address(self) -> str:
        return str(self.stack.http.base_url)

    def settings(self, **changes: object) -> Settings:
        """Settings of another API on the same data."""
        return Settings(data=self.stack.settings.data, people=self.people, **changes)


def chromium() -> str:
    """Return the path of Chromium. Fails with a sentence that says how to get it."""
    given = os.environ.get("VISAVIS_TEST_CHROMIUM")
    found = given or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail(
            "Chromium not found, which the tests of the web page need; install it (Debian: "
            "`apt-get install chromium`), or set VISAVIS_TEST_CHROMIUM to its path"
        )
    return found


class PlaywrightLoop:
    """The event loop of Playwright, which runs in this thread as long as its browser.

    It is hidden from tests of other folders, of which some start a loop.
    """

    _running: AbstractEventLoop | None = None

    @classmethod
    def resume(cls) -> None:
        _set_running_loop(cls._running)

    @classmethod
    def suspend(cls) -> None:
        cls._running = _get_running_loop() or cls._running
        _set_running_loop(None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Resume the loop for tests of this folder; the hook is called for all tests."""
    if item.path.is_relative_to(Path(__file__).parent):
        PlaywrightLoop.resume()
    try:
        return (yield)
    finally:
        PlaywrightLoop.suspend()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser, with a microphone that beeps once a second."""
    options = [
        "--no-sandbox",  # of root in containers
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
    ]
    path = chromium()
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=options)
        yield launched
        PlaywrightLoop.resume()  # the last test may be of another folder
        launched.close()


def add_media(person: Path) -> None:
    """Give a person the picture and the loop of the demo person."""
    for name in MEDIA.values():
        shutil.copy(DEMO / name, person)
    members = json.loads((person / "person.json").read_text())
    files = [*members.pop("files"), *MEDIA.values()]
    facts = {name: value for name, value in members.items() if name != "schema"}
    write_manifest(person, facts | {"media": MEDIA}, files)


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`visavis-server up` with two persons; the worker claims jobs of the first only."""
    people = tmp_path_factory.mktemp("people")
    for name in ("demo", IDLE):
        add_media(write_tiny_person(people, name, max_seconds=LIMIT))
    environment = {
        **service_environment(people, tmp_path_factory.mktemp("data")),
        "VISAVIS_LEASE_SECONDS": "15",  # no process is killed here, and each round of the reaper
        "VISAVIS_REAPER_SECONDS": "3",  # costs CPU time
        "VISAVIS_WORKER_PEOPLE": "demo",
        "VISAVIS_MAX_UPLOAD_BYTES": "9000000",
    }
    with started(environment, tmp_path_factory.mktemp("logs")) as stack:
        yield Service(stack, people)


@dataclass(frozen=True)
class Guarded:
    """An API that needs keys, and a key."""

    address: str
    token: str


@pytest.fixture(scope="package")
def guarded(service: Service) -> Iterator[Guarded]:
    """Another API on the same data, which needs keys."""
    settings = service.settings(access="keys")
    with closing(open_database(settings)) as database:
        key = database.api_keys.create("acme", "page", [Scope.READ, Scope.WRITE])
    with serving(settings) as served:
        yield Guarded(str(served.http.base_url), key.token)


@pytest.fixture(autouse=True)
def _no_job_left(service: Service) -> Iterator[None]:
    """Cancel the jobs that a test left: a page would follow them."""
    yield
    for state in ("queued", "running"):
        for job in service.http.get("/jobs", params={"state": state}).json()["jobs"]:
            service.http.post(f"/jobs/{job['id']}/cancel")


@pytest.fixture
def studio(browser: Browser, service: Service) -> Iterator[Studio]:
    """The page in a new profile, as at a first visit."""
    with opened(browser, service.address) as studio:
        yield studio


@pytest.fixture(scope="package")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of two voices."""
    return write_clip(tmp_path_factory.mktemp("clips") / "talk.wav", seconds=1.0)


@pytest.fixture(scope="package")
def six(service: Service, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A finished job with six takes of two seconds, and their motion."""
    clip = write_clip(tmp_path_factory.mktemp("six") / "six.wav", seconds=2.0)
    fields = {"takes": "6", "outputs": "video,motion", "size": "64"}
    job = service.stack.submit(clip, **fields)
    service.stack.until(job, lambda view: view["state"] == "succeeded", seconds=90)
    return job
