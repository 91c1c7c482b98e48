"""The output of openapi-python-client for /openapi.json uploads, waits and downloads."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.client.generated.conftest import Live, tool
from tests.client.stub_worker import video_of

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def package(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the package `generated`, made of the document of the running service."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "config.yaml").write_text("post_hooks: []\n")
    generate = [str(tool("openapi-python-client")), "generate", "--meta", "none"]
    where = ["--url", f"{live.url}/openapi.json", "--output-path", str(folder / "generated")]
    done = subprocess.run(
        [*generate, *where, "--config", str(folder / "config.yaml")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # It knows no JSON lines, and takes the JSON body of that operation; it knows no pictures.
    incomplete = re.findall("WARNING parsing (.+)", done.stderr)
    assert sorted(incomplete) == [
        "GET /people/{person}/{name} within people.",
        "POST /batches within batches.",
    ], done.stderr
    return folder


def test_it_uploads_waits_and_downloads(live: Live, package: Path) -> None:
    script = Path(__file__).with_name("use_client.py")

    done = subprocess.run(
        [str(tool("python")), "-P", str(script), str(package)],
        env=dict(live.environment),
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert sorted(names for names in map(list, found.values())) == [
        ["take-1.mp4"],
        ["take-1.mp4", "take-2.mp4"],
    ]
    for job_id, files in found.items():
        for name, digest in files.items():
            assert digest == hashlib.sha256(video_of(job_id, name)).hexdigest()


def test_names_of_functions_are_the_operation_ids(live: Live, package: Path) -> None:
    operations = {
        operation["operationId"]
        for methods in live.served.http.get("/openapi.json").json()["paths"].values()
        for operation in methods.values()
    }

    modules = {path.stem for path in (package / "generated" / "api").glob("*/*.py")}

    assert modules - {"__init__"} == operations
