"""Logging: one line per event, facts in `extra=`; each process configures it once at start."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

from jobs.telemetry.redaction import redact

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

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


def configure(settings: Settings) -> None:
    """Send every log line of this process to stderr, in the format of the settings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings.log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def formatter(log_format: str) -> structlog.stdlib.ProcessorFormatter:
    """Return the formatter: `console` for people, `json` for log collectors."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,  # the request id, the job
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [_for_people()]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, _redact],
    )


def _redact(_logger: WrappedLogger, _method: str, line: EventDict | str) -> str:
    """Redact the finished line, which includes the text of exceptions."""
    return redact(str(line))


def _for_people() -> structlog.dev.ConsoleRenderer:
    """Return a renderer with plain tracebacks; rich ones print every local variable."""
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
