"""`visavis-server up`: everything on one machine, watched over until Ctrl-C."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

import httpx

from cli.commands.keys import keyring
from cli.commands.serve import check_keys
from cli.console import MISUSED, fail, make_console, read_settings, release
from cli.local.embedded_redis import BrokerError, EmbeddedRedis
from cli.local.submit import Caller, Submission, SubmitError
from cli.local.supervisor import ChildError, Command, Supervisor
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
TEND_SECONDS = 0.2
OWN_KEY = timedelta(days=1)  # longer than any --submit; it is revoked at the end
LOG_BYTES = 10_000_000  # a larger log is put aside when `up` starts
OURSELVES = ("-P", "-m", "cli.main")  # -P: what lies in the folder we are called in is not ours
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXTRAS = {"fastapi": "api", "uvicorn": "api", "torch": "worker", "imageio_ffmpeg": "worker"}


class StopSignal(BaseException):
    """A signal asked us to stop."""


@dataclass(frozen=True)
class LocalStack:
    """What runs, and how to reach it."""

    supervisor: Supervisor
    redis: EmbeddedRedis | None
    address: str
    headers: Mapping[str, str]  # what we send with our own requests
    say: Callable[[str], None]

    def tend(self) -> None:
        """Start again what has died."""
        if self.redis and not self.redis.alive():
            self.say("the Redis ended; it is started again")
            self.redis.start()
        self.supervisor.tend()


def run_up(*, submit: Path | None, out: Path, request: GenerateRequest) -> None:
    """Until a signal; with `submit`, until its video is in `out`."""
    if submit is not None and not submit.is_file():
        fail(f"there is no recording at {submit}", MISUSED)
    settings = read_settings()
    _check_extras()
    console = make_console()
    try:
        with _signals(), _local_stack(settings, console, quiet=submit is not None) as local_stack:
            if submit is None:
                _serve(local_stack)
            else:
                _submit(local_stack, Submission(submit, request, out), console)
    except StopSignal:
        if submit is not None:
            fail("stopped before the video was there", 130)
    except (BrokerError, ChildError, SubmitError) as error:
        fail(str(error))


@contextmanager
def _local_stack(settings: Settings, console: Console, *, quiet: bool) -> Iterator[LocalStack]:
    """Redis, API and worker, in this order; stopped the other way round."""

    def say(line: str) -> None:
        console.print(f"  {line}", soft_wrap=True)

    logs = settings.data / "logs" if quiet or console.is_terminal else None
    port = _free_port(settings.host, settings.port, choose=quiet)
    console.print(f"visavis {release()}", soft_wrap=True)
    if logs:
        say(f"logs  {logs}")
        _put_aside(logs)
    with ExitStack() as stack:
        headers = stack.enter_context(_own_key(settings)) if quiet else {}
        check_keys(settings)
        redis = None
        if not settings.broker_url:
            redis = stack.enter_context(EmbeddedRedis(settings.data / "redis"))
        environment = {"VISAVIS_PORT": str(port), "VISAVIS_DATA": str(settings.data)}
        if redis:
            environment["VISAVIS_BROKER_URL"] = redis.url
        commands = [
            Command(name, [*OURSELVES, name], environment, logs / f"{name}.log" if logs else None)
            for name in ("api", "worker")
        ]
        supervisor = Supervisor(commands, say)
        stack.callback(supervisor.stop)
        supervisor.start()
        local_stack = LocalStack(supervisor, redis, _address(settings.host, port), headers, say)
        _wait_until_ready(local_stack)
        say(f"page  {local_stack.address}/")
        say(f"API   {local_stack.address}/docs")
        yield local_stack


@contextmanager
def _own_key(settings: Settings) -> Iterator[Mapping[str, str]]:
    """What --submit sends where keys are needed: a key that holds as long as the block lasts."""
    if not settings.keys_needed:
        yield {}
        return
    with keyring(settings) as keys:
        made = keys.create(LOCAL, "up --submit", (Scope.READ, Scope.WRITE), lifetime=OWN_KEY)
        try:
            yield {"Authorization": f"Bearer {made.token}"}
        finally:
            keys.revoke(made.key.id)


def _serve(local_stack: LocalStack) -> None:
    local_stack.say("Ctrl-C stops it")
    while True:
        local_stack.tend()
        time.sleep(TEND_SECONDS)


def _submit(local_stack: LocalStack, submission: Submission, console: Console) -> None:
    with httpx.Client(
        base_url=local_stack.address, headers=local_stack.headers, timeout=60, trust_env=False
    ) as http:
        with Bars(console) as bars:
            files = Caller(http, local_stack.tend).submit(submission, bars)
        for path in files:
            console.print(f"{path}  {bars.seconds:.1f} s", soft_wrap=True)


def _wait_until_ready(local_stack: LocalStack) -> None:
    until = time.monotonic() + READY_SECONDS
    with httpx.Client(base_url=local_stack.address, timeout=5, trust_env=False) as http:
        while (missing := _missing(http)) is not None:
            if time.monotonic() > until:
                words = local_stack.supervisor.children[0].last_words()
                raise ChildError(f"not ready after {READY_SECONDS:.0f} s: {missing}\n{words}")
            local_stack.tend()
            time.sleep(TEND_SECONDS / 2)


def _missing(http: httpx.Client) -> str | None:
    """None when the API is ready, else what it waits for."""
    try:
        answer = http.get("/readyz")
    except httpx.TransportError:
        return "the API does not answer"
    return None if answer.is_success else answer.text


def _free_port(host: str, port: int, *, choose: bool) -> int:
    """The port that is set, when it is free; else another where nobody has to know it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        if choose and port != 0:
            return _free_port(host, 0, choose=False)
        fail(
            f"port {port} of {host} cannot be listened on ({error.strerror}); stop what uses it, "
            "or set VISAVIS_PORT to another, or to 0 for any that is free",
            MISUSED,
        )


def _address(host: str, port: int) -> str:
    """Where we reach it ourselves; a host that means "everywhere" is reached on loopback."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _check_extras() -> None:
    for package, extra in EXTRAS.items():
        if find_spec(package) is None:
            fail(
                f"this needs {package}, which is not installed; "
                f"`pip install 'visavis-server[{extra}]'`",
                MISUSED,
            )


def _put_aside(logs: Path) -> None:
    for log in logs.glob("*.log"):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))


@contextmanager
def _signals() -> Iterator[None]:
    """The first signal stops us; those that follow find us stopping already."""

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
