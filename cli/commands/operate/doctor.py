"""`visavis-server doctor`: check a machine and its settings, with a fix for each problem."""

from __future__ import annotations

import os
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

from cli.console import FAILED, length_of, make_console, read_settings
from cli.local.embedded_redis import BrokerError, find_server
from contracts.consent import NOT_STATED
from contracts.errors import os_fault
from jobs.db.engine import connect, reading
from jobs.db.tables import jobs
from jobs.maintenance.storage_root import is_made
from jobs.persons import ConsentRefused, read_people
from jobs.queue.celery_app import make_celery, reachable
from jobs.queue.pauses import PauseStore
from jobs.settings import PREFIX, REPOSITORY, WatermarkKeyError, secret_files
from jobs.storage.factory import LocalStorage, StorageError, open_storage
from jobs.telemetry.outages import reason_of
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
    yield _manifests(settings)
    yield _watermark(settings)
    yield _broker(settings)
    yield _database(settings)
    yield from _pauses(settings)
    yield _storage(settings)
    yield from _people(settings)
    yield from _consents(settings)


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
    from worker.pipeline.media.ffmpeg import FfmpegError, executable

    try:
        return CheckResult(Status.OK, "ffmpeg", executable())
    except FfmpegError as error:
        return CheckResult(Status.BAD, "ffmpeg", str(error))


def _encoders() -> Iterator[CheckResult]:
    """Encode a test video, because ffmpeg also lists encoders that do not work on this machine."""
    import torch

    from worker.pipeline.media.container import NVENC, X264
    from worker.pipeline.media.encode import encoder_fault

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


def _manifests(settings: Settings) -> CheckResult:
    """Load the key of manifests, without making one."""
    if not settings.sign:
        text = "VISAVIS_SIGN is false: outputs carry no manifest; unset it"
        return CheckResult(Status.WARN, "manifests", text)
    if find_spec("c2pa") is None:
        text = "c2pa not installed; run `pip install c2pa-python`"
        return CheckResult(Status.BAD, "manifests", text)
    from worker.provenance.keys import SigningError, own_folder
    from worker.provenance.manifest import open_signer

    if settings.sign_certificate is None and not own_folder(settings).is_dir():
        text = "a key of this machine, made on first use; it does not prove who made a file"
        return CheckResult(Status.OK, "manifests", text)
    try:
        signer = open_signer(settings)
    except SigningError as error:
        return CheckResult(Status.BAD, "manifests", str(error))
    assert signer is not None
    if signer.key.self_made:
        text = "signed by a key of this machine, which does not prove who made a file"
        return CheckResult(Status.OK, "manifests", text)
    return CheckResult(Status.OK, "manifests", "signed by the key of VISAVIS_SIGN_CERTIFICATE")


def _watermark(settings: Settings) -> CheckResult:
    """Load the key of watermarks, without making one."""
    if settings.watermark == "off":
        text = "VISAVIS_WATERMARK is off: outputs carry no watermark; unset it"
        return CheckResult(Status.WARN, "watermark", text)
    if settings.watermark_key is not None:
        return CheckResult(Status.OK, "watermark", "made with VISAVIS_WATERMARK_KEY")
    path = settings.mark_key_file()
    if not path.exists():
        text = f"made with a key of this machine, {path}, which the first use writes"
        return CheckResult(Status.OK, "watermark", text)
    try:
        settings.marking_key()
    except (WatermarkKeyError, OSError) as error:
        fault = os_fault(error) if isinstance(error, OSError) else str(error)
        return CheckResult(Status.BAD, "watermark", fault)
    return CheckResult(Status.OK, "watermark", f"made with a key of this machine, {path}; keep it")


def _consents(settings: Settings) -> Iterator[CheckResult]:
    """Report people who may not be shown, or not in the use of this service."""
    for person in read_people(settings.people).valid:
        try:
            person.check_use(None, settings.use)
        except ConsentRefused as error:
            yield CheckResult(Status.WARN, "consent", str(error))
            continue
        if person.consent.kind == NOT_STATED:
            text = (
                f"person.json of {person.name!r} states no consent: only non-commercial use is "
                "allowed, with a warning; add it as docs/provenance.md describes"
            )
            yield CheckResult(Status.WARN, "consent", text)


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
            "VISAVIS_BROKER_URL does not respond; start that Redis, or unset the variable: workers "
            "then look for jobs themselves"
        )
        return CheckResult(Status.BAD, "broker", text)
    try:
        return CheckResult(Status.OK, "broker", f"embedded Redis, {find_server()}")
    except BrokerError:
        text = "no Redis, which is optional: workers look for jobs four times a second"
        return CheckResult(Status.OK, "broker", text)


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
        text = f"{shown} does not respond ({reason_of(error)}); check VISAVIS_DATABASE_URL"
        return CheckResult(Status.BAD, "database", text)
    finally:
        if engine is not None:
            engine.dispose()
    return CheckResult(Status.OK, "database", f"{shown}, {count} jobs")


def _pauses(settings: Settings) -> Iterator[CheckResult]:
    """Report claims that an operator has paused; a database that fails is another check's."""
    url = sa.make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return
    try:
        engine = connect(settings.database_url)
    except ModuleNotFoundError:
        return
    try:
        pauses = PauseStore(engine).all()
    except sa.exc.SQLAlchemyError:
        return
    finally:
        engine.dispose()
    for pause in pauses:
        note = f" ({pause.note})" if pause.note else ""
        name = f" --{pause.target.scope} {pause.target.name}" if pause.target.name else ""
        text = (
            f"{pause.target} not claimed since {pause.paused_at:%Y-%m-%d %H:%M} UTC{note}; "
            f"`visavis-server admin pause{name} --resume` ends the pause"
        )
        yield CheckResult(Status.WARN, "claims", text)


def _storage(settings: Settings) -> CheckResult:
    shown = settings.storage_url.partition("?")[0]
    try:
        storage = open_storage(settings)
        try:
            if isinstance(storage, LocalStorage) and not _storage_is_made(settings):
                return _new_storage(storage.folder)
            storage.check()
        finally:
            storage.close()
    except (StorageError, OSError) as error:
        return CheckResult(Status.BAD, "storage", f"{shown}: {error}; check VISAVIS_STORAGE_URL")
    return CheckResult(Status.OK, "storage", shown)


def _storage_is_made(settings: Settings) -> bool:
    """Return whether the database says so; True if it does not answer."""
    url = sa.make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return False
    try:
        engine = connect(settings.database_url)
        try:
            return is_made(engine)
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, ModuleNotFoundError):
        return True


def _new_storage(folder: Path) -> CheckResult:
    parent = next(each for each in (folder, *folder.parents) if each.exists())
    if parent.is_dir() and os.access(parent, os.W_OK):
        return CheckResult(Status.OK, "storage", f"{folder.as_uri()}, created on first use")
    text = f"{folder.as_uri()}: cannot write to {parent}; check VISAVIS_STORAGE_URL"
    return CheckResult(Status.BAD, "storage", text)


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
        longest = length_of(person.max_seconds)
        text = f"{person.title}, {person.licence}, clips to {longest}, files intact"
        yield CheckResult(Status.OK, subject, text)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no output"
