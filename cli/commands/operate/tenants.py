"""`visavis-server tenants`: quotas and usage of tenants."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.operate.migrate import prepare_database
from cli.console import MISUSED, CommandGroup, fail, make_console, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.store.quotas import Tenant, TenantStore

app = typer.Typer(cls=CommandGroup, help="Tenants: quotas and usage.", no_args_is_help=True)

LIMIT = "0: no limit. Default: unchanged."


@app.command("set")
def set_quota(
    name: Annotated[str, typer.Argument(help="Name of the tenant, as in its keys.")],
    jobs_in_flight: Annotated[
        int | None, typer.Option(min=0, help=f"Jobs queued or running. {LIMIT}")
    ] = None,
    seconds_a_day: Annotated[
        float | None, typer.Option(min=0, help=f"Seconds of audio accepted per day (UTC). {LIMIT}")
    ] = None,
    stored_bytes: Annotated[
        int | None, typer.Option(min=0, help=f"Bytes of stored clips and outputs. {LIMIT}")
    ] = None,
    *,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="First reset all its quotas to the defaults.")
    ] = False,
) -> None:
    """Set quotas of a tenant, in place of the VISAVIS_QUOTA_... settings."""
    from jobs.store.api_keys import TENANT

    if not TENANT.fullmatch(name):
        fail(f"tenant: invalid name {name!r}; use up to 63 characters of a-z, 0-9 and -", MISUSED)
    quotas = {
        "jobs_in_flight": jobs_in_flight,
        "seconds_a_day": seconds_a_day,
        "stored_bytes": stored_bytes,
    }
    own = {key: value for key, value in quotas.items() if defaults or value is not None}
    with _tenants() as tenants:
        tenants.set_own(name, own)


@app.command("list")
def list_tenants(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List usage and quotas of every tenant with jobs or with quotas set."""
    with _tenants() as tenants:
        listed = tenants.all(datetime.now(UTC).date())
    if as_json:
        typer.echo(json.dumps([_row(tenant) for tenant in listed], indent=2))
        return
    from rich.table import Table

    table = Table("tenant", "jobs in flight", "seconds today", "stored bytes", box=None)
    for tenant in listed:
        usage, quota = tenant.usage, tenant.quota
        table.add_row(
            tenant.name,
            _usage(usage.jobs_in_flight, quota.jobs_in_flight),
            _usage(usage.seconds_today, quota.seconds_a_day),
            _usage(usage.stored_bytes, quota.stored_bytes),
        )
    make_console().print(table)


@contextmanager
def _tenants() -> Iterator[TenantStore]:
    from jobs.db.engine import connect
    from jobs.store.quotas import TenantStore, default_quota

    settings = read_settings()
    prepare_database(settings)
    engine = connect(settings.database_url)
    try:
        yield TenantStore(engine, default_quota(settings))
    finally:
        engine.dispose()


def _row(tenant: Tenant) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "name": tenant.name,
        "quota": asdict(tenant.quota),
        "own": sorted(tenant.own),
        "usage": asdict(tenant.usage),
    }


def _usage(used: float, limit: float) -> str:
    return f"{used:,.10g} of {limit:,.10g}" if limit else f"{used:,.10g}"
