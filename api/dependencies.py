"""What routes are handed: the rooms behind the door, opened once for each process."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Annotated

from celery import Celery
from fastapi import Depends, Request

from api.background.job_watch import JobWatcher
from api.rate_limits import Rates
from jobs.db.clock import clock_of
from jobs.outbound.http_client import Outbound, open_outbound
from jobs.queue.celery_app import make_celery
from jobs.settings import Settings
from jobs.storage.factory import LocalStorage, S3Storage, open_storage
from jobs.store.api_keys import ApiKeyStore
from jobs.store.batches import Batches
from jobs.store.jobs import Store, open_store
from jobs.store.quotas import default_quota
from jobs.store.uploads import Uploads
from jobs.webhooks.outbox import Outbox

HOLD_SECONDS = 45.0  # a webhook of which nothing was heard for so long after its time is sent again


@dataclass(frozen=True)
class Services:
    """Everything that the routes use."""

    settings: Settings
    store: Store
    storage: LocalStorage | S3Storage
    queue: Celery
    keys: ApiKeyStore
    outbox: Outbox
    outbound: Outbound
    rates: Rates
    uploads: Uploads
    batches: Batches


@contextmanager
def opened(settings: Settings) -> Iterator[Services]:
    """The services that `settings` name, closed at the end."""
    with ExitStack() as stack:
        storage = stack.enter_context(closing(open_storage(settings)))
        store = stack.enter_context(closing(open_store(settings)))
        queue = stack.enter_context(closing(make_celery(settings)))
        rates = stack.enter_context(closing(Rates(settings)))
        yield Services(
            settings,
            store,
            storage,
            queue,
            keys=ApiKeyStore(store.engine),
            outbox=Outbox(
                store.engine,
                hold_seconds=settings.webhook_seconds + HOLD_SECONDS,
                clock=clock_of(store.engine),
            ),
            outbound=open_outbound(settings),
            rates=rates,
            uploads=Uploads(store.engine, default_quota(settings), clock=clock_of(store.engine)),
            batches=Batches(store.engine),
        )


# Coroutines, because FastAPI would send plain functions to a thread and back.
async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _watch(request: Request) -> JobWatcher:
    watch: JobWatcher = request.app.state.watch
    return watch


ServicesDep = Annotated[Services, Depends(_services)]
JobWatcherDep = Annotated[JobWatcher, Depends(_watch)]
