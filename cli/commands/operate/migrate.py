"""`visavis-server migrate`: apply or list pending migrations of the database."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import typer
from sqlalchemy.exc import OperationalError

from cli.console import FAILED, MISUSED, fail, make_console, read_settings
from jobs.db.migrate import SchemaError, prepare, refuse_newer, schema_state, upgrade

if TYPE_CHECKING:
    from jobs.settings import Settings

logger = logging.getLogger(__name__)


def run_migrate(*, check: bool) -> None:
    """Apply pending migrations. check: only list them, with exit status 1 if there are any."""
    url = read_settings().database_url
    console = make_console()
    try:
        state = schema_state(url)
        refuse_newer(state)
        if not check:
            upgrade(url)
        for migration in state.pending:
            console.print(f"{'pending' if check else 'applied'}  {migration}", soft_wrap=True)
    except SchemaError as error:
        fail(str(error), MISUSED)
    except OperationalError as error:
        fail(f"the database does not respond: {error.orig}")
    if not state.pending:
        console.print(f"up to date at {state.current}")
    elif check:
        raise typer.Exit(FAILED)


def prepare_database(settings: Settings) -> None:
    """Migrate or check the database; an outage is only logged, because later calls wait for it."""
    try:
        prepare(settings.database_url, migrate=settings.migrate)
    except SchemaError as error:
        fail(str(error), MISUSED)
    except OperationalError as error:
        logger.warning("database away: its schema is not checked", extra={"reason": str(error)})
