"""The command line of `visavis`: its commands and their options."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import visavis
from visavis.command.console import CommandError, ExitStatus, Output, interrupted
from visavis.command.options import request_options
from visavis.command.session import Session, with_session

# The error of an invalid command line; typer exports only a subclass.
UsageError: Any = typer.BadParameter.__mro__[1]

Recording = Annotated[
    str,
    typer.Argument(
        help="Recording: left channel the person to show, right channel the partner; or its URL.",
        metavar="FILE",
        show_default=False,
    ),
]
JobIds = Annotated[list[str], typer.Argument(help="Ids of jobs.", metavar="JOB")]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        help="File to write, whose suffix selects the output (several takes add -take-N), or a "
        "folder. Default: named after the recording, in the current folder.",
        metavar="PATH",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Timeout = Annotated[
    float | None,
    typer.Option(min=0, help="Longest time to wait. Default: no limit.", metavar="SECONDS"),
]


class _PlainFlags:
    """Mixin of commands whose help shows no type for flags, which take no value."""

    def get_params(self, ctx: Any) -> Any:
        """Return the options, also that of the help."""
        parameters = super().get_params(ctx)  # type: ignore[misc]
        for flag in (each for each in parameters if getattr(each, "is_flag", False)):
            flag.metavar = flag.metavar or ""
        return parameters


class Command(_PlainFlags, TyperCommand):
    """Command of `visavis`."""


class Commands(_PlainFlags, TyperGroup):
    """Group of the commands."""


app = typer.Typer(
    name="visavis",
    cls=Commands,
    help="Send recordings of conversations to a visavis service, and fetch the videos.",
    epilog="Exit status: 0 done, 1 a job failed or was canceled, 2 refused, 3 service not reached, "
    "4 key, 5 --timeout, 130 Ctrl-C.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
command = app.command(cls=Command)


def run(arguments: list[str] | None = None) -> int:
    """Run the command of a command line, and return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    output = Output(as_json="--json" in given)
    warnings.simplefilter("ignore", visavis.ClipWarning)  # commands print the warnings of a job
    try:
        return int(app(given, prog_name="visavis", standalone_mode=False) or ExitStatus.DONE)
    except UsageError as error:
        name = error.ctx.command_path if error.ctx else "visavis"
        text = error.format_message().rstrip(".")
        output.error(CommandError(f"{text}; `{name} --help` lists the options"))
        return ExitStatus.REFUSED
    except (KeyboardInterrupt, typer.Abort):
        output.error(interrupted("stopped"))
        return ExitStatus.INTERRUPTED
    except Exception as error:
        if "--traceback" in given:
            raise
        detail = (
            f"internal error: {type(error).__name__}: {error}; `visavis --traceback` shows more"
        )
        output.error(CommandError(detail, code="internal_error"))
        return ExitStatus.INTERNAL


def _say_version(asked: bool) -> None:  # noqa: FBT001 -- signature of a typer callback
    if asked:
        sys.stdout.write(f"visavis {version('visavis')}\n")
        raise typer.Exit


@app.callback()
def common(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    traceback: Annotated[bool, typer.Option("--traceback", hidden=True)] = False,
) -> None:
    """Send recordings of conversations to a visavis service, and fetch the videos."""


@command
@with_session
@request_options
def send(
    file: Recording,
    out: Out = None,
    partner: Annotated[
        Path | None,
        typer.Option(help="Recording of the partner, if each person has a file.", metavar="FILE"),
    ] = None,
    timeout: Timeout = None,
    *,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Print the id of the job, and do not wait.")
    ] = False,
    overwrite: Overwrite = False,
    session: Session,
    fields: dict[str, Any],
) -> int:
    """Send a recording, wait for its job, and fetch the files; Ctrl-C cancels the job."""
    from visavis.command.send import run_send

    return run_send(
        session, file, partner, out, fields, timeout=timeout, wait=not no_wait, overwrite=overwrite
    )


@command
@with_session
@request_options
def batch(
    files: Annotated[
        list[Path],
        typer.Argument(help="Recordings, and folders of recordings.", metavar="FILE"),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for the files and the journal.", metavar="FOLDER"),
    ],
    concurrency: Annotated[int, typer.Option(min=1, help="Recordings at once.")] = 8,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Journal of the batch. Default: batch.jsonl in --out.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    *,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Send again what failed in an earlier run.")
    ] = False,
    session: Session,
    fields: dict[str, Any],
) -> int:
    """Make videos of many recordings; the same command continues a batch that was stopped."""
    from visavis.command.batch import run_batch

    return run_batch(
        session, files, out, fields, concurrency=concurrency, journal=resume, again=retry_failed
    )


@command
@with_session
def jobs(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of jobs. Default: the newest.", metavar="JOB")
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            help="Only jobs in these states: queued, running, succeeded, failed, canceled.",
            metavar="A,B",
            show_default=False,
        ),
    ] = None,
    person: Annotated[
        str | None, typer.Option(help="Only jobs of this person.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Longest list.")] = 20,
    *,
    session: Session,
) -> int:
    """List jobs, newest first, or show some."""
    from visavis.command.jobs import run_jobs

    return run_jobs(session, ids or [], state, person, limit)


@command
@with_session
def wait(
    ids: JobIds,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder to fetch the files into.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    timeout: Timeout = None,
    *,
    overwrite: Overwrite = False,
    session: Session,
) -> int:
    """Wait for jobs, and fetch their files with --out; Ctrl-C leaves the jobs running."""
    from visavis.command.jobs import run_wait

    return run_wait(session, ids, out, timeout=timeout, overwrite=overwrite)


@command
@with_session
def cancel(ids: JobIds, *, session: Session) -> int:
    """Cancel queued or running jobs."""
    from visavis.command.jobs import run_cancel

    return run_cancel(session, ids)


@command
@with_session
def retry(ids: JobIds, *, session: Session) -> int:
    """Run failed or canceled jobs again."""
    from visavis.command.jobs import run_retry

    return run_retry(session, ids)


@command
@with_session
def people(*, session: Session) -> int:
    """List the persons that the service can show."""
    from visavis.command.people import run_people

    return run_people(session)


@command
@with_session
def login(*, session: Session) -> int:
    """Check and store a key for a service; it is read from --key, standard input or a prompt."""
    from visavis.command.login import run_login

    return run_login(session)


@command
@with_session
def logout(*, session: Session) -> int:
    """Remove the stored key of a service."""
    from visavis.command.login import run_logout

    return run_logout(session)
