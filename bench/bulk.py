"""Bulk runs: clips a CPU second beside the service, and what Ray adds to an item."""

from __future__ import annotations

import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from worker.bulk.pool import Pool

RATE = 48_000
FIELDS = {"seed": "1", "outputs": "video,motion"}
COMMAND = [sys.executable, "-P", "-c", "from cli.main import app; app()"]
START_SECONDS = 300.0
POLL_SECONDS = 0.1


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    command.add_argument("--clips", type=int, default=20, help="clips of bulk run and service")
    command.add_argument("--pairs", type=int, default=10, help="items of both engines; 0: no Ray")
    command.add_argument("--seconds", type=float, default=10.0, help="length of a clip")
    command.add_argument("--people", type=Path, help="folder of people; default: VISAVIS_PEOPLE")


def run(arguments: argparse.Namespace) -> None:
    """Print clips a CPU second of both, and the overhead of both engines per item."""
    with tempfile.TemporaryDirectory(prefix="visavis-bench-") as temporary:
        folder = Path(temporary)
        (folder / "calls").mkdir()
        for number in range(arguments.clips):
            _write_noise(folder / "calls" / f"{number:03}.wav", arguments.seconds, number)
        environment = _environment(folder, arguments.people)
        load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
        print(f"{arguments.clips} clips of {arguments.seconds:g} s, load {load}")
        if arguments.clips:
            _compare_rates(folder, arguments.clips, environment)
        if arguments.pairs:
            os.environ.update(environment)
            _compare_engines(folder, arguments.pairs, arguments.seconds)


def _environment(folder: Path, people: Path | None) -> dict[str, str]:
    root = Path(__file__).resolve().parents[1]
    chosen = {} if people is None else {"VISAVIS_PEOPLE": str(people.absolute())}
    return {
        **os.environ,
        "PYTHONPATH": str(root),
        "VISAVIS_DATA": str(folder / "data"),
        "VISAVIS_PORT": "0",
        "VISAVIS_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        **chosen,
    }


def _compare_rates(folder: Path, clips: int, environment: Mapping[str, str]) -> None:
    before = _children_seconds()
    source, out = str(folder / "calls" / "*.wav"), str(folder / "out")
    fields = [f"--{name}={value}" for name, value in FIELDS.items()]
    options = ["--out", out, "--workers", "2", *fields]
    subprocess.run([*COMMAND, "bulk", source, *options], env=environment, check=True)
    bulk = _children_seconds() - before
    service = _of_service(folder, environment)
    for name, seconds in (("bulk", bulk), ("service", service)):
        print(f"{name:8} {clips / seconds:.3f} clips a CPU second ({seconds:.1f} CPU s)")


def _of_service(folder: Path, environment: Mapping[str, str]) -> float:
    """Return CPU seconds of API and worker, with their starts, for the same requests."""
    import httpx

    before = _children_seconds()
    port = _free_port()
    up = subprocess.Popen(
        [*COMMAND, "up"],
        env={**environment, "VISAVIS_PORT": str(port), "VISAVIS_WRITES_PER_MINUTE": "0"},
        stdout=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
            _wait_until_ready(http, up)
            places = []
            for path in sorted((folder / "calls").glob("*.wav")):
                answer = http.post("/generate", data=FIELDS, files={"audio": path.read_bytes()})
                answer.raise_for_status()
                places.append(answer.headers["location"])
            for place in places:
                while (job := _job(http, place))["state"] in ("queued", "running"):
                    pass
                if job["state"] != "succeeded":
                    raise RuntimeError(f"the job ended: {job['error']}")
                for output in job["outputs"]:
                    http.get(output["path"]).raise_for_status()
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait()
    return _children_seconds() - before


def _job(http: Any, place: str) -> Any:
    return http.get(place, headers={"prefer": "wait=30"}).json()


def _wait_until_ready(http: Any, up: subprocess.Popen[bytes]) -> None:
    import httpx

    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and up.poll() is None:
        try:
            if http.get("/healthz").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(POLL_SECONDS)
    raise RuntimeError("the service did not start")


def _compare_engines(folder: Path, pairs: int, seconds: float) -> None:
    """Make the same items by a local process and an actor in turn; print what each adds."""
    from jobs.request.model import GenerateRequest
    from jobs.settings import Settings
    from worker.bulk.local_pool import LocalPool
    from worker.bulk.manifest import Item
    from worker.bulk.ray_pool import RayPool
    from worker.bulk.results import Attempts

    clip = folder / "pair.wav"
    _write_noise(clip, seconds, 1)
    request = GenerateRequest(seed=1, outputs=("video", "motion"))
    settings, out = Settings(), str(folder / "pairs")
    pools: dict[str, Pool] = {
        "local": LocalPool([settings], out),
        "ray": RayPool([settings], out, gpus=False),
    }
    added: dict[str, list[float]] = {name: [] for name in pools}
    worked: dict[str, list[float]] = {name: [] for name in pools}
    try:
        for pool in pools.values():
            pool.start()
        for number in range(pairs + 1):
            for name, pool in pools.items():
                began = time.perf_counter()
                item = Item(f"{name}-{number}", 1, str(clip), None, request)
                pool.submit(0, item, Attempts(1, 0))
                while not (ends := pool.wait(60.0)):
                    pass
                (ended,) = ends
                turnaround = time.perf_counter() - began
                if ended.result is None or ended.result.error is not None:
                    raise RuntimeError(f"the item failed: {ended}")
                if number:  # the first one loads the person
                    added[name].append(turnaround - ended.result.seconds)
                    worked[name].append(ended.result.seconds)
    finally:
        for pool in pools.values():
            pool.close()
    local = statistics.median(worked["local"])
    for name in pools:
        more = statistics.median(added[name])
        print(
            f"{name:8} adds {1000 * more:.1f} ms to an item, {100 * more / local:.2f} % of "
            f"{local:.2f} s; work {statistics.median(worked[name]):.2f} s"
        )


def _write_noise(path: Path, seconds: float, seed: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(random.Random(seed).randbytes(4 * round(seconds * RATE)))


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
