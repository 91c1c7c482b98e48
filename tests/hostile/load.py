"""Hostile clients of one tenant beside honest ones of others, in a process of their own.

`python -m tests.hostile.load PLAN` reads a plan as JSON and prints what the clients measured. The
clients are plain sockets on one event loop, and connect to loopback only.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import httpx

BOUNDARY = "hostile"
AGAIN_SECONDS = 1.0  # before a hostile client begins again
MIB = 2**20

Client = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Plan:
    """Load of the test; rates are in requests per second."""

    ports: tuple[int, ...]  # of the API processes on 127.0.0.1
    hostile_key: str
    honest_keys: tuple[str, ...]
    hanging_port: int  # accepts connections and never answers
    clip: str  # path of the clip that honest clients send
    seconds: float
    slow_uploads: int = 64
    slow_headers: int = 200
    streams: int = 800
    large_bodies: int = 4
    large_mib: int = 300
    hanging_urls: int = 64
    polls: float = 20.0
    submits: float = 1.0


@dataclass
class Measured:
    """Results of the clients."""

    statuses: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    polls: list[float] = field(default_factory=list)  # seconds
    submits: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)  # of this event loop
    cpu_seconds: float = 0.0


class Hostile:
    """Clients that are slow, large or never end."""

    def __init__(self, plan: Plan, measured: Measured) -> None:
        self._plan = plan
        self._statuses = measured.statuses["hostile"]
        self._ports = cycle(plan.ports)
        self.job = ""  # whose events are streamed

    def clients(self) -> Iterator[Client]:
        """Every client once."""
        plan = self._plan
        yield from [self._slow_upload] * plan.slow_uploads
        yield from [self._slow_header] * plan.slow_headers
        yield from [self._stream] * plan.streams
        yield from [self._large_body] * plan.large_bodies
        yield from [self._hanging_url] * plan.hanging_urls

    async def _slow_upload(self) -> None:
        async with self._connection() as (reader, writer):
            kind = f"multipart/form-data; boundary={BOUNDARY}"
            writer.write(self._head("POST /generate", kind, 5_000_000) + b"--hostile\r\n")
            await self._drip(reader, writer)

    async def _slow_header(self) -> None:
        async with self._connection() as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nX: ")
            await self._drip(reader, writer)

    async def _stream(self) -> None:
        async with self._connection() as (reader, writer):
            writer.write(self._head(f"GET /jobs/{self.job}/events"))
            self._count(await reader.readline())
            while await reader.read(4096):
                pass

    async def _large_body(self) -> None:
        size, chunk = self._plan.large_mib * MIB, b"[" * MIB
        for request in ("POST /uploads", "POST /generate", f"POST /jobs/{self.job}/render"):
            async with self._connection() as (reader, writer):
                answer = asyncio.create_task(reader.readline())
                writer.write(self._head(request, "application/json", size))
                with suppress(OSError):
                    for _ in range(self._plan.large_mib):
                        if answer.done():
                            break
                        writer.write(chunk)
                        await writer.drain()
                self._count(await answer)

    async def _hanging_url(self) -> None:
        url = f"https://127.0.0.1:{self._plan.hanging_port}/clip.wav"
        body = json.dumps({"audio_url": url}).encode()
        async with self._connection() as (reader, writer):
            writer.write(self._head("POST /generate", "application/json", len(body)) + body)
            self._count(await reader.readline())

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", next(self._ports))
        try:
            yield reader, writer
        finally:
            writer.close()

    async def _drip(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send a byte a second until the server answers or closes."""
        answer = asyncio.create_task(reader.readline())
        try:
            while not answer.done():
                writer.write(b"a")
                await asyncio.wait([answer], timeout=1.0)
            self._count(answer.result())
        finally:
            answer.cancel()

    def _head(self, request: str, kind: str = "", length: int = 0) -> bytes:
        lines = [
            f"{request} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {self._plan.hostile_key}",
        ]
        if kind:
            lines += [f"Content-Type: {kind}", f"Content-Length: {length}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _count(self, line: bytes) -> None:
        self._statuses[line.split()[1].decode() if line.startswith(b"HTTP/") else "closed"] += 1


async def run(plan: Plan) -> Measured:
    """Run all clients for the time of the plan."""
    measured = Measured()
    hostile = Hostile(plan, measured)
    with _clients(plan) as (first, honest):
        hostile.job = await _submit(first, plan, measured, tenant="hostile")
        jobs = [await _submit(each, plan, measured) for each in honest]
        until = time.monotonic() + plan.seconds
        tasks = [asyncio.create_task(_again(each, until)) for each in hostile.clients()]
        await asyncio.gather(
            _poll(honest, jobs, plan, measured, until),
            _send(honest, plan, measured, until),
            _measure_delay(measured, until),
        )
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    times = os.times()
    measured.cpu_seconds = times.user + times.system
    return measured


@contextmanager
def _clients(plan: Plan) -> Iterator[tuple[httpx.AsyncClient, list[httpx.AsyncClient]]]:
    ports = cycle(plan.ports)

    def client(key: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{next(ports)}",
            headers={"authorization": f"Bearer {key}"},
            timeout=60,
            trust_env=False,
        )

    yield client(plan.hostile_key), [client(key) for key in plan.honest_keys]


async def _again(client: Client, until: float) -> None:
    """Begin again whenever the client was refused or disconnected."""
    while time.monotonic() < until:
        with suppress(OSError, asyncio.IncompleteReadError, IndexError):
            await client()
        await asyncio.sleep(AGAIN_SECONDS)


async def _submit(
    client: httpx.AsyncClient, plan: Plan, measured: Measured, *, tenant: str = "honest"
) -> str:
    clip = await asyncio.to_thread(Path(plan.clip).read_bytes)
    answer = await client.post("/generate", files={"audio": ("a.wav", clip)})
    measured.statuses[tenant][str(answer.status_code)] += 1
    return str(answer.json()["id"]) if answer.status_code == 202 else ""


async def _poll(
    clients: list[httpx.AsyncClient],
    jobs: list[str],
    plan: Plan,
    measured: Measured,
    until: float,
) -> None:
    """Poll at a fixed rate, whatever the answers take."""

    async def one(client: httpx.AsyncClient, job: str) -> None:
        began = time.perf_counter()
        try:
            answer = await client.get(f"/jobs/{job}")
        except httpx.TransportError as error:
            measured.statuses["honest"][type(error).__name__] += 1
            return
        measured.polls.append(time.perf_counter() - began)
        measured.statuses["honest"][str(answer.status_code)] += 1

    pairs = cycle(zip(clients, jobs, strict=True))
    await _at_rate(plan.polls, until, lambda: one(*next(pairs)))


async def _send(
    clients: list[httpx.AsyncClient], plan: Plan, measured: Measured, until: float
) -> None:
    senders = cycle(clients)

    async def one() -> None:
        began = time.perf_counter()
        try:
            await _submit(next(senders), plan, measured)
        except httpx.TransportError as error:
            measured.statuses["honest"][type(error).__name__] += 1
            return
        measured.submits.append(time.perf_counter() - began)

    await _at_rate(plan.submits, until, one)


async def _at_rate(rate: float, until: float, call: Client) -> None:
    tasks: set[asyncio.Task[None]] = set()
    start, count = time.monotonic(), 0
    while (due := start + count / rate) < until:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        task = asyncio.ensure_future(call())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        count += 1
    await asyncio.gather(*tasks)


async def _measure_delay(measured: Measured, until: float) -> None:
    while time.monotonic() < until:
        began = time.perf_counter()
        await asyncio.sleep(0.05)
        measured.delays.append(time.perf_counter() - began - 0.05)


def main() -> None:
    given = json.loads(sys.argv[1])
    lists = {name: tuple(given[name]) for name in ("ports", "honest_keys")}
    measured = asyncio.run(run(Plan(**given | lists)))
    sys.stdout.write(json.dumps(vars(measured)) + "\n")


if __name__ == "__main__":
    main()
