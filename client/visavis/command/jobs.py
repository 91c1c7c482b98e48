"""`visavis jobs`, `wait`, `cancel` and `retry`."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.table import Table

from visavis.command.bars import Bar, duration
from visavis.command.console import CommandError, ExitStatus, command_error, interrupted
from visavis.command.files import Target
from visavis.command.send import finish, wait_for
from visavis.models import FINAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from visavis import Job
    from visavis.command.session import Session

STATES = ("queued", "running", *sorted(FINAL))


def run_jobs(
    session: Session, ids: Sequence[str], state: str | None, person: str | None, limit: int
) -> int:
    """Print jobs: those of some ids, else the newest ones."""
    only: dict[str, Any] = {}
    if state is not None:
        only["state"] = [word.strip() for word in state.split(",")]
        for word in only["state"]:
            if word not in STATES:
                raise CommandError(f"--state: unknown state {word!r}; use {', '.join(STATES)}")
    if person is not None:
        only["person"] = person
    with session.client() as client:
        if ids:
            return _each(session, ids, client.jobs.get)
        jobs = islice(client.jobs.list(**only), limit)
        if session.output.as_json:
            for job in jobs:
                session.output.result(job.raw, "")
        else:
            session.output.stdout.print(_table(jobs))
    return ExitStatus.DONE


def run_wait(
    session: Session,
    ids: Sequence[str],
    out: Path | None,
    *,
    timeout: float | None,
    overwrite: bool,
) -> int:
    """Wait for jobs in their order, print each, and return the worst exit status."""
    with session.client() as client:

        def ended(job_id: str) -> int:
            job = client.jobs.get(job_id)
            try:
                with Bar(session.output) as bar:
                    succeeded = wait_for(job, bar, session.output, timeout)
            except KeyboardInterrupt:
                raise interrupted(f"stopped; job {job.id} runs on", job.id) from None
            target = None if out is None else Target(out, folder=True, stem=job.id)
            return finish(session.output, job, target if succeeded else None, overwrite=overwrite)

        return _worst(session, ids, ended)


def run_cancel(session: Session, ids: Sequence[str]) -> int:
    """Cancel jobs."""
    with session.client() as client:
        return _each(session, ids, client.jobs.cancel)


def run_retry(session: Session, ids: Sequence[str]) -> int:
    """Queue jobs again."""
    with session.client() as client:
        return _each(session, ids, client.jobs.retry)


def _each(session: Session, ids: Sequence[str], call: Callable[[str], Job]) -> int:
    """Call a function with each id, print the jobs, and return the worst exit status."""

    def printed(job_id: str) -> int:
        job = call(job_id)
        session.output.result(job.raw, f"{job.id}  {_described(job)}")
        return ExitStatus.DONE

    return _worst(session, ids, printed)


def _worst(session: Session, ids: Sequence[str], run: Callable[[str], int]) -> int:
    """Run a function for each id, also after an error of an earlier one."""
    worst = int(ExitStatus.DONE)
    for job_id in ids:
        try:
            status = run(job_id)
        except Exception as error:
            expected = command_error(error)
            stops = expected is None or expected.status is ExitStatus.INTERRUPTED
            if expected is None or stops or len(ids) == 1:
                raise
            session.output.error(expected)
            status = expected.status
        worst = max(worst, status)
    return worst


def _table(jobs: Iterable[Job]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("job", "state", "person", "takes", "clip", "age"):
        table.add_column(name, overflow="fold", no_wrap=name == "job")
    now = datetime.now(timezone.utc)
    for job in jobs:
        table.add_row(
            job.id,
            _described(job),
            str(job.request.get("person", "")),
            str(job.request.get("takes", "")),
            f"{job.clip_seconds:.1f} s",
            duration((now - job.created_at).total_seconds()),
        )
    return table


def _described(job: Job) -> str:
    """Return the state of a job in a few words."""
    if job.state == "running":
        return f"{job.stage} {100 * job.progress:.0f} %"
    if job.state == "queued" and job.position:
        return f"queued, place {job.position}"
    return f"{job.state}: {job.error.code}" if job.error else job.state
