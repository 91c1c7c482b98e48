"""`visavis-server tenants`: what each may use, and what it uses."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.migrate import prepare_database
from cli.console import MISUSED, fail, make_console, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.store.quotas import Tenant, TenantStore

app = typer.Typer(help="Tenants: their quotas, and what they use.", no_args_is_help=True)

Limit = "0: no limit. Default: as it is."


@app.command("set")
def set_quota(
    name: Annotated[str, typer.Argument(help="The tenant, as its keys name it.")],
    jobs_in_flight: Annotated[
        int | None, typer.Option(min=0, help=f"Jobs queued or running. {Limit}")
    ] = None,
    seconds_a_day: Annotated[
        float | None, typer.Option(min=0, help=f"Sound accepted a day (UTC). {Limit}")
    ] = None,
    stored_bytes: Annotated[
        int | None, typer.Option(min=0, help=f"Clips and outputs kept. {Limit}")
    ] = None,
    *,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="First forget all that was set for it.")
    ] = False,
) -> None:
    """What this tenant may use, in place of the VISAVIS_QUOTA_... settings."""
    from jobs.store.api_keys import TENANT

    if not TENANT.fullmatch(name):
        fail(f"tenant {name!r} is no name; write up to 63 of a-z, 0-9 and -", MISUSED)
    given = {
        "jobs_in_flight": jobs_in_flight,
        "seconds_a_day": seconds_a_day,
        "stored_bytes": stored_bytes,
    }
    own = given if defaults else {key: value for key, value in given.items() if value is not None}
    with _tenants() as tenants:
        tenants.set_own(name, own)


@app.command("list")
def list_tenants(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for programs.")] = False,
) -> None:
    """Every tenant that has sent a job or has a quota of its own: what it has of what it may."""
    with _tenants() as tenants:
        found = tenants.all(datetime.now(UTC).date())
    if as_json:
        typer.echo(json.dumps([_row(tenant) for tenant in found], indent=2))
        return
    from rich.table import Table

    table = Table("tenant", "jobs in flight", "seconds today", "stored bytes", box=None)
    for each in found:
        usage, quota = each.usage, each.quota
        table.add_row(
            each.name,
            _of(usage.jobs_in_flight, quota.jobs_in_flight),
            _of(usage.seconds_today, quota.seconds_a_day),
            _of(usage.stored_bytes, quota.stored_bytes),
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


def _of(used: float, limit: float) -> str:
    return f"{used:,.10g} of {limit:,.10g}" if limit else f"{used:,.10g}"
