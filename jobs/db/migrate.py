"""Database migrations: apply pending ones, or check that none is pending."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from jobs.db.engine import connect, reading, writing

MIGRATIONS = Path(__file__).with_name("migrations")


UPGRADE_LOCK = 0x76697361  # key of PostgreSQL's advisory lock: "visa" in ASCII


def upgrade(url: str) -> None:
    """Migrate the database at `url` to the newest schema; concurrent calls are safe."""
    from alembic import command  # takes 0.2 s to import and is needed at start only

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
    """The schema of the database does not match this program."""


@dataclass(frozen=True)
class SchemaState:
    """Migrations of a database."""

    current: str | None  # None: the database is empty
    pending: tuple[str, ...]  # "0003  Idempotency keys ...", in order
    newer: bool  # the current migration is unknown to this program


def schema_state(url: str) -> SchemaState:
    """Return the migrations of the database at `url`."""
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
    """Reject a newer database.

    Raises: SchemaError: when a newer program has migrated the database.
    """
    if state.newer:
        raise SchemaError(
            f"the database is at migration {state.current}, which is unknown to this version of "
            "visavis; install the newer version that migrated it, or restore an older backup"
        )


def prepare(url: str, *, migrate: bool) -> None:
    """Prepare the database at the start of a process: migrate it, or check that it is current.

    Raises: SchemaError: when migrations are pending and `migrate` is false, or it is newer.
    """
    state = schema_state(url)
    refuse_newer(state)
    if state.pending and not migrate:
        first = state.pending[0].split()[0]
        count = "1 migration" if len(state.pending) == 1 else f"{len(state.pending)} migrations"
        raise SchemaError(
            f"the database lacks {count}, starting with {first}, and VISAVIS_MIGRATE is false; run "
            "`visavis-server migrate`"
        )
    if state.pending:
        upgrade(url)


def _alembic_config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
