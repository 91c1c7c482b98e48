"""`visavis-server up`: the whole service on one machine, supervised until Ctrl-C."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

import httpx

from cli.commands.operate.keys import open_api_keys
from cli.commands.serve import check_keys
from cli.console import MISUSED, fail, fail_missing, make_console, read_settings, release, warn
from cli.local.embedded_redis import BrokerError, EmbeddedRedis, find_server
from cli.local.submit import Client, Submission, SubmitError
from cli.local.supervisor import ChildError, Command, RestartPause, Supervisor
from cli.progress_bars import Bars
from jobs.model import LOCAL
from jobs.store.api_keys import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType

    from rich.console import Console

    from jobs.request.model import GenerateRequest
    from jobs.settings import Settings

READY_SECONDS = 60.0
LINE_SECONDS = 4.0  # between two lines while the service starts
TEND_SECONDS = 0.2
KEY_LIFETIME = timedelta(days=1)  # longer than any --submit; the key is revoked at the end
LOG_BYTES = 10_000_000  # a larger log is rotated when `up` starts
CLI = ("-P", "-m", "cli.main")  # -P: do not import modules from the current folder
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXTRAS = {"fastapi": "api", "uvicorn": "api", "torch": "worker", "imageio_ffmpeg": "worker"}


class StopSignal(BaseException):
    """A signal requested the end."""


@dataclass(frozen=True)
class LocalStack:
    """Running processes, and the address of the API."""

    supervisor: Supervisor
    redis: EmbeddedRedis | None
    address: str
    headers: Mapping[str, str]  # of requests to the API
    log: Callable[[str], None]
    restart_pause: RestartPause = field(default_factory=RestartPause)

    def tend(self) -> None:
        """Restart ended processes."""
        if self.redis and not self.redis.alive() and self.restart_pause.over():
            self.log("the Redis ended; restarting it")
            try:
                self.redis.start()
            except BrokerError as error:  # workers look at the table meanwhile
                self.log(f"{error}; trying again in {self.restart_pause.begin():g} s")
            else:
                self.restart_pause.reset()
        self.supervisor.tend()


def run_up(
    *, submit: Path | None, partner: Path | None, out: Path, request: GenerateRequest
) -> None:
    """Run until a signal or, with `submit`, until the video is in `out`."""
    if submit is not None and not submit.is_file():
        fail(f"--submit: file not found ({submit})", MISUSED)
    existing = next(each for each in (out, *out.absolute().parents) if each.exists())
    if not existing.is_dir():
        fail(f"--out: {existing} is not a folder; name another one", MISUSED)
    if partner is not None and submit is None:
        fail("--partner: --submit is missing; add it with the recording of the person", MISUSED)
    if partner is not None and not partner.is_file():
        fail(f"--partner: file not found ({partner})", MISUSED)
    settings = read_settings()
    _check_extras()
    console = make_console()
    try:
        with _signals(), _local_stack(settings, console, quiet=submit is not None) as local_stack:
            if submit is None:
                _serve(local_stack)
            else:
                _submit(local_stack, Submission(submit, request, out, partner), console)
    except StopSignal:
        if submit is not None:
            fail("stopped before the video was finished", 130)
    except (BrokerError, ChildError, SubmitError) as error:
        fail(str(error))


@contextmanager
def _local_stack(settings: Settings, console: Console, *, quiet: bool) -> Iterator[LocalStack]:
    """Start Redis, API and worker in this order, and stop them in reverse order."""

    def log(line: str) -> None:
        console.print(f"  {line}", soft_wrap=True)

    logs = settings.data / "logs" if quiet or console.is_terminal else None
    port = _free_port(settings.host, settings.port, choose=quiet)
    console.print(f"visavis {release()}", soft_wrap=True)
    if logs:
        log(f"logs  {logs}")
        _rotate_logs(logs)
    with ExitStack() as stack:
        headers = stack.enter_context(_temporary_key(settings)) if quiet else {}
        check_keys(settings)
        redis = None
        if not settings.broker_url:
            redis = _embedded_redis(settings, stack, log)
        environment = {
            "VISAVIS_PORT": str(port),
            "VISAVIS_DATA": str(settings.data),
            "VISAVIS_DRAIN_SECONDS": "0",  # Ctrl-C ends everything within seconds
        }
        if redis:
            environment["VISAVIS_BROKER_URL"] = redis.url
        commands = [
            Command(
                name,
                [*CLI, name],
                environment | _metrics_port(settings, place),
                logs / f"{name}.log" if logs else None,
            )
            for place, name in enumerate(("api", "worker"))
        ]
        supervisor = Supervisor(commands, log)
        stack.callback(supervisor.stop)
        supervisor.start()
        local_stack = LocalStack(supervisor, redis, _address(settings.host, port), headers, log)
        _wait_until_ready(local_stack)
        log(f"page  {local_stack.address}/")
        log(f"API   {local_stack.address}/docs")
        yield local_stack


def _metrics_port(settings: Settings, place: int) -> dict[str, str]:
    """Environment of the process at this place: consecutive ports, if the settings have one."""
    port = settings.metrics_port
    return {"VISAVIS_METRICS_PORT": str(min(port + place, 65535))} if port else {}


def _embedded_redis(
    settings: Settings, stack: ExitStack, log: Callable[[str], None]
) -> EmbeddedRedis | None:
    """Start a Redis, or return None on a machine without one."""
    try:
        find_server()
    except BrokerError:
        log("no Redis on this machine: the worker looks for jobs four times a second")
        return None
    return stack.enter_context(EmbeddedRedis(settings.data / "redis"))


@contextmanager
def _temporary_key(settings: Settings) -> Iterator[Mapping[str, str]]:
    """Yield headers for --submit, with a key that is revoked at the end if keys are required."""
    if not settings.keys_needed:
        yield {}
        return
    with open_api_keys(settings) as keys:
        scopes = (Scope.READ, Scope.WRITE)
        new = keys.create(LOCAL, "up --submit", scopes, lifetime=KEY_LIFETIME)
        try:
            yield {"Authorization": f"Bearer {new.token}"}
        finally:
            keys.revoke(new.key.id)


def _serve(local_stack: LocalStack) -> None:
    local_stack.log("stop with Ctrl-C")
    while True:
        local_stack.tend()
        time.sleep(TEND_SECONDS)


def _submit(local_stack: LocalStack, submission: Submission, console: Console) -> None:
    with httpx.Client(
        base_url=local_stack.address, headers=local_stack.headers, timeout=60, trust_env=False
    ) as http:
        with Bars(console) as bars:
            files = Client(http, local_stack.tend, warn).submit(submission, bars)
        for path in files:
            console.print(f"{path}  {bars.seconds:.1f} s", soft_wrap=True)


def _wait_until_ready(local_stack: LocalStack) -> None:
    began = time.monotonic()
    lines = 1  # the next line, after as many times LINE_SECONDS
    with httpx.Client(base_url=local_stack.address, timeout=5, trust_env=False) as http:
        while (missing := _missing(http)) is not None:
            waited = time.monotonic() - began
            if waited > lines * LINE_SECONDS:
                local_stack.log(f"starting the service, {waited:.0f} s")
                lines += 1
            if waited > READY_SECONDS:
                output = local_stack.supervisor.children[0].log_tail()
                raise ChildError(f"not ready after {READY_SECONDS:.0f} s: {missing}\n{output}")
            local_stack.tend()
            time.sleep(TEND_SECONDS / 2)


def _missing(http: httpx.Client) -> str | None:
    """Return the reason why the API is not ready, or None."""
    try:
        response = http.get("/readyz")
    except httpx.TransportError:
        return "the API does not respond"
    return None if response.is_success else response.text


def _free_port(host: str, port: int, *, choose: bool) -> int:
    """Return the port in the settings if it is free; with `choose`, otherwise any free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        if choose and port != 0:
            return _free_port(host, 0, choose=False)
        fail(
            f"VISAVIS_PORT: cannot listen on port {port} of {host} ({error.strerror}); stop the "
            "program that uses it, or set VISAVIS_PORT to another port, or to 0 for any free port",
            MISUSED,
        )


def _address(host: str, port: int) -> str:
    """Return the URL for local requests: loopback if the API listens on all interfaces."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _check_extras() -> None:
    for package, extra in EXTRAS.items():
        if find_spec(package) is None:
            fail_missing(package, extra)


def _rotate_logs(logs: Path) -> None:
    for log in logs.glob("*.log"):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))


@contextmanager
def _signals() -> Iterator[None]:
    """Raise StopSignal at the first signal and ignore later ones."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise StopSignal

    before: Sequence[tuple[int, object]] = [(each, signal.signal(each, stop)) for each in SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)  # type: ignore[arg-type]
