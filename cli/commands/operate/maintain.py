"""`visavis-server maintain`: one maintenance round without an API, for example from cron."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import OperationalError

from cli.commands.operate.migrate import prepare_database
from cli.console import MISUSED, fail, make_console, read_settings
from jobs.maintenance.context import open_context
from jobs.maintenance.reaper import maintain_once
from jobs.storage.factory import StorageError

if TYPE_CHECKING:
    from jobs.maintenance.reaper import MaintenanceReport


def run_maintain() -> None:
    """Run one round, twice if a lease has expired, and print its results on one line."""
    settings = read_settings()
    prepare_database(settings)
    try:
        with open_context(settings) as context:
            report = maintain_once(context)
    except StorageError as error:  # the address is invalid; an outage is only logged
        fail(str(error), MISUSED)
    except OperationalError as error:
        fail(f"the database does not respond: {error.orig}")
    make_console().print(_summary(report), soft_wrap=True)


def _summary(report: MaintenanceReport) -> str:
    announced = _count(report.announced, "job")
    jobs = _count(report.jobs_removed, "job")
    orphans = _count(report.orphans_removed, "orphaned object")
    uploads = _count(report.uploads_removed, "upload")
    return f"announced {announced}; removed objects of {jobs}, {orphans} and {uploads}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
