"""Load test of the API: `python -m bench service`.

A real `visavis-server api` (uvicorn, SQLite, a local folder, no worker) serves many clients. Each
polls one job as the documentation recommends (`Retry-After`, `If-None-Match`); others submit clips
meanwhile. The clients are plain sockets on one event loop, so that the load generator costs little
CPU. The report contains the delay of that loop, because the measured times include it.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from training.commands.options import positive_float, positive_int

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
WARM_SECONDS = 15.0  # until all clients are connected and the load is steady
TICK_SECONDS = 0.05
PAUSE_SECONDS = (2.0, 5.0)  # shortest and longest pause between the polls of a client
CLIP_SECONDS, CLIP_RATE = 10, 16_000
BOUNDARY = "visavis-bench"


@dataclass(frozen=True)
class Plan:
    """Load of the test."""

    clients: int
    submissions: float  # per minute
    seconds: float


@dataclass
class Measurements:
    """Response times, errors and CPU shares."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: Counter[str] = field(default_factory=Counter)
    delays: list[float] = field(default_factory=list)  # seconds, of the generator's event loop
    server_share: float = 0.0  # of one core
    generator_share: float = 0.0
    counting: bool = False

    def add(self, route: str, status: int, seconds: float) -> None:
        """Count one response."""
        if not self.counting:
            return
        self.seconds[f"{route} {status}"].append(seconds)
        if status not in (200, 202, 304):
            self.errors[f"{route} {status}"] += 1


@dataclass(frozen=True)
class Response:
    """The parts of a response that a client reads."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """Minimal HTTP/1.1 client with keep-alive."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, head: str, body: bytes = b"") -> Response:
        """Send a request and return its response; connect first if necessary."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(f"{head}Host: 127.0.0.1:{self._port}\r\n\r\n".encode() + body)
        status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(": ") for line in lines if line)
        headers = {name.lower(): value for name, _, value in pairs}
        status = int(status_line.split(" ", 2)[1])
        length = 0 if status == 304 else int(headers.get("content-length", 0))
        response = Response(status, headers, await reader.readexactly(length))
        if headers.get("connection", "").lower() == "close":
            await self.close()
        return response

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            writer.close()
            with suppress(OSError):  # the server may have closed it first
                await writer.wait_closed()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m bench service`."""
    parser.add_argument("--clients", type=positive_int, default=1000, help="each polls one job")
    parser.add_argument(
        "--submissions", type=positive_float, default=200.0, help="clips per minute"
    )
    parser.add_argument("--seconds", type=positive_float, default=60.0, help="measured time")


def run(arguments: argparse.Namespace) -> None:
    """Start an API, put it under load and print the measurements."""
    plan = Plan(arguments.clients, arguments.submissions, arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="visavis-bench-") as folder:
        measurements = measure(plan, Path(folder))
    for line in table(plan, measurements):
        print(line)


def measure(plan: Plan, data: Path) -> Measurements:
    """Start an API with its data in `data`, put it under load and stop it."""
    port = _free_port()
    environment = {**os.environ, "VISAVIS_DATA": str(data), "VISAVIS_PORT": str(port)}
    environment["VISAVIS_LOG_LEVEL"] = "warning"  # without a line for each request
    command = [sys.executable, "-m", "cli.main", "api"]
    log = data / "server.log"  # a file, because aborted requests at the end would fill the screen
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output
        )
    try:
        _wait_for(port, server, log)
        jobs = _queued(data, plan.clients)
        return asyncio.run(_load(plan, port, jobs, server.pid))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def table(plan: Plan, measurements: Measurements) -> Iterator[str]:
    """Return the measurements as lines of text."""
    yield (
        f"{plan.clients} clients, {plan.submissions:g} clips per minute, {plan.seconds:g} s, "
        f"{os.cpu_count()} cores"
    )
    for route, seconds in sorted(measurements.seconds.items()):
        rate = len(seconds) / plan.seconds
        yield f"  {route:24s} {len(seconds):7d}  {rate:7.1f}/s  {_quantiles(seconds)}"
    yield f"  errors: {sum(measurements.errors.values())} {dict(measurements.errors) or ''}"
    shares = measurements.server_share, measurements.generator_share
    yield "  server {:.2f} of a core, generator {:.2f}".format(*shares)
    yield f"  delay of the generator's event loop: {_quantiles(measurements.delays)}"


