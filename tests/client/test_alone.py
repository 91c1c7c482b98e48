"""The client installed with httpx and nothing else, against a service with keys and faults."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobs.database import open_database
from jobs.settings import Settings
from jobs.store.api_keys import Scope
from tests.api_server import Served, serving, write_person
from tests.client.faulty_gateway import Faults, Gateway, running
from tests.client.stub_worker import video_of, working
from tests.house.source import ROOT
from tests.new_database import create_database

PROGRAM = Path(__file__).with_name("alone.py")
KEPT_OUT = {"numpy", "pydantic", "pytest", "rich", "torch", "typer"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the built client, httpx and its dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    source = folder / "client"
    ignored = shutil.ignore_patterns("typescript", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "client", source, ignore=ignored)
    target = folder / "packages"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    command += ["--no-build-isolation", "--no-compile", "--target", str(target), str(source)]
    subprocess.run(command, check=True)
    for name in required("httpx"):
        for file in importlib.metadata.files(name) or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (target / top).exists():
                (target / top).symlink_to(importlib.metadata.distribution(name).locate_file(top))
    return target


def required(name: str) -> set[str]:
    """A distribution with all of its dependencies, without extras."""
    needs = [
        re.split(r"[^\w.-]", each)[0]
        for each in importlib.metadata.requires(name) or ()
        if "extra ==" not in each
    ]
    found = {name}
    for each in needs:
        if any(each == have.metadata["Name"] for have in importlib.metadata.distributions()):
            found |= required(each)
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that needs keys."""
    folder = tmp_path_factory.mktemp("keys")
    settings = Settings(data=folder / "data", people=write_person(folder / "people"), access="keys")
    settings.data.mkdir()
    create_database(settings.database_url)
    database = open_database(settings)
    key = database.api_keys.create("alone", "test", [Scope.ADMIN])
    database.close()
    with serving(settings) as served, working(settings):
        served.http.headers["Authorization"] = f"Bearer {key.token}"
        yield served


def in_turn(*faults: str) -> Faults:
    """Return the faults of the requests of each method and path, in turn."""
    return lambda request: faults[(request.count - 1) % len(faults)]


GATEWAYS: dict[str, Faults] = {
    "cutting": in_turn("refuse", "cut", ""),
    "losing": in_turn("lose", ""),
    "limiting": in_turn("429 1", "503", ""),
    "never": lambda _request: "503 1",
    "limit": lambda _request: "429 1000",
    "gone": lambda _request: "refuse",
}


def test_calls_succeed_or_raise_the_documented_error_and_no_job_is_doubled(
    environment: Path, service: Served, clip: Path
) -> None:
    key = service.http.headers["Authorization"].removeprefix("Bearer ")
    address = str(service.http.base_url)
    with ExitStack() as stack:
        gateways = {
            name: stack.enter_context(running(address, faults)) for name, faults in GATEWAYS.items()
        }
        done = ran(environment, plan(address, key, gateways, clip))

    results = done["results"]
    assert KEPT_OUT.isdisjoint(done["packages"])
    assert results["keys"]["files"] == expected(results["keys"]["job"])
    for name in ("cutting", "losing", "limiting"):
        assert results[name]["files"] == expected(results[name]["job"])
    assert results["cutting parts"]["listed"]
    assert results["losing batch"]["files"] == ["0.mp4", "1.mp4", "2.mp4"]
    assert results["without key"] == status("AuthenticationError", "key_missing", 401)
    assert results["wrong key"] == status("AuthenticationError", "key_invalid", 401)
    assert results["never"] == status("ServerError", "", 503)
    assert results["limit"] == status("RateLimitError", "", 429)
    assert results["gone"] == {"error": "APIConnectionError"}
    made = {job["id"] for job in service.http.get("/jobs", params={"limit": 100}).json()["jobs"]}
    known = [each["job"] for each in results.values() if "job" in each]
    known += [job for each in results.values() for job in each.get("jobs", ())]
    assert len(known) == len(set(known)) == 4 + 1 + 3
    assert made == set(known)


def plan(address: str, key: str, gateways: dict[str, Gateway], clip: Path) -> dict[str, Any]:
    """Cases: a function of the program, and options of its client."""
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "keys": ("video", {"base_url": address, "api_key": key}),
        "without key": ("error", {"base_url": address}),
        "wrong key": ("error", {"base_url": address, "api_key": "vv_wrong"}),
    }
    for name in ("cutting", "losing", "limiting"):
        cases[name] = ("video", {"base_url": gateways[name].url, "api_key": key})
    cases["cutting parts"] = ("uploaded", cases["cutting"][1])
    cases["losing batch"] = ("batch", cases["losing"][1])
    for name in ("never", "limit", "gone"):
        options = {"base_url": gateways[name].url, "api_key": key, "max_retries": 1}
        cases[name] = ("error", options)
    return {"clip": str(clip), "cases": cases}


def expected(job_id: str) -> list[str]:
    return [video_of(job_id, f"take-{take}.mp4").decode() for take in (1, 2)]


def status(error: str, code: str, number: int) -> dict[str, Any]:
    return {"error": error, "code": code, "status": number}


def ran(environment: Path, cases: dict[str, Any]) -> dict[str, Any]:
    """Run the program with the packages of the environment and the standard library only."""
    code = (
        f"import runpy, sys; sys.path.append({str(environment)!r})\n"
        f"runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    )
    command = [sys.executable, "-I", "-S", "-c", code, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[str, Any] = json.loads(done.stdout)
    return results
