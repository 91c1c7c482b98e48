"""A live service that requires keys, for clients in other environments and languages."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.db.engine import connect
from jobs.model import LOCAL
from jobs.settings import Settings
from jobs.store.api_keys import ApiKeyStore, Scope
from tests.api_server import Served, serving, write_person
from tests.audio_clips import write_clip
from tests.client.stub_worker import working
from tests.new_database import create_database

ROOT = Path(__file__).parents[3]
TOOLS = ROOT / ".venv-tools"


@dataclass(frozen=True)
class Live:
    """A service with a worker, a key for it, and a clip of half a second in two channels."""

    served: Served
    token: str
    clip: Path

    @property
    def url(self) -> str:
        return str(self.served.http.base_url).rstrip("/")

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for a client: where the service is, and the tools of `make test`."""
        path = os.pathsep.join((str(tool("node/node").parent), os.environ["PATH"]))
        own = {"VISAVIS_URL": self.url, "VISAVIS_API_KEY": self.token, "CLIP": str(self.clip)}
        return {"PATH": path, "HOME": os.environ.get("HOME", "/"), **own}


def tool(name: str) -> Path:
    """Path of a tool in the environment that `make test` and `make check` install."""
    path = TOOLS / (name if "/" in name else f"bin/{name}")
    if not path.exists():
        pytest.fail(f"{path} not found; run `make test`, or `make .venv-tools/.done` alone")
    return path


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    settings = Settings(
        data=folder / "data",
        people=write_person(folder / "people"),
        access="keys",
        reads_per_minute=0,
        writes_per_minute=0,
    )
    create_database(settings.database_url)
    engine = connect(settings.database_url)
    made = ApiKeyStore(engine).create(LOCAL, "a test", [Scope.READ, Scope.WRITE])
    engine.dispose()
    clip = write_clip(folder / "talk.wav")
    with serving(settings) as served, working(settings):
        served.http.headers["authorization"] = f"Bearer {made.token}"
        yield Live(served, made.token, clip)
    shutil.rmtree(folder, ignore_errors=True)
