"""The tables, how to connect to them, and how they are brought up to date."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Engine, Index, MetaData, Table, event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Dialect

MIGRATIONS = Path(__file__).with_name("migrations")
BUSY_MILLISECONDS = 10_000
UPGRADE_LOCK = 0x76697361  # a number for PostgreSQL's advisory lock: "visa"


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware datetimes in UTC on every database; SQLite keeps no zone, so it is put back here."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; use datetime.now(UTC)")
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
    Column("person", sa.String(64), nullable=False, server_default=""),  # of `request`, to look for
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
    Index(None, "state", "created_at", "id"),
    Index("ix_jobs_turn", "state", sa.desc("priority"), "created_at", "id"),
    Index("ix_jobs_share", "state", "tenant", sa.desc("priority"), "created_at", "id"),
    Index(None, "person", "created_at", "id"),
    Index(None, "created_at", "id"),
    Index(None, "finished_at"),
    Index(None, "tenant", "created_at", "id"),
    Index(None, "batch_id", "batch_place"),
)

# The job that a request with an Idempotency-Key has made: see jobs/once.py.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", sa.String(63), primary_key=True, server_default="local"),
    Column("key", sa.String(255), primary_key=True),
    Column("digest", sa.String(64), nullable=False),
    Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("look_at", UtcDateTime, nullable=False, index=True),
)

# Who may call: see jobs/keys.py.
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

# What a tenant may use, where it is not what the settings say, and what it has: jobs/tenants.py.
tenants = Table(
    "tenants",
    metadata,
    Column("name", sa.String(63), primary_key=True),
    Column("jobs_in_flight", sa.Integer),
    Column("seconds_a_day", sa.Double),
    Column("stored_bytes", sa.BigInteger),
    Column("day", sa.Date),
    Column("seconds_of_day", sa.Double, nullable=False, server_default="0"),
)

# Jobs that were deleted and whose objects have to be removed once more: see jobs/removals.py.
removals = Table(
    "removals",
    metadata,
    Column("job_id", sa.String(32), primary_key=True),
    Column("deleted_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("rounds_left", sa.Integer, nullable=False),
    Index(None, "due_at"),
)

# What has to be told to callback URLs, and what became of it: see jobs/deliveries.py.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", sa.String(32), primary_key=True),
    Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("tenant", sa.String(63), nullable=False),
    Column("type", sa.String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("url", sa.String(2048), nullable=False),
    Column("host", sa.String(255), nullable=False),  # of the URL: those that stall wait together
    Column("body", sa.Text, nullable=False),
    Column("state", sa.String(16), nullable=False),
    Column("due_at", UtcDateTime),
    Column("tries", sa.Integer, nullable=False),
    Column("max_tries", sa.Integer, nullable=False),
    Column("log", sa.JSON, nullable=False),
    Index(None, "due_at"),
)


# What one process does at a time, and how far it is: see jobs/chores.py.
chores = Table(
    "chores",
    metadata,
    Column("name", sa.String(64), primary_key=True),
    Column("due_at", UtcDateTime, nullable=False),
    Column("place", sa.String(255)),
)

# A word that this database and no other has: see jobs/chores.py.
identity = Table("identity", metadata, Column("id", sa.String(32), primary_key=True))

# Jobs that were sent together: see jobs/batches.py.
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

# Clips that callers have sent, or are sending, before a job asks for them: see jobs/uploads.py.
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
)


def connect(url: str) -> Engine:
    """An engine for `url`; SQLite in WAL mode, so that readers never wait for a writer.

    Its errors do not show what was written: that is the callers'.
    """
    engine = sa.create_engine(_with_driver(url), pool_pre_ping=True, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        _make_folder(engine)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: takes no lock on SQLite."""
    with engine.connect().execution_options(visavis_reads=True) as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes, committed at the end: on SQLite the only one of its time."""
    with engine.begin() as connection:
        yield connection


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest schema; many processes may do so at once."""
    from alembic import command  # takes 0.2 s to import, and only starting processes need it

    engine = connect(url)
    try:
        with writing(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(UPGRADE_LOCK)))
            config = _alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


class SchemaError(RuntimeError):
    """The database's schema is not the one that this program works with: a sentence."""


@dataclass(frozen=True)
class SchemaState:
    """Which migrations a database has."""

    current: str | None  # None: it is empty
    pending: tuple[str, ...]  # "0003 Idempotency keys ...", in the order of their application
    newer: bool  # it has one that this program does not know


def schema_state(url: str) -> SchemaState:
    """How the database at `url` stands; changes nothing."""
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    engine = connect(url)
    try:
        with reading(engine) as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    pending: list[str] = []
    for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions():
        if script.revision == current:
            return SchemaState(current, tuple(reversed(pending)), newer=False)
        pending.append(f"{script.revision}  {(script.doc or '').splitlines()[0]}")
    return SchemaState(current, tuple(reversed(pending)), newer=current is not None)


def refuse_newer(state: SchemaState) -> None:
    """Raises SchemaError for a database that a newer program has brought up to date."""
    if state.newer:
        raise SchemaError(
            f"the database is at migration {state.current}, which this version of visavis does not "
            "know: a newer one was at work; install that one, or restore a backup from before it"
        )


def prepare(url: str, *, migrate: bool) -> None:
    """What a process does at its start: bring the database up to date, or insist that it is.

    SchemaError where it is not, or where it is newer than this program.
    """
    state = schema_state(url)
    refuse_newer(state)
    if state.pending and not migrate:
        first = state.pending[0].split()[0]
        count = "1 migration" if len(state.pending) == 1 else f"{len(state.pending)} migrations"
        raise SchemaError(
            f"the database lacks {count}, from {first} on, and VISAVIS_MIGRATE is false; run "
            "`visavis-server migrate`"
        )
    if state.pending:
        upgrade(url)


def _alembic_config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _with_driver(url: str) -> sa.URL:
    """Plain `postgresql://` means psycopg 3, the driver that is installed with `[postgres]`."""
    parsed = sa.make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def _make_folder(engine: Engine) -> None:
    if engine.url.database and engine.url.database != ":memory:":
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin_sqlite does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = FULL")  # an accepted job survives a power cut
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get("visavis_reads", False)
    # IMMEDIATE: two writers wait for each other here, instead of failing at their first write.
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
