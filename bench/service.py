"""Measures the API under load: `python -m bench service`.

A real `visavis-server api` (uvicorn, SQLite, a local folder, no worker) with many clients who each
poll a job of their own, as the documentation asks of them (`Retry-After`, `If-None-Match`), and
recordings that are sent meanwhile. The clients are plain sockets on one event loop, so that making
the load costs little beside serving it; how late that loop ran is told, because what it was late is
in the times, too.
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

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0
WARM_SECONDS = 15.0  # all clients are connected, and what that took is made up for
TICK_SECONDS = 0.05
PAUSE_SECONDS = (2.0, 5.0)  # between the polls of a client
CLIP_SECONDS, CLIP_RATE = 10, 16_000
BOUNDARY = "visavis-bench"


@dataclass(frozen=True)
class Plan:
    """How much load."""

    clients: int
    submissions: float  # a minute
    seconds: float


@dataclass
class Found:
    """What was measured."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: Counter[str] = field(default_factory=Counter)
    late: list[float] = field(default_factory=list)  # the generator's own loop
    server_share: float = 0.0  # of a core
    generator_share: float = 0.0
    counting: bool = False

    def add(self, route: str, status: int, seconds: float) -> None:
        """One answer."""
        if not self.counting:
            return
        self.seconds[f"{route} {status}"].append(seconds)
        if status not in (200, 202, 304):
            self.errors[f"{route} {status}"] += 1


@dataclass(frozen=True)
class Answer:
    """A response, as far as a client looks at it."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """HTTP/1.1 with keep-alive, and nothing more than these clients need."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, head: str, body: bytes = b"") -> Answer:
        """Send a request and read its answer; connects where that is needed."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(f"{head}Host: 127.0.0.1:{self._port}\r\n\r\n".encode() + body)
        status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(": ") for line in lines if line)
        headers = {name.lower(): value for name, _, value in pairs}
        status = int(status_line.split(" ", 2)[1])
        length = 0 if status == 304 else int(headers.get("content-length", 0))
        answer = Answer(status, headers, await reader.readexactly(length))
        if headers.get("connection", "").lower() == "close":
            await self.close()
        return answer

    async def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            writer.close()
            with suppress(OSError):  # the other side may have gone before
                await writer.wait_closed()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much load."""
    parser.add_argument("--clients", type=int, default=1000, help="each polls a job of its own")
    parser.add_argument("--submissions", type=float, default=200.0, help="a minute")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long is measured")


def run(arguments: argparse.Namespace) -> None:
    """Start a service, load it, print what was found."""
    plan = Plan(arguments.clients, arguments.submissions, arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="visavis-bench-") as folder:
        found = measure(plan, Path(folder))
    for line in table(plan, found):
        print(line)


def measure(plan: Plan, data: Path) -> Found:
    """A service of its own in `data`, under load."""
    port = _free_port()
    environment = {**os.environ, "VISAVIS_DATA": str(data), "VISAVIS_PORT": str(port)}
    environment["VISAVIS_LOG_LEVEL"] = "warning"  # one line for each request is the collector's
    command = [sys.executable, "-m", "cli.main", "api"]
    log = data / "server.log"  # requests that are broken off at the end would fill the screen
    with log.open("wb") as said:
        server = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=said, stderr=said
        )
    try:
        _wait_for(port, server, log)
        jobs = _queued(data, plan.clients)
        return asyncio.run(_load(plan, port, jobs, server.pid))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def table(plan: Plan, found: Found) -> Iterator[str]:
    """For people."""
    yield (
        f"{plan.clients} clients, {plan.submissions:g} recordings a minute, {plan.seconds:g} s, "
        f"{os.cpu_count()} cores"
    )
    for route, seconds in sorted(found.seconds.items()):
        told = f"{len(seconds):7d}  {len(seconds) / plan.seconds:7.1f}/s  {_quantiles(seconds)}"
        yield f"  {route:24s} {told}"
    yield f"  errors: {sum(found.errors.values())} {dict(found.errors) or ''}"
    yield f"  server {found.server_share:.2f} of a core, generator {found.generator_share:.2f}"
    yield f"  the generator's loop was late by {_quantiles(found.late)}"


