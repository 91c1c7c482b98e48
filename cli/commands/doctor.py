"""`visavis-server doctor`: check a machine and its settings, with a fix for each problem."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
import typer
from rich.table import Table
from rich.text import Text

from cli.console import FAILED, make_console, read_settings
from cli.local.embedded_redis import BrokerError, find_server
from jobs.db.engine import connect, reading
from jobs.db.tables import jobs
from jobs.persons import read_people
from jobs.queue.celery_app import make_celery, reachable
from jobs.settings import PREFIX, REPOSITORY, secret_files
from jobs.storage.factory import StorageError, open_storage
from jobs.telemetry.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from jobs.settings import Settings


class Status(StrEnum):
    """Outcome of a check."""

    OK = "ok"
    WARN = "warn"  # something is not as it should be
    BAD = "bad"  # something necessary does not work


COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.BAD: "bold red"}


@dataclass(frozen=True)
class CheckResult:
    """One line of the output."""

    status: Status
    subject: str
    text: str  # with a fix, unless the status is OK


def run_doctor() -> None:
    """Print a line for each check; exit status 1 when something necessary does not work."""
    console = make_console()
    warnings = print_checks(console, run_checks(read_settings()))
    summary = f"checked, warnings: {warnings}" if warnings else "all well"
    console.print(f"{summary}; next: `visavis-server up` starts the service", soft_wrap=True)


def print_checks(console: Console, checks: Iterable[CheckResult]) -> int:
    """Print a line for each check, and return the number of warnings.

    Raises: typer.Exit: when the status of one is BAD.
    """
    results = list(checks)
    table = Table.grid(padding=(0, 2))
    for result in results:
        status = Text(result.status, COLOURS[result.status])
        table.add_row(status, result.subject, redact(result.text))
    console.print(table)
    count = Counter(result.status for result in results)
    if count[Status.BAD]:
        console.print(f"problems: {count[Status.BAD]}; fix them, and run this command again")
        raise typer.Exit(FAILED)
    return count[Status.WARN]


def run_checks(settings: Settings) -> Iterator[CheckResult]:
    """Check this machine first, then the services in the settings."""
    yield _python()
    yield _api()
    yield from _worker(settings)
    yield from _secrets(settings)
    yield _broker(settings)
    yield _database(settings)
    yield _storage(settings)
    yield from _people(settings)


def _python() -> CheckResult:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    advice = "" if supported else "; use 3.11, 3.12 or 3.13"
    return CheckResult(Status.OK if supported else Status.BAD, "python", text + advice)


def _api() -> CheckResult:
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        text = "not installed; run `pip install 'visavis-server[api]'`"
        return CheckResult(Status.WARN, "api", text)
    text = f"fastapi {version('fastapi')}, uvicorn {version('uvicorn')}"
    return CheckResult(Status.OK, "api", text)


def _worker(settings: Settings) -> Iterator[CheckResult]:
    missing = [name for name in ("torch", "imageio_ffmpeg", "warp") if find_spec(name) is None]
    if missing:
        text = f"{', '.join(missing)} not installed; run `pip install 'visavis-server[worker]'`"
        yield CheckResult(Status.BAD, "worker", text)
        return
    import torch

    yield CheckResult(Status.OK, "torch", str(torch.__version__))
    yield _device(settings)
    yield _ffmpeg()
    yield from _encoders()


def _device(settings: Settings) -> CheckResult:
    from worker.pipeline.device import DeviceError, choose_device, describe, works

    try:
        device = choose_device(settings.device)
    except DeviceError as error:
        return CheckResult(Status.BAD, "device", str(error))
    if not works(device):
        text = f"{describe(device)} fails to compute; check it with nvidia-smi"
        return CheckResult(Status.BAD, "device", text)
    return CheckResult(Status.OK, "device", describe(device))


def _ffmpeg() -> CheckResult:
    from worker.pipeline.ffmpeg import FfmpegError, executable

    try:
        return CheckResult(Status.OK, "ffmpeg", executable())
    except FfmpegError as error:
        return CheckResult(Status.BAD, "ffmpeg", str(error))


def _encoders() -> Iterator[CheckResult]:
    """Encode a test video, because ffmpeg also lists encoders that do not work on this machine."""
    import torch

    from worker.pipeline.container import NVENC, X264
    from worker.pipeline.encode import encoder_fault

    fault = encoder_fault(X264)
    if fault is not None:
        yield CheckResult(Status.BAD, "encoder", f"libx264 fails to encode: {_last_line(fault)}")
        return
    encoder = X264
    if torch.cuda.is_available():
        encoder = NVENC if encoder_fault(NVENC) is None else X264
    yield CheckResult(Status.OK, "encoder", f"{encoder.name}, tested")


def _secrets(settings: Settings) -> Iterator[CheckResult]:
    """Report secret files that other users can read."""
    signing_secret = settings.data / "secret"
    files = {f"{PREFIX}{name.upper()}_FILE": path for name, path in secret_files().items()}
    if signing_secret.is_file():
        files["the secret that signs links"] = signing_secret
    for name, path in files.items():
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            text = f"{name}: other users can read {path} ({mode:04o}); run `chmod 600` on it"
            yield CheckResult(Status.WARN, "secret", text)


def _broker(settings: Settings) -> CheckResult:
    if settings.broker_url:
        app = make_celery(settings)
        try:
            responds = reachable(app)
        finally:
            app.close()
        if responds:
            return CheckResult(Status.OK, "broker", "VISAVIS_BROKER_URL responds")
        text = (
            "VISAVIS_BROKER_URL does not respond; start that Redis, or unset the variable to use "
            "the embedded Redis"
        )
        return CheckResult(Status.BAD, "broker", text)
    try:
        return CheckResult(Status.OK, "broker", f"embedded Redis, {find_server()}")
    except BrokerError as error:
        return CheckResult(Status.BAD, "broker", str(error))


def _database(settings: Settings) -> CheckResult:
    url = sa.make_url(settings.database_url)
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return CheckResult(Status.OK, "database", f"{shown}, created on first use")
    engine = None
    try:
        engine = connect(settings.database_url)
        with reading(engine) as connection:
            if not sa.inspect(connection).has_table(jobs.name):
                text = f"{shown} is empty; the API creates its tables when it starts"
                return CheckResult(Status.WARN, "database", text)
            count = connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar_one()
    except ModuleNotFoundError as error:
        text = f"{shown} needs {error.name}; run `pip install 'visavis-server[postgres]'`"
        return CheckResult(Status.BAD, "database", text)
    except sa.exc.SQLAlchemyError as error:
        reason = _last_line(str(error))
        text = f"{shown} does not respond ({reason}); check VISAVIS_DATABASE_URL"
        return CheckResult(Status.BAD, "database", text)
    finally:
        if engine is not None:
            engine.dispose()
    return CheckResult(Status.OK, "database", f"{shown}, {count} jobs")


def _storage(settings: Settings) -> CheckResult:
    shown = settings.storage_url.partition("?")[0]
    try:
        storage = open_storage(settings)
        try:
            storage.check()
        finally:
            storage.close()
    except (StorageError, OSError) as error:
        return CheckResult(Status.BAD, "storage", f"{shown}: {error}; check VISAVIS_STORAGE_URL")
    return CheckResult(Status.OK, "storage", shown)


def _people(settings: Settings) -> Iterator[CheckResult]:
    if settings.people == REPOSITORY / "people" and not settings.people.is_dir():
        text = (
            "VISAVIS_PEOPLE is not set, and an installed package contains no person; set it to a "
            "folder of person directories"
        )
        yield CheckResult(Status.BAD, "people", text)
        return
    from contracts.person import MANIFEST, PersonError, check_files

    people = read_people(settings.people)
    if not people.valid and not people.left_out:
        text = f"no person in {settings.people}; add a person directory, or set VISAVIS_PEOPLE"
        yield CheckResult(Status.BAD, "people", text)
    for name, reason in people.left_out.items():
        complete = (settings.people / name / MANIFEST).is_file()
        status = Status.BAD if complete or not people.valid else Status.WARN
        yield CheckResult(status, f"person {name}", f"left out: {reason}")
    for person in people.valid:
        subject = f"person {person.name}"
        try:
            check_files(settings.people / person.name)
        except PersonError as error:
            yield CheckResult(Status.BAD, subject, str(error))
            continue
        text = f"{person.title}, {person.licence}, clips to {person.max_seconds:g} s, files intact"
        yield CheckResult(Status.OK, subject, text)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no output"
