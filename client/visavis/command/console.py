"""Output and exit statuses: results on stdout, everything else on stderr."""

from __future__ import annotations

import errno
import json
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from rich.console import Console

import visavis

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN_WIDTH = 160  # of output to a file, which has no width


class ExitStatus(IntEnum):
    """Exit statuses, a part of the interface: see docs/client-command.md."""

    DONE = 0
    JOB_ENDED = 1  # a job failed or was canceled
    REFUSED = 2  # a mistake on the command line or in the request: a repetition does not help
    UNREACHED = 3  # the service is not reachable, fails or is busy: try again later
    KEY = 4  # the key is missing, invalid or lacks a right
    TIMEOUT = 5  # the job runs on after --timeout
    INTERNAL = 70  # a fault of this program
    INTERRUPTED = 130  # Ctrl-C


class CommandError(Exception):
    """An expected error: a sentence that says what to do, a code and the exit status.

    job: id of the job that it concerns.
    """

    def __init__(
        self,
        sentence: str,
        *,
        code: str = "usage",
        status: ExitStatus = ExitStatus.REFUSED,
        job: str = "",
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.status = status
        self.job = job


def interrupted(sentence: str, job: str = "") -> CommandError:
    """Return the error of a command that Ctrl-C has stopped."""
    return CommandError(sentence, code="interrupted", status=ExitStatus.INTERRUPTED, job=job)


class Output:
    """Output of one run of a command.

    as_json: results and errors are lines of JSON on stdout, and nothing else is written. quiet: no
    progress and no notes.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.silent = quiet or as_json
        self.stdout = make_console()
        self.stderr = make_console(stderr=True)

    def result(self, document: Mapping[str, Any], text: str) -> None:
        """Print one result: a line of JSON, or the text."""
        if self.as_json:
            line = json.dumps(document, ensure_ascii=False)
            try:
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
            except BrokenPipeError:  # the reader, such as `head`, has ended
                self.stdout.on_broken_pipe()
        elif text:
            self.stdout.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a line about the course of the work on stderr."""
        if not self.silent:
            self.stderr.print(text, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a warning or the end of a command on stderr; scripts find it in the JSON."""
        if not self.as_json:
            self.stderr.print(text, soft_wrap=True)

    def error(self, error: CommandError) -> None:
        """Print an error: on stdout as JSON, else as a sentence on stderr."""
        if self.as_json:
            document: dict[str, Any] = {"error": {"code": error.code, "detail": str(error)}}
            self.result(document | ({"job": error.job} if error.job else {}), "")
        else:
            self.stderr.print(str(error), soft_wrap=True)


def make_console(*, stderr: bool = False) -> Console:
    """Return a console, which writes plain lines when the output is not a terminal."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def command_error(error: Exception) -> CommandError | None:
    """Return the error of a command for one of the library; None for a fault of the program."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, visavis.APIStatusError):
        return _status_error(error)
    if isinstance(error, visavis.APIConnectionError):
        sentence = f"no connection to the service ({error}); check its address, --url"
        return CommandError(sentence, code="no_connection", status=ExitStatus.UNREACHED)
    if isinstance(error, visavis.UploadError):
        sentence = f"{error}; try again"
        return CommandError(sentence, code="upload_failed", status=ExitStatus.UNREACHED)
    if isinstance(error, visavis.DownloadError):
        sentence = f"{error}; try again"
        return CommandError(sentence, code="download_failed", status=ExitStatus.UNREACHED)
    if isinstance(error, visavis.WaitTimeout):
        sentence = f"{error}; it runs on, and `visavis wait {error.job.id}` waits again"
        job = error.job.id
        return CommandError(sentence, code="timeout", status=ExitStatus.TIMEOUT, job=job)
    if isinstance(error, visavis.JobEnded):
        return CommandError(str(error), code=error.code, status=ExitStatus.JOB_ENDED)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        fix = "free some space" if error.errno == errno.ENOSPC else "check the path"
        return CommandError(f"{name}{error.strerror or error}; {fix}", code="file")
    if isinstance(error, visavis.VisavisError):
        return CommandError(str(error))
    return None


def _status_error(error: visavis.APIStatusError) -> CommandError:
    code = error.code or f"http_{error.status}"
    sentence = f"{code}: {error.detail}"
    if isinstance(error, visavis.InvalidRequestError) and error.errors:
        lines = (f"{each['field']}: {each['detail']}" for each in error.errors)
        sentence = "\n".join(f"{code}: {line}" for line in lines)
    if code == "job_not_found":
        sentence = f"{sentence.rstrip('.')}; `visavis jobs` lists the jobs"
    if isinstance(error, visavis.AuthenticationError):
        sentence = f"{sentence.rstrip('.')}; `visavis login` stores a key"
        return CommandError(sentence, code=code, status=ExitStatus.KEY)
    if isinstance(error, visavis.PermissionDeniedError):
        return CommandError(sentence, code=code, status=ExitStatus.KEY)
    if isinstance(error, (visavis.RateLimitError, visavis.ServerError)):
        return CommandError(sentence, code=code, status=ExitStatus.UNREACHED)
    return CommandError(sentence, code=code)