async def _load(plan: Plan, port: int, jobs: list[str], pid: int) -> Found:
    found = Found()
    clients = [
        asyncio.create_task(_poll(Connection(port), job, found, random.Random(job))) for job in jobs
    ]
    others = [
        asyncio.create_task(_submit(port, plan, found)),
        asyncio.create_task(_tick(found)),
    ]
    await asyncio.sleep(WARM_SECONDS)
    found.counting = True
    began, server, own = time.monotonic(), _cpu_seconds(pid), time.process_time()
    await asyncio.sleep(plan.seconds)
    found.counting = False
    took = time.monotonic() - began
    found.server_share = (_cpu_seconds(pid) - server) / took
    found.generator_share = (time.process_time() - own) / took
    for task in [*clients, *others]:
        task.cancel()
    await asyncio.gather(*clients, *others, return_exceptions=True)
    return found


async def _poll(connection: Connection, job: str, found: Found, draw: random.Random) -> None:
    tag, pause = "", draw.uniform(0, PAUSE_SECONDS[1])
    try:
        while True:
            await asyncio.sleep(pause)
            known = f"If-None-Match: {tag}\r\n" if tag else ""
            began = time.perf_counter()
            try:
                answer = await connection.ask(f"GET /jobs/{job} HTTP/1.1\r\n{known}")
            except (OSError, asyncio.IncompleteReadError) as error:
                await connection.close()
                found.errors[type(error).__name__] += found.counting
            else:
                found.add("GET /jobs/{id}", answer.status, time.perf_counter() - began)
                tag = answer.headers.get("etag", "")
                pause = float(answer.headers.get("retry-after", 0))
            pause = max(pause, draw.uniform(*PAUSE_SECONDS))
    finally:
        await connection.close()


async def _submit(port: int, plan: Plan, found: Found) -> None:
    """One after the other, at their times: a slow answer does not make fewer of them."""
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
        task = asyncio.create_task(_send(head, form, Connection(port), found))
        sent.add(task)
        task.add_done_callback(sent.discard)


async def _send(head: str, form: bytes, connection: Connection, found: Found) -> None:
    began = time.perf_counter()
    try:
        answer = await connection.ask(head, form)
    except (OSError, asyncio.IncompleteReadError) as error:
        found.errors[type(error).__name__] += found.counting
    else:
        found.add("POST /generate", answer.status, time.perf_counter() - began)
    finally:
        await connection.close()


async def _tick(found: Found) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(TICK_SECONDS)
        if found.counting:
            found.late.append(time.perf_counter() - before - TICK_SECONDS)


def _queued(data: Path, count: int) -> list[str]:
    """Jobs that were accepted before; written as the API writes them, without a recording."""
    from jobs.model import NewJob, new_job_id
    from jobs.request.model import GenerateRequest
    from jobs.settings import Settings
    from jobs.storage.keys import input_key
    from jobs.store.jobs import open_store

    store = open_store(Settings(data=data))
    try:
        made = [new_job_id() for _ in range(count)]
        for job_id in made:
            key = input_key(job_id, "wav")
            store.submit(NewJob(job_id, GenerateRequest(), input_key=key, clip_seconds=10.0))
        return made
    finally:
        store.close()


def _clip() -> bytes:
    """Noise: nothing that a decoder could make short work of."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(CLIP_RATE)
        file.writeframes(random.Random(0).randbytes(2 * CLIP_SECONDS * CLIP_RATE))
    return made.getvalue()


def _form(clip: bytes) -> bytes:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="audio"; filename="talk.wav"\r\n\r\n'
    )
    return head.encode() + clip + f"\r\n--{BOUNDARY}--\r\n".encode()


def _quantiles(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "too few to tell"
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    milliseconds = [1000 * each for each in (cuts[49], cuts[98], max(seconds))]
    return "p50 {:.1f} ms, p99 {:.1f} ms, max {:.1f} ms".format(*milliseconds)


def _cpu_seconds(pid: int) -> float:
    """Of a process and of its children that have ended, on Linux; 0 elsewhere."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in words[11:15]) / os.sysconf("SC_CLK_TCK")


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
                words = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the API did not start: {words}") from None
            time.sleep(0.1)
