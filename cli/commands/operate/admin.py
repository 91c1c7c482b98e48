"""`visavis-server admin`: jobs of all tenants, requeueing, pauses and draining."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.operate.migrate import prepare_database
from cli.console import (
    FAILED,
    INTERRUPTED,
    MISUSED,
    CommandGroup,
    fail,
    make_console,
    read_settings,
    warn,
)
from cli.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta

    from jobs.database import Database
    from jobs.model import Job, State
    from jobs.queue.pauses import Pause, PauseTarget
    from jobs.settings import Settings
    from jobs.store.pagination import JobFilter

PAGE = 200  # jobs of one query
POLL_SECONDS = 1.0

app = typer.Typer(
    cls=CommandGroup, help="Jobs of all tenants; pauses and draining.", no_args_is_help=True
)

JobIds = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of jobs.")]
TenantName = Annotated[str | None, typer.Option("--tenant", help="Only of this tenant.")]
PersonName = Annotated[str | None, typer.Option("--person", help="Only of this person.")]
WorkerName = Annotated[
    str | None, typer.Option("--worker", help="Only this worker, or the workers of this host.")
]
ErrorCode = Annotated[str | None, typer.Option("--error-code", help="Only with this error.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("jobs")
def list_jobs(
    state: Annotated[
        str | None, typer.Option(help="Only in these states, as in queued,running.")
    ] = None,
    tenant: TenantName = None,
    person: PersonName = None,
    error_code: ErrorCode = None,
    newer_than: Annotated[
        str | None, typer.Option(help="Only accepted in the last 24h, 30m or 7d.")
    ] = None,
    older_than: Annotated[str | None, typer.Option(help="Only accepted longer ago: 1h.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of jobs to print.")] = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """List jobs of all tenants, newest first."""
    from cli.commands.operate.job_report import job_row, job_table
    from jobs.store.pagination import JobFilter

    states = _states(state)
    with _open_database(read_settings()) as database:
        now = database.attempts.present()
        job_filter = JobFilter(
            states=states,
            person=person,
            tenant=tenant,
            error_code=error_code,
            created_after=_before(now, "--newer-than", newer_than),
            created_before=_before(now, "--older-than", older_than),
        )
        found = list(_pages(database, job_filter, limit + 1))
    if as_json:
        typer.echo(json.dumps([job_row(job) for job in found[:limit]], indent=2))
    elif found:
        make_console().print(job_table(found[:limit], now))
    else:
        make_console(stderr=True).print("no job matches")
    if len(found) > limit:
        make_console(stderr=True).print(
            f"{limit} shown; there are more: use --limit or another filter", soft_wrap=True
        )


@app.command("job")
def show_job(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the job.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one job: request, attempts, error, events, webhooks and stored objects."""
    from cli.commands.operate.job_report import full_report, report_lines, stored_objects
    from jobs.storage.factory import open_storage
    from jobs.store.job_rows import JobMissing

    settings = read_settings()
    with _open_database(settings) as database:
        try:
            job = database.jobs.get(job_id)
        except JobMissing as error:
            fail(f"{error}; `visavis-server admin jobs` lists jobs", MISUSED)
        deliveries = database.outbox.of_job(job_id)
        position = database.jobs.position(job_id)
        now = database.attempts.present()
    with closing(open_storage(settings)) as storage:
        objects = stored_objects(storage, job_id)
    if as_json:
        typer.echo(json.dumps(full_report(job, deliveries, objects, position), indent=2))
        return
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for label, text in report_lines(job, deliveries, objects, position, now):
        table.add_row(label, text)
    make_console().print(table)


