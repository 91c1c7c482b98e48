"""Console output of commands: results on stdout, errors on stderr, and the exit status."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
from typer.core import TyperGroup

from contracts.errors import InputError, os_fault
from contracts.imports import quick_imports
from jobs.settings import PREFIX, SECRETS, Settings, known_variables, unknown_variables
from jobs.telemetry.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FAILED = 1
INTERRUPTED = 130
MISUSED = 2  # a retry does not help: a setting, an option or an extra is missing or invalid

PACKAGES = ("api", "bench", "cli", "contracts", "jobs", "models", "training", "worker")
PLAIN_WIDTH = 160  # of output to a file, which has no width


def make_console(*, stderr: bool = False) -> Console:
    """Return a console, which writes plain lines when the output is not a terminal."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(
            stderr=stderr, highlight=False, markup=False, emoji=False, width=PLAIN_WIDTH
        )
    return console


def fail(sentence: str, status: int = FAILED) -> NoReturn:
    """Print the error and exit."""
    make_console(stderr=True).print(redact(sentence), soft_wrap=True)
    raise typer.Exit(status)


def warn(sentence: str) -> None:
    """Print a warning on stderr."""
    make_console(stderr=True).print(f"warning: {redact(sentence)}", soft_wrap=True)


@contextmanager
def expected_errors(interrupted: str) -> Iterator[None]:
    """Guard the worker's pipeline: exit with one sentence for an expected error.

    interrupted: the sentence after Ctrl-C. An unknown person comes with the reasons why people are
    left out.
    """
    with needing("worker"):
        from worker.pipeline.media.encode import VideoError
        from worker.pipeline.persons import PersonUnknown
        from worker.pipeline.user_errors import user_error_of
    try:
        yield
    except KeyboardInterrupt:
        fail(interrupted, INTERRUPTED)
    except PersonUnknown as error:
        sentence = f"{error}; {error.reason}." if error.reason else f"{error}."
        fail(sentence[0].upper() + sentence[1:], MISUSED)
    except VideoError as error:
        fail(str(error))
    except Exception as error:
        if (user_error := user_error_of(error)) is None:
            raise
        fail(user_error.message, MISUSED)


# The error of an invalid command line; typer exports only a subclass.
UsageError: Any = typer.BadParameter.__mro__[1]


class CommandGroup(TyperGroup):
    """Group of commands whose help shows no type for flags, which take no value."""

    def get_params(self, ctx: Any) -> Any:
        """Return the options of the group."""
        return _flags_without_type(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a name."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _flags_without_type(command.get_params(ctx))
        return command


def _flags_without_type(parameters: Any) -> Any:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


class OneSentence(CommandGroup):
    """Group of commands that reports a user's mistake in one sentence, with exit status 2.

    A fault of the program is printed with its traceback, without credentials.
    """

    def main(  # type: ignore[override]
        self, args: Any = None, prog_name: Any = None, **options: Any
    ) -> Any:
        """Run a command line; typer would print its error in a box below the usage."""
        if not options.pop("standalone_mode", True):
            return super().main(args, prog_name, standalone_mode=False, **options)
        try:
            status = super().main(args, prog_name, standalone_mode=False, **options)
        except UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # its text is the help
                error.show()
            else:
                name = error.ctx.command_path if error.ctx else self.name
                text = " ".join(error.format_message().split()).rstrip(".")
                sentence = f"{text}; `{name} --help` shows what is possible"
                make_console(stderr=True).print(sentence, soft_wrap=True)
            status = MISUSED
        except typer.Abort:
            status = INTERRUPTED
        except Exception:  # a fault of the program; its text may contain an address
            sys.stderr.write(redact(traceback.format_exc()))
            status = FAILED
        sys.exit(status or 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command of the command line."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click ends the program quietly
            raise
        except (InputError, OSError) as error:
            text = os_fault(error) if isinstance(error, OSError) else str(error)
            fail(" ".join(text.split()), MISUSED)
        except OperationalError as error:
            fail(f"the database does not respond: {error.orig}")


def length_of(seconds: float) -> str:
    """Length of a clip in the largest unit that it fills: `20 s`, `90 min`, `24 h`."""
    if seconds >= 7200:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 120 else f"{seconds:g} s"


def release() -> str:
    """Return the installed version."""
    return version("visavis-server")


def read_settings() -> Settings:
    """Return the settings of the environment; exit with a line for each invalid one.

    Variables with the prefix of settings that none reads cause a warning.
    """
    known = [name.removeprefix(PREFIX) for name in known_variables()]
    for name in unknown_variables():
        close = get_close_matches(name.removeprefix(PREFIX), known, n=1)
        fix = f"did you mean {PREFIX}{close[0]}?" if close else "see docs/operations.md"
        warn(f"{name}: unknown setting, ignored; {fix}")
    try:
        settings = Settings()
        make_url(settings.database_url).get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        fail(
            f"VISAVIS_DATABASE_URL: {error}; use sqlite:///PATH or postgresql://HOST/NAME", MISUSED
        )
    except ModuleNotFoundError:
        return settings  # of the driver, which the command that opens the database reports
    except ValidationError as error:
        fail("\n".join(faults(error, {}, prefix="VISAVIS_")), MISUSED)
    except SettingsError as error:
        fail(str(error), MISUSED)
    return settings


def faults(error: ValidationError, names: Mapping[str, str], *, prefix: str = "") -> list[str]:
    """Return a line for each invalid value, with the name that the user gave it."""
    lines = []
    for entry in error.errors():
        if entry["type"] == "default_factory_not_called":  # the error of another field causes it
            continue
        field = ".".join(str(part) for part in entry["loc"])
        name = names.get(field, f"{prefix}{field.upper()}" if prefix and field else field)
        message = entry["msg"].removeprefix("Value error, ").replace("Input should", "should")
        value = str(entry["input"])[:80]
        shown = field and field not in SECRETS and value not in message
        suffix = f", not {value!r}" if shown else ""
        lines.append(f"{name}: {message}{suffix}" if name else message)
    return lines


def wait_without_spinning() -> None:
    """Make threads of torch sleep while they wait for each other; call it before torch is imported.

    By default they spin. On a shared machine this makes small networks ten times slower, because a
    thread spins on the core that the other thread needs.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # OpenMP reads it when it is loaded


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Guard imports that need an extra; if one fails, exit with the command that installs it."""
    try:
        with quick_imports():
            yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in PACKAGES:
            raise
        fail_missing(package, extra)


def fail_missing(package: str, extra: str) -> NoReturn:
    """Print the command that installs the extra with this package, and exit."""
    fail(f"{package} is not installed; run `pip install 'visavis-server[{extra}]'`", MISUSED)
