"""Settings, database, storage and queue that a maintenance round works with."""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.database import open_database
from jobs.maintenance.grace import GracePeriod
from jobs.maintenance.storage_root import prepare_storage
from jobs.queue.celery_app import make_celery
from jobs.storage.factory import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from jobs.database import Database
    from jobs.settings import Settings
    from jobs.storage.factory import LocalStorage, S3Storage


@dataclass(frozen=True)
class MaintenanceContext:
    """The resources of a maintenance round."""

    settings: Settings
    database: Database
    storage: LocalStorage | S3Storage
    queue: Celery
    grace: GracePeriod


@contextmanager
def open_context(settings: Settings) -> Iterator[MaintenanceContext]:
    """Open what the settings name and close it at the end of the block."""
    with ExitStack() as stack:
        context = MaintenanceContext(
            settings,
            database=stack.enter_context(closing(open_database(settings))),
            storage=stack.enter_context(closing(open_storage(settings))),
            queue=stack.enter_context(closing(make_celery(settings))),
            grace=GracePeriod(settings.lease_seconds),
        )
        prepare_storage(context.database.engine, context.storage)
        yield context
