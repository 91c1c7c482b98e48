"""`make hostile`: two API processes under hostile clients, and what honest ones notice of them.

No worker runs: jobs wait. The report has the limit of open files, the CPU of each process, response
times of honest clients and the statuses of each tenant. Exit status 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from cli.local.embedded_redis import EmbeddedRedis
from jobs.db.engine import connect
from jobs.db.migrate import upgrade
from jobs.store.api_keys import ApiKeyStore, Scope
from tests.api_server import write_person
from tests.audio_clips import write_clip
from tests.hostile.load import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

POLL_BAR, SUBMIT_BAR = 0.2, 2.0  # seconds, p99
HONEST = 5  # tenants
START_SECONDS = 60.0


def keys(url: str) -> tuple[str, tuple[str, ...]]:
    """Keys of the hostile tenant, and of the honest ones."""
    upgrade(url)
    engine = connect(url)
    store, scopes = ApiKeyStore(engine), (Scope.READ, Scope.WRITE)
    hostile = store.create("hostile", "load", scopes).token
    honest = [store.create(f"honest-{n}", "load", scopes).token for n in range(HONEST)]
    engine.dispose()
    return hostile, tuple(honest)


@contextmanager
def hanging_server() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        yield int(server.getsockname()[1])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def api(port: int, environment: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    """Run an API process."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "api"],
            env=os.environ | environment | {"VISAVIS_PORT": str(port)},
            stdout=file,
            stderr=file,
        )
    try:
        wait_until_alive(port, process, log)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def wait_until_alive(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2, trust_env=False, verify=False)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(log.read_text()[-2000:])


def load(plan: Plan) -> dict[str, Any]:
    """Run the clients in their process; return what they measured."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.load", json.dumps(asdict(plan))],
        stdout=subprocess.PIPE,
        check=True,
        timeout=plan.seconds + 240,
    )
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("inf")


def cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def report(measured: dict[str, Any], cpus: Sequence[float], seconds: float) -> list[str]:
    """Print the report; return the bars that were missed."""
    polls, submits = measured["polls"], measured["submits"]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lines = [
        f"{seconds:g} s, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
        f"open files: {soft} (at most {hard}) of each process before it raises its limit",
        *(f"API process {n}: {cpu / seconds:.2f} of a core" for n, cpu in enumerate(cpus, 1)),
        f"clients: {measured['cpu_seconds'] / seconds:.2f} of a core, delay of their loop p99 "
        f"{1000 * quantile(measured['delays'], 0.99):.0f} ms",
        *(
            f"honest {name}: {len(values)}, p50 {1000 * quantile(values, 0.5):.0f} ms, p99 "
            f"{1000 * quantile(values, 0.99):.0f} ms, longest {1000 * max(values):.0f} ms"
            for name, values in (("polls", polls), ("submits", submits))
        ),
        *(f"{tenant}: {dict(sorted(found.items()))}" for tenant, found in statuses(measured)),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    missed = wrong_answers(measured)
    if quantile(polls, 0.99) > POLL_BAR:
        missed.append(f"p99 of honest polls above {POLL_BAR} s")
    if quantile(submits, 0.99) > SUBMIT_BAR:
        missed.append(f"p99 of honest submits above {SUBMIT_BAR} s")
    return missed


def statuses(measured: dict[str, Any]) -> list[tuple[str, dict[str, int]]]:
    return sorted(measured["statuses"].items())


def wrong_answers(measured: dict[str, Any]) -> list[str]:
    """Answers that no client may get: 5xx, but for 503 to the hostile tenant."""
    found = measured["statuses"]
    return [
        *(f"honest: {name}" for name in found["honest"] if name not in ("200", "202")),
        *(f"hostile: {name}" for name in found["hostile"] if name[0] == "5" and name != "503"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    seconds = parser.parse_args().seconds
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="visavis-hostile-")))
        redis = stack.enter_context(EmbeddedRedis())
        hanging_port = stack.enter_context(hanging_server())
        url = f"sqlite:///{folder}/visavis.db"
        hostile, honest = keys(url)
        environment = {
            "VISAVIS_DATA": str(folder / "data"),
            "VISAVIS_DATABASE_URL": url,
            "VISAVIS_BROKER_URL": redis.url,
            "VISAVIS_PEOPLE": str(write_person(folder / "people")),
            "VISAVIS_ACCESS": "keys",
            "VISAVIS_AUDIO_URLS": "true",
            "VISAVIS_OUTBOUND_ALLOW": "127.0.0.0/8",
            "VISAVIS_READS_PER_MINUTE": "0",  # places have to protect the others, not rates
            "VISAVIS_WRITES_PER_MINUTE": "0",
        }
        ports = (free_port(), free_port())
        processes = [
            stack.enter_context(api(port, environment, folder / f"api-{port}.log"))
            for port in ports
        ]
        clip = write_clip(folder / "clip.wav")
        before = [cpu_of(each) for each in processes]
        measured = load(Plan(ports, hostile, honest, hanging_port, str(clip), seconds))
        cpus = [cpu_of(each) - start for each, start in zip(processes, before, strict=True)]
        missed = report(measured, cpus, seconds)
        errors = [
            line
            for port in ports
            for line in (folder / f"api-{port}.log").read_text().splitlines()
            if "internal error" in line or "Traceback" in line
        ]
        missed += errors[:5]
    sys.stdout.write("".join(f"missed: {each}\n" for each in missed) or "all bars met\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
