"""`visavis-server keys`: create, list, rotate and revoke API keys."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.operate.migrate import prepare_database
from cli.console import MISUSED, CommandGroup, fail, make_console, read_settings
from cli.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.settings import Settings
    from jobs.store.api_keys import ApiKey, ApiKeyStore, NewKey, Scope

COLUMNS = ("id", "tenant", "name", "scopes", "created", "expires", "last used", "state")

app = typer.Typer(
    cls=CommandGroup, help="API keys: create, list, rotate, revoke.", no_args_is_help=True
)


@app.command()
def create(
    tenant: Annotated[str, typer.Option(help="Tenant of the key: a-z, 0-9 and -.")],
    name: Annotated[str, typer.Option(help="Purpose of the key, as free text.")],
    scope: Annotated[
        str, typer.Option(help="read, write, admin, or several, as in read,write.")
    ] = "read,write",
    expires: Annotated[str, typer.Option(help="Lifetime: 90d, 24h, 30m or never.")] = "never",
    *,
    if_none: Annotated[
        bool, typer.Option("--if-none", help="Create nothing if there is a valid key.")
    ] = False,
) -> None:
    """Create a key. Its secret is printed once and not stored."""
    scopes = _scopes(scope)
    lifetime = None if expires == "never" else parse_duration("--expires", expires)
    with open_api_keys(read_settings()) as keys:
        if if_none and keys.any():
            make_console(stderr=True).print("there is a valid key, so none was created")
            return
        try:
            key = keys.create(tenant, name, scopes, lifetime=lifetime)
        except ValueError as error:
            fail(str(error), MISUSED)
    _print_key(key)


@app.command("list")
def list_keys(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List all keys, revoked ones included, newest first, without secrets."""
    with open_api_keys(read_settings()) as keys:
        listed = keys.all()
    now = datetime.now(UTC)
    if as_json:
        typer.echo(json.dumps([_row(key, now) for key in listed], indent=2))
        return
    from rich.table import Table

    table = Table(*COLUMNS, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for key in listed:
        times = [_minute(time) for time in (key.created_at, key.expires_at, key.last_used_at)]
        scopes = ",".join(sorted(key.scopes))
        table.add_row(key.id, key.tenant, key.name, scopes, *times, _state(key, now))
    make_console().print(table)


@app.command()
def rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, from `list`.")],
    grace: Annotated[str, typer.Option(help="Time until the old key expires: 24h, 0m.")] = "24h",
) -> None:
    """Replace a key by a new one with the same tenant, name, scopes and lifetime."""
    from jobs.store.api_keys import KeyUnknown

    with open_api_keys(read_settings()) as keys:
        try:
            key = keys.rotate(key_id, grace=parse_duration("--grace", grace))
        except KeyUnknown as error:
            fail(str(error), MISUSED)
    _print_key(key)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, from `list`.")],
) -> None:
    """Revoke a key at once and permanently."""
    from jobs.store.api_keys import KeyUnknown

    with open_api_keys(read_settings()) as keys:
        try:
            keys.revoke(key_id)
        except KeyUnknown as error:
            fail(str(error), MISUSED)


@contextmanager
def open_api_keys(settings: Settings) -> Iterator[ApiKeyStore]:
    """Migrate the database in the settings and yield its API keys."""
    from jobs.db.engine import connect
    from jobs.store.api_keys import ApiKeyStore

    prepare_database(settings)
    engine = connect(settings.database_url)
    try:
        yield ApiKeyStore(engine)
    finally:
        engine.dispose()


def _print_key(new: NewKey) -> None:
    """Print only the token on stdout, so that scripts can read it."""
    key = new.key
    expiry = "without expiry" if key.expires_at is None else f"until {_minute(key.expires_at)} UTC"
    scopes = " and ".join(sorted(key.scopes))
    make_console(stderr=True).print(
        f"key {key.id} of tenant {key.tenant}, scopes {scopes}, valid {expiry}; "
        "it is printed only once:",
        soft_wrap=True,
    )
    typer.echo(new.token)


def _row(key: ApiKey, now: datetime) -> dict[str, object]:
    dates = ("created_at", "expires_at", "revoked_at", "last_used_at")
    times = {date: getattr(key, date) for date in dates}
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "state": _state(key, now),
        **{date: time and time.isoformat() for date, time in times.items()},
    }


def _state(key: ApiKey, now: datetime) -> str:
    return "revoked" if key.revoked_at else "in use" if key.active(now) else "expired"


def _minute(time: datetime | None) -> str:
    return "never" if time is None else f"{time:%Y-%m-%d %H:%M}"


def _scopes(text: str) -> frozenset[Scope]:
    from jobs.store.api_keys import Scope

    try:
        return frozenset(Scope(name.strip()) for name in text.split(","))
    except ValueError:
        fail(f"--scope: invalid scope {text!r}; use {', '.join(Scope)}", MISUSED)
