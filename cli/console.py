"""What commands say: answers on stdout, faults on stderr, with an exit status that tells them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, NoReturn

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console

from jobs.settings import SECRETS, Settings
from jobs.telemetry.redaction import masked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FAILED = 1
MISUSED = 2  # trying again changes nothing: a setting, an option, an extra that is missing

OURS = ("api", "bench", "cli", "jobs", "models", "training", "worker")
PLAIN_WIDTH = 160  # a log has no width; lines are not to be broken at 80


def make_console(*, stderr: bool = False) -> Console:
    """A console for people, which writes plain lines where nobody watches."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(
            stderr=stderr, highlight=False, markup=False, emoji=False, width=PLAIN_WIDTH
        )
    return console


def fail(sentence: str, status: int = FAILED) -> NoReturn:
    """Say what is wrong and leave."""
    make_console(stderr=True).print(masked(sentence), soft_wrap=True)
    raise typer.Exit(status)


def release() -> str:
    """The version that is installed."""
    return version("visavis-server")


def read_settings() -> Settings:
    """Settings from the environment; leaves with a line for each that makes no sense."""
    try:
        return Settings()
    except ValidationError as error:
        fail("\n".join(faults(error, {}, prefix="VISAVIS_")), MISUSED)
    except SettingsError as error:
        fail(str(error), MISUSED)


def faults(error: ValidationError, names: Mapping[str, str], *, prefix: str = "") -> list[str]:
    """A line for each value that does not fit, under the name that the caller knows it by."""
    lines = []
    for entry in error.errors():
        if entry["type"] == "default_factory_not_called":  # follows from another line
            continue
        field = ".".join(str(part) for part in entry["loc"])
        name = names.get(field, f"{prefix}{field.upper()}" if prefix and field else field)
        told = entry["msg"].removeprefix("Value error, ").replace("Input should", "should")
        given = str(entry["input"])[:80]
        shown = field and field not in SECRETS and given not in told
        value = f", not {given!r}" if shown else ""
        lines.append(f"{name}: {told}{value}" if name else told)
    return lines


def wait_without_spinning() -> None:
    """Let threads of torch sleep while they wait for each other; to be called before its import.

    By default they spin, which costs nothing on an idle machine, and on one that is shared makes
    small networks ten times slower: a thread spins while the one that it waits for has no core.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read by OpenMP when it is loaded


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Imports that only work with an extra; leaves with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in OURS:
            raise
        fail(
            f"this needs {package}, which is not installed; "
            f"`pip install 'visavis-server[{extra}]'`",
            MISUSED,
        )
