"""Logging: one line per event, facts in `extra=`; each process configures it once at start."""

from __future__ import annotations

import logging
import sys
from io import StringIO
from typing import TYPE_CHECKING

import structlog

from jobs.telemetry.redaction import redact

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

    from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

    from jobs.settings import Settings

QUIET = (
    "alembic",
    "boto3",
    "botocore",
    "celery.app.trace",  # logs every wake-up, even without a job to claim
    "celery.worker.strategy",
    "kombu",
    "s3transfer",
    "urllib3",
)
STRUCTLOG = ("_record", "_from_structlog")  # which `remove_processors_meta` needs and removes


def configure(settings: Settings) -> None:
    """Send every log line of this process to stderr, in the format of the settings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings.log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Log the error that ends the process, in the format of all lines."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger(__name__).critical("process ends", exc_info=(kind, error, traceback))


def formatter(log_format: str) -> structlog.stdlib.ProcessorFormatter:
    """Return the formatter: `console` for people, `json` for log collectors."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,  # the request id, the job
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _without_internals,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [_printable, _for_people()]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, _redact],
    )


def _without_internals(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Remove what libraries add to records for themselves.

    uvicorn adds a second copy of the event with codes of colours, Ray names that begin with `_`.
    """
    return {
        name: value
        for name, value in line.items()
        if name in STRUCTLOG or not (name == "color_message" or name.startswith("_"))
    }


def _redact(_logger: WrappedLogger, _method: str, line: EventDict | str) -> str:
    """Redact the finished line, which includes the text of exceptions."""
    return redact(str(line))


def _printable(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Escape what is not printable: a path of a request may contain sequences for terminals."""
    return {
        name: _escaped(value) if isinstance(value, str) else value for name, value in line.items()
    }


def _escaped(text: str, keep: str = "") -> str:
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode()
        for each in text
    )


def _traceback(file: TextIO, failed: ExcInfo) -> None:
    """Write a plain traceback, whose messages may contain anything."""
    text = StringIO()
    structlog.dev.plain_traceback(text, failed)
    file.write(_escaped(text.getvalue(), keep="\n\t"))


def _for_people() -> structlog.dev.ConsoleRenderer:
    """Return a renderer with plain tracebacks; rich ones print every local variable."""
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_traceback)
