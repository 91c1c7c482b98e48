"""`visavis-server detect`: what a file says of its origin."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.console import FAILED, MISUSED, fail, make_console, needing, read_settings
from contracts.outputs import SIDECAR_SUFFIX
from contracts.provenance import ManifestState
from jobs.sandbox.manifests import detect, facts_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from contracts.provenance import Report
    from jobs.settings import Settings
    from jobs.store.jobs import JobStore

    T = TypeVar("T")

PROVEN_WRONG = (ManifestState.INVALID, ManifestState.REMOVED)


def run_detect(file: Path, manifest: Path | None, *, as_json: bool) -> None:
    """Print the findings; exit status 1 for a manifest that is invalid or was removed.

    manifest: default the file of the same name with `.c2pa`, where there is one.
    """
    with needing("worker"):
        import c2pa  # noqa: F401 - the child process needs it
    beside = manifest or file.with_name(file.name + SIDECAR_SUFFIX)
    for path in (file, beside if manifest else file):
        if not path.is_file():
            fail(f"no file at {path}; check the path", MISUSED)
    settings = read_settings()
    known = _of_database(settings, lambda jobs: jobs.watermarks())
    facts = facts_of(settings) | {"watermark_ids": known or []}
    report = detect(file, sidecar=beside if beside.is_file() else None, facts=facts)
    job = _job_of(report, settings)
    console = make_console()
    if as_json:
        text = json.dumps(report.to_json() | {"job": job}, indent=2, ensure_ascii=False)
        console.print(text, soft_wrap=True)
    else:
        for line in _lines(report, job):
            console.print(line, soft_wrap=True)
    if report.manifest.state in PROVEN_WRONG:
        raise typer.Exit(FAILED)


def _lines(report: Report, job: str | None) -> list[str]:
    found, claims = report.manifest, report.manifest.claims
    lines = [f"manifest   {found.state}" + "".join(f"; {each}" for each in found.reasons)]
    if found.signer:
        trust = "trusted" if found.trusted else "not trusted"
        when = f", {found.signed_at}" if found.signed_at else ""
        lines.append(f"signed by  {found.signer} ({trust}{when})")
    if claims:
        one = {**(claims.get("person") or {}), "consent": claims.get("consent")}
        lines.append(f"made by    {claims.get('software', 'unknown')}")
        for person in claims.get("people") or [one]:
            consent = (person.get("consent") or {}).get("kind", "not stated")
            lines.append(f"person     {person.get('name', 'unknown')}; consent: {consent}")
    if (mark := report.watermark) is not None:
        where = f" in {' and '.join(mark.where)}" if mark.where else ""
        text = f"found{where}, certainty {mark.certainty:.6f}" if mark.found else "not found"
        lines.append(f"watermark  {text}" + (f", id {mark.id}" if mark.id else ""))
    return [*lines, f"job        {job}"] if job else lines


def _job_of(report: Report, settings: Settings) -> str | None:
    """Return the job that manifest or watermark name, if the database of the settings has it."""
    job = report.job or report.manifest.claims.get("job")
    mark = report.watermark.id if report.watermark is not None else None
    if job is not None:
        return _of_database(settings, lambda jobs: jobs.get(str(job)).id)
    return None if mark is None else _of_database(settings, lambda jobs: jobs.with_watermark(mark))


def _of_database(settings: Settings, read: Callable[[JobStore], T]) -> T | None:
    """Return what is read; None without a database, and for a missing job."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from jobs.database import open_database
    from jobs.store.job_rows import JobMissing

    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return None
    try:
        with closing(open_database(settings)) as database:
            return read(database.jobs)
    except (JobMissing, SQLAlchemyError):
        return None
