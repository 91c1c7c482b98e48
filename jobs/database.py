"""Database access of one process: the stores of all tables, on one connection pool."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobs.db.clock import clock_of
from jobs.db.engine import connect
from jobs.db.stage_rates import StageRates
from jobs.model import utc_now
from jobs.queue.pauses import PauseStore
from jobs.store.api_keys import ApiKeyStore
from jobs.store.attempts import AttemptStore
from jobs.store.batches import BatchStore
from jobs.store.deletions import DeletionStore
from jobs.store.idempotency import IdempotencyKeyStore
from jobs.store.job_rows import JobLimits
from jobs.store.jobs import JobStore
from jobs.store.periodic_tasks import PeriodicTaskStore
from jobs.store.quotas import TenantStore, default_quota
from jobs.store.retention import RetentionStore
from jobs.store.uploads import UploadStore
from jobs.webhooks.outbox import Outbox

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from jobs.model import Clock
    from jobs.settings import Settings

REPORT_SECONDS = 45.0  # a webhook is sent again when its result is this late after its timeout


@dataclass(frozen=True)
class StoreConfig:
    """Times and limits of the stores."""

    lease_seconds: float = 15.0
    wake_seconds: float = 10.0
    jobs: JobLimits = field(default_factory=JobLimits)
    webhook_hold_seconds: float = 60.0  # a delivery is taken again after this time


@dataclass(frozen=True)
class Database:
    """The stores, which share one engine and one clock."""

    engine: Engine
    config: StoreConfig
    jobs: JobStore
    attempts: AttemptStore
    batches: BatchStore
    idempotency_keys: IdempotencyKeyStore
    api_keys: ApiKeyStore
    tenants: TenantStore
    uploads: UploadStore
    deletions: DeletionStore
    retention: RetentionStore
    periodic_tasks: PeriodicTaskStore
    outbox: Outbox
    stage_rates: StageRates
    pauses: PauseStore

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


def stores_on(
    engine: Engine, config: StoreConfig | None = None, *, clock: Clock = utc_now
) -> Database:
    """Create the stores on `engine`; closing the database disposes of the engine."""
    config = config or StoreConfig()
    limits = config.jobs
    return Database(
        engine,
        config,
        jobs=JobStore(engine, limits, clock=clock),
        attempts=AttemptStore(
            engine,
            lease_seconds=config.lease_seconds,
            wake_seconds=config.wake_seconds,
            clock=clock,
        ),
        batches=BatchStore(engine, limits, clock=clock),
        idempotency_keys=IdempotencyKeyStore(engine, clock=clock),
        api_keys=ApiKeyStore(engine),  # keys expire by the clock of this machine, as they are made
        tenants=TenantStore(engine, limits.quota),
        uploads=UploadStore(engine, limits.quota, clock=clock),
        deletions=DeletionStore(engine, clock=clock),
        retention=RetentionStore(engine, clock=clock),
        periodic_tasks=PeriodicTaskStore(engine, clock=clock),
        outbox=Outbox(engine, hold_seconds=config.webhook_hold_seconds, clock=clock),
        stage_rates=StageRates(engine),
        pauses=PauseStore(engine, clock=clock),
    )


def open_database(settings: Settings) -> Database:
    """Connect to the database of the settings. The caller closes it."""
    config = StoreConfig(
        lease_seconds=settings.lease_seconds,
        wake_seconds=settings.wake_seconds,
        jobs=JobLimits(settings.max_attempts, default_quota(settings)),
        webhook_hold_seconds=settings.webhook_seconds + REPORT_SECONDS,
    )
    engine = connect(settings.database_url)
    return stores_on(engine, config, clock=clock_of(engine))
