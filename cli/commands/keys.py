"""`visavis-server keys`: make, list, rotate and revoke API keys."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.migrate import prepare_database
from cli.console import MISUSED, fail, make_console, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.settings import Settings
    from jobs.store.api_keys import ApiKey, ApiKeyStore, NewKey, Scope

DURATION = re.compile(r"([0-9]{1,6})([mhd])")
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
COLUMNS = ("id", "tenant", "name", "scopes", "created", "expires", "last used", "state")

app = typer.Typer(help="API keys: make, list, rotate, revoke.", no_args_is_help=True)


@app.command()
def create(
    tenant: Annotated[str, typer.Option(help="Whose key: a-z, 0-9 and -.")],
    name: Annotated[str, typer.Option(help="What it is for, in your words.")],
    scope: Annotated[
        str, typer.Option(help="read, write, admin, or several: read,write.")
    ] = "read,write",
    expires: Annotated[str, typer.Option(help="After 90d, 24h, 30m; or never.")] = "never",
) -> None:
    """Make a key. Its secret is shown once and kept nowhere."""
    scopes = _scopes(scope)
    lifetime = None if expires == "never" else _duration("--expires", expires)
    with keyring(read_settings()) as keys:
        try:
            made = keys.create(tenant, name, scopes, lifetime=lifetime)
        except ValueError as error:
            fail(str(error), MISUSED)
    _show(made)


@app.command("list")
def list_keys(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for programs.")] = False,
) -> None:
    """Every key there is or was, the newest first; no secret is among it."""
    with keyring(read_settings()) as keys:
        found = keys.all()
    now = datetime.now(UTC)
    if as_json:
        typer.echo(json.dumps([_row(key, now) for key in found], indent=2))
        return
    from rich.table import Table

    table = Table(*COLUMNS, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for key in found:
        moments = [_minute(each) for each in (key.created_at, key.expires_at, key.last_used_at)]
        scopes = ",".join(sorted(key.scopes))
        table.add_row(key.id, key.tenant, key.name, scopes, *moments, _state(key, now))
    make_console().print(table)


@app.command()
def rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    grace: Annotated[str, typer.Option(help="How long the old one still holds: 24h, 0m.")] = "24h",
) -> None:
    """A new key in place of an old one, with the same tenant, name, scopes and length of life."""
    from jobs.store.api_keys import KeyUnknown

    with keyring(read_settings()) as keys:
        try:
            made = keys.rotate(key_id, grace=_duration("--grace", grace))
        except KeyUnknown as error:
            fail(str(error))
    _show(made)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
) -> None:
    """End a key, at once and for good."""
    from jobs.store.api_keys import KeyUnknown

    with keyring(read_settings()) as keys:
        try:
            keys.revoke(key_id)
        except KeyUnknown as error:
            fail(str(error))


@contextmanager
def keyring(settings: Settings) -> Iterator[ApiKeyStore]:
    """The keys of the database that the settings name, which is brought up to date before."""
    from jobs.db.engine import connect
    from jobs.store.api_keys import ApiKeyStore

    prepare_database(settings)
    engine = connect(settings.database_url)
    try:
        yield ApiKeyStore(engine)
    finally:
        engine.dispose()


def _show(made: NewKey) -> None:
    """The token alone on stdout, so that a script can take it."""
    key = made.key
    until = "for ever" if key.expires_at is None else f"until {key.expires_at:%Y-%m-%d %H:%M} UTC"
    make_console(stderr=True).print(
        f"key {key.id} of {key.tenant}, may {' and '.join(sorted(key.scopes))}, holds {until}; "
        "it is shown this once:",
        soft_wrap=True,
    )
    typer.echo(made.token)


def _row(key: ApiKey, now: datetime) -> dict[str, object]:
    dates = ("created_at", "expires_at", "revoked_at", "last_used_at")
    moments = {date: getattr(key, date) for date in dates}
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "state": _state(key, now),
        **{date: moment and moment.isoformat() for date, moment in moments.items()},
    }


def _state(key: ApiKey, now: datetime) -> str:
    return "revoked" if key.revoked_at else "in use" if key.holds(now) else "expired"


def _minute(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _scopes(written: str) -> frozenset[Scope]:
    from jobs.store.api_keys import Scope

    try:
        return frozenset(Scope(word.strip()) for word in written.split(","))
    except ValueError:
        fail(f"--scope: {written!r} is none; there are {', '.join(Scope)}", MISUSED)


def _duration(option: str, written: str) -> timedelta:
    found = DURATION.fullmatch(written)
    if found is None:
        fail(f"{option}: {written!r} is no time; write 90d, 24h or 30m", MISUSED)
    return timedelta(**{UNITS[found[2]]: int(found[1])})