@app.command()
def requeue(
    ids: JobIds = None,
    error_code: ErrorCode = None,
    since: Annotated[str | None, typer.Option(help="Only failed in the last 24h, 30m.")] = None,
    tenant: TenantName = None,
    person: PersonName = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every failed job.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be requeued.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Queue failed jobs again, by id or by filter, with the attempts of a new job.

    By id also canceled ones. Finished motion and takes are kept.
    """
    from jobs.model import State
    from jobs.store.pagination import JobFilter

    filtered = any(value is not None for value in (error_code, since, tenant, person))
    _check_selection(bool(ids), filtered, every)
    with _open_database(read_settings()) as database:
        if ids:
            chosen = [_job(database, job_id) for job_id in ids]
        else:
            job_filter = JobFilter(
                states=(State.FAILED,),
                error_code=error_code,
                finished_after=_before(database.attempts.present(), "--since", since),
                tenant=tenant,
                person=person,
            )
            chosen = list(_pages(database, job_filter, None))
        skipped = {job.id: reason for job in chosen if (reason := _refusal(job))}
        ready = [job for job in chosen if job.id not in skipped]
        if not dry_run:
            skipped |= _retry(database, ready)
    requeued = [job for job in ready if job.id not in skipped]
    _print_requeued(requeued, skipped, dry_run=dry_run, as_json=as_json)


@app.command()
def pause(
    tenant: TenantName = None,
    person: PersonName = None,
    worker: WorkerName = None,
    note: Annotated[str, typer.Option(help="Reason, for other operators.")] = "",
    *,
    resume: Annotated[bool, typer.Option("--resume", help="End the pause.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Only list pauses.")] = False,
    as_json: AsJson = False,
) -> None:
    """Pause claims: of all jobs, or of one tenant, person or worker. Running jobs go on.

    A pause is stored in the database and holds until `--resume` with the same option.
    """
    target = _target(tenant, person, worker)
    with _open_database(read_settings()) as database:
        if resume:
            _resume(database, target)
        elif not show:
            _pause(database, target, note)
        pauses = database.pauses.all()
    if as_json:
        typer.echo(json.dumps([_pause_row(each) for each in pauses], indent=2))
    elif show or (resume and pauses):
        for each in pauses:
            make_console().print(_pause_line(each), soft_wrap=True)
    if show and not pauses and not as_json:
        make_console().print("nothing is paused")


@app.command()
def drain(
    worker: WorkerName = None,
    tenant: TenantName = None,
    person: PersonName = None,
    timeout: Annotated[
        str | None, typer.Option(help="Give up after 15m or 2h. Default: wait without limit.")
    ] = None,
    note: Annotated[str, typer.Option(help="Reason, for other operators.")] = "",
    *,
    until_empty: Annotated[
        bool,
        typer.Option(
            "--until-empty", help="Pause nothing; wait until no job is queued or running."
        ),
    ] = False,
) -> None:
    """Pause claims, and wait until no job runs: of all workers, or of one.

    Afterwards workers can be stopped without any loss. They stay paused until `pause --resume`.
    """
    target = _target(tenant, person, worker)
    if until_empty and worker:
        fail("--until-empty: a worker has no queue; use it without --worker", MISUSED)
    limit = None if timeout is None else parse_duration("--timeout", timeout)
    with _open_database(read_settings()) as database:
        if not until_empty:
            _pause(database, target, note)
        try:
            _wait_until_idle(database, target, limit, until_empty=until_empty)
        except KeyboardInterrupt:
            fail(f"stopped waiting; {_still_paused(target, until_empty=until_empty)}", INTERRUPTED)


def _wait_until_idle(
    database: Database, target: PauseTarget, limit: timedelta | None, *, until_empty: bool
) -> None:
    from jobs.model import State

    states = (State.QUEUED, State.RUNNING) if until_empty else (State.RUNNING,)
    ends = None if limit is None else time.monotonic() + limit.total_seconds()
    before: int | None = None
    while (left := database.pauses.unfinished(target, *states)) > 0:
        if left != before:
            make_console(stderr=True).print(f"waiting for {_jobs(left)}", soft_wrap=True)
            before = left
        if ends is not None and time.monotonic() >= ends:
            fail(
                f"{_jobs(left)}{_of(target)} not finished in time; "
                f"{_still_paused(target, until_empty=until_empty)}"
            )
        time.sleep(POLL_SECONDS)
    what = "queued or running" if until_empty else "running"
    rest = "" if until_empty else f"; {_still_paused(target, until_empty=False)}"
    make_console().print(f"drained: no job{_of(target)} is {what}{rest}", soft_wrap=True)


def _still_paused(target: PauseTarget, *, until_empty: bool) -> str:
    if until_empty:
        return "nothing was paused"
    return f"claims stay paused until `visavis-server admin pause{_option(target)} --resume`"


def _pause(database: Database, target: PauseTarget, note: str) -> None:
    from jobs.model import State

    if target.name and not database.pauses.known(target):
        warn(f"no job names the {target}; `visavis-server admin jobs` lists those of all jobs")
    new = database.pauses.pause(target, note)
    queued = database.pauses.unfinished(target, State.QUEUED)
    running = database.pauses.unfinished(target, State.RUNNING)
    make_console().print(
        f"{'paused' if new else 'already paused'}: claims of {target}; "
        f"queued: {queued}, running to their end: {running}",
        soft_wrap=True,
    )


def _resume(database: Database, target: PauseTarget) -> None:
    if not database.pauses.resume(target):
        fail(f"no pause of {target}; `visavis-server admin pause --list` shows pauses", MISUSED)
    make_console().print(f"resumed: claims of {target}", soft_wrap=True)


def _target(tenant: str | None, person: str | None, worker: str | None) -> PauseTarget:
    from jobs.queue.pauses import PauseScope, PauseTarget

    named = [
        PauseTarget(scope, name.strip())
        for scope, name in (
            (PauseScope.TENANT, tenant),
            (PauseScope.PERSON, person),
            (PauseScope.WORKER, worker),
        )
        if name is not None
    ]
    if len(named) > 1:
        fail("--tenant, --person and --worker exclude each other; use one of them", MISUSED)
    if named and not named[0].name:
        fail(f"--{named[0].scope}: empty name; leave the option out for all jobs", MISUSED)
    return named[0] if named else PauseTarget(PauseScope.ALL)


def _of(target: PauseTarget) -> str:
    return f" of {target}" if target.name else ""


def _option(target: PauseTarget) -> str:
    return f" --{target.scope} {target.name}" if target.name else ""


def _pause_row(pause: Pause) -> dict[str, Any]:
    return {
        "scope": pause.target.scope,
        "name": pause.target.name,
        "paused_at": pause.paused_at.isoformat(),
        "note": pause.note,
    }


def _pause_line(pause: Pause) -> str:
    note = f" ({pause.note})" if pause.note else ""
    return f"paused since {pause.paused_at:%Y-%m-%d %H:%M:%S} UTC: {pause.target}{note}"


def _check_selection(*ways: bool) -> None:
    """Exit unless jobs are selected in exactly one way."""
    if not any(ways):
        filters = "--error-code, --since, --tenant and --person"
        fail(f"no jobs selected; name ids, or use {filters}, or --all", MISUSED)
    if sum(ways) > 1:
        fail("ids, filters and --all exclude each other; use one of them", MISUSED)


def _retry(database: Database, jobs: Sequence[Job]) -> dict[str, str]:
    """Queue the jobs again and return the reasons of those that were not."""
    from jobs.store.quotas import QuotaExceeded

    skipped = {}
    for job in jobs:
        try:
            if not database.jobs.retry(job.id):
                skipped[job.id] = "its state has just changed"
        except QuotaExceeded:
            skipped[job.id] = f"tenant {job.tenant} has too many jobs in flight"
    return skipped


def _refusal(job: Job) -> str | None:
    from jobs.model import State

    if job.state not in (State.FAILED, State.CANCELED):
        return f"it is {job.state}"
    if job.input_expired_at is not None:
        return "its clip was removed by retention"
    return None


def _print_requeued(
    requeued: Sequence[Job], skipped: dict[str, str], *, dry_run: bool, as_json: bool
) -> None:
    ids = [job.id for job in requeued]
    if as_json:
        done = {"requeued": ids, "skipped": skipped, "dry_run": dry_run}
        typer.echo(json.dumps(done, indent=2))
    else:
        codes = Counter(job.error.code if job.error else str(job.state) for job in requeued)
        by_code = ", ".join(f"{code}: {number}" for code, number in codes.most_common())
        verb = "would be requeued" if dry_run else "requeued"
        suffix = f" ({by_code})" if codes else ""
        make_console().print(f"{verb}: {_jobs(len(requeued))}{suffix}", soft_wrap=True)
        for job_id, reason in skipped.items():
            make_console().print(f"skipped {job_id}: {reason}", soft_wrap=True)
    if skipped and not requeued:
        raise typer.Exit(FAILED)


def _job(database: Database, job_id: str) -> Job:
    from jobs.store.job_rows import JobMissing

    try:
        return database.jobs.get(job_id)
    except JobMissing as error:
        fail(f"{error}; nothing was requeued", MISUSED)


def _pages(database: Database, job_filter: JobFilter, limit: int | None) -> Iterator[Job]:
    """Yield up to `limit` matching jobs, or all."""
    left, cursor = limit, None
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        page = database.jobs.page(job_filter, limit=size, cursor=cursor)
        yield from page.jobs
        cursor = page.cursor
        if cursor is None:
            return
        left = None if left is None else left - len(page.jobs)


def _states(text: str | None) -> tuple[State, ...]:
    from jobs.model import State

    names = [] if text is None else [name.strip() for name in text.split(",")]
    try:
        return tuple(State(name) for name in names)
    except ValueError:
        fail(f"--state: invalid state {text!r}; use {', '.join(State)}", MISUSED)


def _before(now: datetime, option: str, text: str | None) -> datetime | None:
    return None if text is None else now - parse_duration(option, text)


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"


@contextmanager
def _open_database(settings: Settings) -> Iterator[Database]:
    from jobs.database import open_database

    prepare_database(settings)
    with closing(open_database(settings)) as database:
        yield database
