"""Database migrations: apply them, or check that none is pending."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from jobs.db.engine import connect, reading, writing

MIGRATIONS = Path(__file__).with_name("migrations")


UPGRADE_LOCK = 0x76697361  # a number for PostgreSQL's advisory lock: "visa"


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
