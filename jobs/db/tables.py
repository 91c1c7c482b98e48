"""Database tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import Column, Index, MetaData, Table

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware datetimes in UTC on every database; for SQLite, which stores no zone, it is added."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"datetime without time zone: {value}; use datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


ALL_EVENTS = '["job.succeeded", "job.failed", "job.canceled"]'  # of rows without a choice


jobs = Table(
    "jobs",
    metadata,
    Column("id", sa.String(32), primary_key=True),
    Column("state", sa.String(16), nullable=False),
    Column("attempt", sa.Integer, nullable=False),
    Column("max_attempts", sa.Integer, nullable=False),
    Column("worker", sa.String(255)),
    Column("lease_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("woken_at", UtcDateTime, nullable=False),
    Column("request", sa.JSON, nullable=False),
    Column("input_key", sa.String(255), nullable=False),
    Column("clip_seconds", sa.Double, nullable=False),
    Column("stage", sa.String(16), nullable=False),
    Column("stage_progress", sa.Double, nullable=False),
    Column("progress", sa.Double, nullable=False),
    Column("motion_key", sa.String(255)),
    Column("motion_digest", sa.String(64)),
    Column("outputs", sa.JSON, nullable=False),
    Column("error_code", sa.String(64)),
    Column("error_detail", sa.Text),
    Column("person", sa.String(64), nullable=False, server_default=""),  # as in `request`
    Column("priority", sa.Integer, nullable=False, server_default="0"),
    Column("metadata", sa.JSON, nullable=False, server_default="{}"),
    Column("finished_takes", sa.JSON, nullable=False, server_default="[]"),
    Column("input_expired_at", UtcDateTime),
    Column("outputs_expired_at", UtcDateTime),
    Column("tenant", sa.String(63), nullable=False, server_default="local"),
    Column("callback_url", sa.String(2048)),
    Column("batch_id", sa.String(32)),
    Column("batch_place", sa.Integer),
    Column("input_bytes", sa.BigInteger, nullable=False, server_default="0"),
    Column("output_bytes", sa.BigInteger, nullable=False, server_default="0"),
    Column("warnings", sa.JSON, nullable=False, server_default="[]"),
    Column("consent", sa.JSON(none_as_null=True)),  # of the person, when the job was accepted
    Column("partner_key", sa.String(255)),
    Column("cancel_after", sa.Double),
    Column("cancel_at", UtcDateTime),
    Column("webhook_events", sa.JSON, nullable=False, server_default=ALL_EVENTS),
    Column("filename", sa.String(255)),
    Column("seconds_left", sa.Double),
    Column("queued_at", UtcDateTime),  # of acceptance or the last retry; null in old rows
    Column("trace", sa.JSON(none_as_null=True)),  # headers of W3C Trace Context
    Column("device", sa.String(16)),  # of the latest attempt: cpu or cuda
    Column("device_seconds", sa.Double, nullable=False, server_default="0"),  # of all attempts
    Column("cost", sa.Double),
    Column("currency", sa.String(3)),
    Column("not_before", UtcDateTime),  # a job that was put back waits until then
    Column("setbacks", sa.Integer, nullable=False, server_default="0"),  # since it was queued
    Column("watermark", sa.String(16)),  # id in its frames and sound, in hex; null: not marked
    Index(None, "state", "created_at", "id"),
    Index("ix_jobs_turn", "state", sa.desc("priority"), "created_at", "id"),
    Index("ix_jobs_share", "state", "tenant", sa.desc("priority"), "created_at", "id"),
    Index(None, "person", "created_at", "id"),
    Index(None, "created_at", "id"),
    Index(None, "finished_at"),
    Index(None, "cancel_at"),
    Index(None, "tenant", "created_at", "id"),
    Index(None, "batch_id", "batch_place"),
    Column("partner_person", sa.String(64)),  # the second person, if that is another one
    Column("partner_consent", sa.JSON(none_as_null=True)),  # of the second person, as `consent`
    Index(None, "watermark"),
    Index(None, "partner_person", "created_at", "id"),
)


# Idempotency keys with their jobs: see jobs/store/idempotency.py.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", sa.String(63), primary_key=True, server_default="local"),
    Column("key", sa.String(255), primary_key=True),
    Column("digest", sa.String(64), nullable=False),
    Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("look_at", UtcDateTime, nullable=False, index=True),
)


# API keys: see jobs/store/api_keys.py.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", sa.String(12), primary_key=True),
    Column("tenant", sa.String(63), nullable=False),
    Column("name", sa.String(100), nullable=False),
    Column("digest", sa.String(64), nullable=False),
    Column("scopes", sa.String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
)


# Own quota values of tenants, and their usage: see jobs/store/quotas.py. Their turns: see
# jobs/store/fair_share.py.
tenants = Table(
    "tenants",
    metadata,
    Column("name", sa.String(63), primary_key=True),
    Column("jobs_in_flight", sa.Integer),
    Column("seconds_a_day", sa.Double),
    Column("stored_bytes", sa.BigInteger),
    Column("day", sa.Date),
    Column("seconds_of_day", sa.Double, nullable=False, server_default="0"),
    Column("last_turn", sa.BigInteger, nullable=False, server_default="0"),
    Index(None, "last_turn"),
)


# Deleted jobs whose objects have to be removed once more: see jobs/store/deletions.py.
removals = Table(
    "removals",
    metadata,
    Column("job_id", sa.String(32), primary_key=True),
    Column("deleted_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("rounds_left", sa.Integer, nullable=False),
    Index(None, "due_at"),
)


# Webhook deliveries: see jobs/webhooks/outbox.py.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", sa.String(32), primary_key=True),
    Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("tenant", sa.String(63), nullable=False),
    Column("type", sa.String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("url", sa.String(2048), nullable=False),
    Column("host", sa.String(255), nullable=False),  # of the URL; limits apply per host
    Column("body", sa.Text, nullable=False),
    Column("state", sa.String(16), nullable=False),
    Column("due_at", UtcDateTime),
    Column("tries", sa.Integer, nullable=False),
    Column("max_tries", sa.Integer, nullable=False),
    Column("log", sa.JSON, nullable=False),
    Column("trace", sa.JSON(none_as_null=True)),  # of its job
    Index(None, "due_at"),
)


# Periodic tasks and their progress: see jobs/store/periodic_tasks.py.
chores = Table(
    "chores",
    metadata,
    Column("name", sa.String(64), primary_key=True),
    Column("due_at", UtcDateTime, nullable=False),
    Column("place", sa.String(255)),
)


# Claims paused by operators: see jobs/queue/pauses.py.
pauses = Table(
    "pauses",
    metadata,
    Column("scope", sa.String(16), primary_key=True),
    Column("name", sa.String(255), primary_key=True),
    Column("paused_at", UtcDateTime, nullable=False),
    Column("note", sa.Text, nullable=False, server_default=""),
)


# Random id of this database: see jobs/db/identity.py.
identity = Table(
    "identity",
    metadata,
    Column("id", sa.String(32), primary_key=True),
    Column("storage_made_at", UtcDateTime),  # from then on no process makes it again
)


# Batches of jobs: see jobs/store/batches.py.
batches = Table(
    "batches",
    metadata,
    Column("id", sa.String(32), primary_key=True),
    Column("tenant", sa.String(63), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("size", sa.Integer, nullable=False),
    Column("idempotency_key", sa.String(255)),
    Column("digest", sa.String(64)),
    Index("ix_batches_tenant_idempotency_key", "tenant", "idempotency_key", unique=True),
)


# Rates of stages: see jobs/db/stage_rates.py.
stage_rates = Table(
    "stage_rates",
    metadata,
    Column("person", sa.String(64), primary_key=True),
    Column("machine", sa.String(128), primary_key=True),
    Column("name", sa.String(64), primary_key=True),
    Column("rate", sa.Double, nullable=False),
)


# Clips uploaded before a job uses them: see jobs/store/uploads.py.
uploads = Table(
    "uploads",
    metadata,
    Column("id", sa.String(32), primary_key=True),
    Column("tenant", sa.String(63), nullable=False),
    Column("bytes", sa.BigInteger, nullable=False),
    Column("key", sa.String(255), nullable=False),
    Column("session", sa.String(1024), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    Column("held_until", UtcDateTime, nullable=False),
    Column("container", sa.String(16)),
    Column("seconds", sa.Double),
    Column("sha256", sa.String(64)),
    Column("warnings", sa.JSON, nullable=False, server_default="[]"),
    Column("channels", sa.Integer),
    Column("filename", sa.String(255)),
)
