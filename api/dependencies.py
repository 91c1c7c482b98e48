"""Dependencies of routes, opened once for each process."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Annotated

from celery import Celery
from fastapi import Depends, Request

from api.background.job_watch import JobWatcher
from api.rate_limits import RateLimits
from jobs.database import Database, open_database
from jobs.maintenance.context import MaintenanceContext
from jobs.maintenance.grace import GracePeriod
from jobs.maintenance.storage_root import prepare_storage
from jobs.outbound.http_client import OutboundClient, open_outbound
from jobs.queue.celery_app import make_celery
from jobs.settings import Settings
from jobs.storage.factory import LocalStorage, S3Storage, open_storage


@dataclass(frozen=True)
class Services:
    """Settings, database, storage and clients that routes use."""

    settings: Settings
    database: Database
    storage: LocalStorage | S3Storage
    queue: Celery
    outbound: OutboundClient
    rate_limits: RateLimits
    grace: GracePeriod

    @property
    def maintenance(self) -> MaintenanceContext:
        """The resources of a maintenance round."""
        return MaintenanceContext(
            self.settings, self.database, self.storage, self.queue, self.grace
        )


@contextmanager
def open_services(settings: Settings) -> Iterator[Services]:
    """Open the services that `settings` configure, and close them at the end."""
    with ExitStack() as stack:
        storage = stack.enter_context(closing(open_storage(settings)))
        database = stack.enter_context(closing(open_database(settings)))
        prepare_storage(database.engine, storage)
        queue = stack.enter_context(closing(make_celery(settings)))
        rate_limits = stack.enter_context(closing(RateLimits(settings)))
        yield Services(
            settings,
            database,
            storage,
            queue,
            outbound=open_outbound(settings),
            rate_limits=rate_limits,
            grace=GracePeriod(settings.lease_seconds),
        )


# Dependencies are coroutines because FastAPI runs plain functions in a thread.
async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _watch(request: Request) -> JobWatcher:
    watch: JobWatcher = request.app.state.watch
    return watch


ServicesDep = Annotated[Services, Depends(_services)]
JobWatcherDep = Annotated[JobWatcher, Depends(_watch)]
