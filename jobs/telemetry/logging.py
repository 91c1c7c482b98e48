"""Logging, configured once in each process's door: facts in `extra=`, one line for an event."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

from jobs.telemetry.redaction import masked

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

    from jobs.settings import Settings

QUIET = (
    "alembic",
    "boto3",
    "botocore",
    "celery.app.trace",  # every wake-up, also those that find nothing
    "celery.worker.strategy",
    "kombu",
    "s3transfer",
    "urllib3",
)


def configure(settings: Settings) -> None:
    """Send every log line of this process to stderr, in the form that `settings` ask for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings.log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def formatter(form: str) -> structlog.stdlib.ProcessorFormatter:
    """`console` for people, `json` for collectors: time, level, logger, event, facts."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,  # the request id, the job
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if form == "json"
        else [_for_people()]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, _mask],
    )


def _mask(_logger: WrappedLogger, _method: str, line: EventDict | str) -> str:
    """The line as it is written, also the words of errors that name an address."""
    return masked(str(line))


def _for_people() -> structlog.dev.ConsoleRenderer:
    """Plain tracebacks: the pretty ones print every local variable, hundreds of lines of them."""
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