async def _load(plan: Plan, port: int, jobs: list[str], pid: int) -> Measurements:
    measurements = Measurements()
    clients = [
        asyncio.create_task(_poll(Connection(port), job, measurements, random.Random(job)))
        for job in jobs
    ]
    others = [
        asyncio.create_task(_submit(port, plan, measurements)),
        asyncio.create_task(_tick(measurements)),
    ]
    await asyncio.sleep(WARM_SECONDS)
    measurements.counting = True
    began, server, own = time.monotonic(), _cpu_seconds(pid), time.process_time()
    await asyncio.sleep(plan.seconds)
    measurements.counting = False
    took = time.monotonic() - began
    measurements.server_share = (_cpu_seconds(pid) - server) / took
    measurements.generator_share = (time.process_time() - own) / took
    for task in [*clients, *others]:
        task.cancel()
    await asyncio.gather(*clients, *others, return_exceptions=True)
    return measurements


async def _poll(
    connection: Connection, job: str, measurements: Measurements, random_: random.Random
) -> None:
    tag, pause = "", random_.uniform(0, PAUSE_SECONDS[1])
    try:
        while True:
            await asyncio.sleep(pause)
            condition = f"If-None-Match: {tag}\r\n" if tag else ""
            began = time.perf_counter()
            try:
                response = await connection.send(f"GET /jobs/{job} HTTP/1.1\r\n{condition}")
            except (OSError, asyncio.IncompleteReadError) as error:
                await connection.close()
                measurements.errors[type(error).__name__] += measurements.counting
            else:
                measurements.add("GET /jobs/{id}", response.status, time.perf_counter() - began)
                tag = response.headers.get("etag", "")
                pause = float(response.headers.get("retry-after", 0))
            pause = max(pause, random_.uniform(*PAUSE_SECONDS))
    finally:
        await connection.close()


async def _submit(port: int, plan: Plan, measurements: Measurements) -> None:
    """Submit at a fixed rate; a slow response does not delay the next submission."""
    form = _form(_clip())
    head = (
        "POST /generate HTTP/1.1\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(form)}\r\n"
    )
    sent: set[asyncio.Task[None]] = set()
    due = time.monotonic()
    while True:
        due += 60 / plan.submissions
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        task = asyncio.create_task(_send(head, form, Connection(port), measurements))
        sent.add(task)
        task.add_done_callback(sent.discard)


async def _send(head: str, form: bytes, connection: Connection, measurements: Measurements) -> None:
    began = time.perf_counter()
    try:
        response = await connection.send(head, form)
    except (OSError, asyncio.IncompleteReadError) as error:
        measurements.errors[type(error).__name__] += measurements.counting
    else:
        measurements.add("POST /generate", response.status, time.perf_counter() - began)
    finally:
        await connection.close()


async def _tick(measurements: Measurements) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(TICK_SECONDS)
        if measurements.counting:
            measurements.delays.append(time.perf_counter() - before - TICK_SECONDS)


def _queued(data: Path, count: int) -> list[str]:
    """Queue jobs without clips, in the form the API stores them, and return their ids."""
    from jobs.database import open_database
    from jobs.model import NewJob, new_job_id
    from jobs.request.model import GenerateRequest
    from jobs.settings import Settings
    from jobs.storage.keys import input_key

    database = open_database(Settings(data=data))
    try:
        job_ids = [new_job_id() for _ in range(count)]
        for job_id in job_ids:
            key = input_key(job_id, "wav")
            database.jobs.submit(
                NewJob(job_id, GenerateRequest(), input_key=key, clip_seconds=10.0)
            )
        return job_ids
    finally:
        database.close()


def _clip() -> bytes:
    """Return a wav of noise, which a decoder cannot shorten."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(CLIP_RATE)
        file.writeframes(random.Random(0).randbytes(2 * CLIP_SECONDS * CLIP_RATE))
    return content.getvalue()


def _form(clip: bytes) -> bytes:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="audio"; filename="talk.wav"\r\n\r\n'
    )
    return head.encode() + clip + f"\r\n--{BOUNDARY}--\r\n".encode()


def _quantiles(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "too few values"
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    milliseconds = [1000 * each for each in (cuts[49], cuts[98], max(seconds))]
    return "p50 {:.1f} ms, p99 {:.1f} ms, max {:.1f} ms".format(*milliseconds)


def _cpu_seconds(pid: int) -> float:
    """Return CPU seconds of a process and its ended children on Linux; 0 on other systems."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > until:
                output = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the API did not start: {output}") from None
            time.sleep(0.1)
