"""`visavis-server doctor`: what is there, what is missing, and what to do about it."""

from __future__ import annotations

import platform
import sys
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
from jobs.persons import list_people
from jobs.queue.celery_app import make_celery, reachable
from jobs.settings import PREFIX, secret_files
from jobs.storage.factory import StorageError, open_storage
from jobs.telemetry.redaction import masked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.settings import Settings


class Mark(StrEnum):
    """How a thing is."""

    OK = "ok"
    WARN = "warn"  # something works less well
    BAD = "bad"  # something needed does not work


COLOURS = {Mark.OK: "green", Mark.WARN: "yellow", Mark.BAD: "bold red"}


@dataclass(frozen=True)
class CheckResult:
    """One line."""

    mark: Mark
    thing: str
    found: str  # and, where it is not ok, what to do


def run_doctor() -> None:
    """Print a line for each thing; exit status 1 when something needed is bad."""
    findings = list(examine(read_settings()))
    table = Table.grid(padding=(0, 2))
    for each in findings:
        table.add_row(Text(each.mark, COLOURS[each.mark]), each.thing, masked(each.found))
    make_console().print(table)
    if any(each.mark is Mark.BAD for each in findings):
        raise typer.Exit(FAILED)


def examine(settings: Settings) -> Iterator[CheckResult]:
    """Every finding, the things of one machine first."""
    yield _python()
    yield _api()
    yield from _worker(settings)
    yield from _secrets(settings)
    yield _broker(settings)
    yield _database(settings)
    yield _storage(settings)
    yield from _people(settings)


def _python() -> CheckResult:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    known = (3, 11) <= sys.version_info[:2] <= (3, 13)
    advice = "" if known else "; use 3.11, 3.12 or 3.13"
    return CheckResult(Mark.OK if known else Mark.BAD, "python", found + advice)


def _api() -> CheckResult:
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        return CheckResult(Mark.WARN, "api", "not installed; `pip install 'visavis-server[api]'`")
    return CheckResult(
        Mark.OK, "api", f"fastapi {version('fastapi')}, uvicorn {version('uvicorn')}"
    )


def _worker(settings: Settings) -> Iterator[CheckResult]:
    missing = [name for name in ("torch", "imageio_ffmpeg", "warp") if find_spec(name) is None]
    if missing:
        found = f"{', '.join(missing)} not installed; `pip install 'visavis-server[worker]'`"
        yield CheckResult(Mark.BAD, "worker", found)
        return
    import torch

    yield CheckResult(Mark.OK, "torch", str(torch.__version__))
    yield _device(settings)
    yield _ffmpeg()
    yield from _encoders()


def _device(settings: Settings) -> CheckResult:
    from worker.pipeline.device import DeviceError, choose_device, describe, works

    try:
        device = choose_device(settings.device)
    except DeviceError as error:
        return CheckResult(Mark.BAD, "device", str(error))
    if not works(device):
        return CheckResult(
            Mark.BAD, "device", f"{describe(device)} does not compute; see nvidia-smi"
        )
    return CheckResult(Mark.OK, "device", describe(device))


def _ffmpeg() -> CheckResult:
    from worker.pipeline.ffmpeg import FfmpegError, executable

    try:
        return CheckResult(Mark.OK, "ffmpeg", executable())
    except FfmpegError as error:
        return CheckResult(Mark.BAD, "ffmpeg", str(error))


def _encoders() -> Iterator[CheckResult]:
    """Tried by encoding something, because ffmpeg lists what the machine does not have."""
    import torch

    from worker.pipeline.container import NVENC, X264
    from worker.pipeline.encode import encoder_fault

    fault = encoder_fault(X264)
    if fault is not None:
        yield CheckResult(Mark.BAD, "encoder", f"libx264 does not encode: {_line(fault)}")
        return
    used = X264
    if torch.cuda.is_available():
        used = NVENC if encoder_fault(NVENC) is None else X264
    yield CheckResult(Mark.OK, "encoder", f"{used.name}, tried")


def _secrets(settings: Settings) -> Iterator[CheckResult]:
    """Files of secrets that others may read."""
    kept = settings.data / "secret"
    files = {f"{PREFIX}{name.upper()}_FILE": path for name, path in secret_files().items()}
    if kept.is_file():
        files["the secret that signs links"] = kept
    for name, path in files.items():
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            found = f"{name}: {path} may be read by others ({mode:04o}); `chmod 600` it"
            yield CheckResult(Mark.WARN, "secret", found)


def _broker(settings: Settings) -> CheckResult:
    if settings.broker_url:
        app = make_celery(settings)
        try:
            answers = reachable(app)
        finally:
            app.close()
        if answers:
            return CheckResult(Mark.OK, "broker", "VISAVIS_BROKER_URL answers")
        found = "VISAVIS_BROKER_URL does not answer; start that Redis, or unset it for our own"
        return CheckResult(Mark.BAD, "broker", found)
    try:
        return CheckResult(Mark.OK, "broker", f"our own, by {find_server()}")
    except BrokerError as error:
        return CheckResult(Mark.BAD, "broker", str(error))


def _database(settings: Settings) -> CheckResult:
    url = sa.make_url(settings.database_url)
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return CheckResult(Mark.OK, "database", f"{shown}, made on first use")
    engine = None
    try:
        engine = connect(settings.database_url)
        with reading(engine) as connection:
            if not sa.inspect(connection).has_table(jobs.name):
                found = f"{shown} is empty; the API brings it up to date when it starts"
                return CheckResult(Mark.WARN, "database", found)
            count = connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar_one()
    except ModuleNotFoundError as error:
        found = f"{shown} needs {error.name}; `pip install 'visavis-server[postgres]'`"
        return CheckResult(Mark.BAD, "database", found)
    except sa.exc.SQLAlchemyError as error:
        found = f"{shown} does not answer ({_line(str(error))}); check VISAVIS_DATABASE_URL"
        return CheckResult(Mark.BAD, "database", found)
    finally:
        if engine is not None:
            engine.dispose()
    return CheckResult(Mark.OK, "database", f"{shown}, {count} jobs")


def _storage(settings: Settings) -> CheckResult:
    shown = settings.storage_url.partition("?")[0]
    try:
        storage = open_storage(settings)
        try:
            storage.check()
        finally:
            storage.close()
    except (StorageError, OSError) as error:
        return CheckResult(Mark.BAD, "storage", f"{shown}: {error}; check VISAVIS_STORAGE_URL")
    return CheckResult(Mark.OK, "storage", shown)


def _people(settings: Settings) -> Iterator[CheckResult]:
    from contracts.person import PersonError, check_files

    known = {person.name: person for person in list_people(settings.people)}
    folders = sorted(path.parent for path in settings.people.glob("*/person.json"))
    if not folders:
        found = (
            f"nobody below {settings.people}; put a person directory there, or set VISAVIS_PEOPLE"
        )
        yield CheckResult(Mark.BAD, "people", found)
    for folder in folders:
        thing = f"person {folder.name}"
        if folder.name not in known:
            yield CheckResult(
                Mark.BAD, thing, f"{folder}/person.json cannot be used; see the log above"
            )
            continue
        try:
            check_files(folder)
        except PersonError as error:
            yield CheckResult(Mark.BAD, thing, str(error))
            continue
        person = known[folder.name]
        found = (
            f"{person.title}, {person.licence}, clips to {person.max_seconds:g} s, files as named"
        )
        yield CheckResult(Mark.OK, thing, found)


def _line(words: str) -> str:
    lines = words.strip().splitlines()
    return lines[-1].strip() if lines else "no words"
