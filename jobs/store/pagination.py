"""Pages of jobs, newest first: filters and cursors."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from jobs.db.conditions import shows
from jobs.db.tables import jobs

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

    from jobs.model import Job, State

INVALID = "invalid cursor; use the cursor of an earlier page"
POSITION = re.compile(r"([0-9T:.+-]{20,40}) ([0-9a-f]{1,32})")


class CursorError(ValueError):
    """The cursor is invalid."""


@dataclass(frozen=True)
class JobFilter:
    """Conditions of a listing; all have to hold, and an empty one is ignored."""

    states: tuple[State, ...] = ()
    person: str | None = None
    batch: str | None = None
    tenant: str | None = None  # None: all tenants
    created_after: datetime | None = None  # inclusive
    created_before: datetime | None = None  # exclusive
    error_code: str | None = None
    finished_after: datetime | None = None  # inclusive


@dataclass(frozen=True)
class Page:
    """Jobs, and the cursor of the next page; None on the last page."""

    jobs: list[Job]
    cursor: str | None


def select_page(
    job_filter: JobFilter, *, limit: int, cursor: str | None
) -> Select[tuple[object, ...]]:
    """Select the rows of a page, newest first, and the first row of the next page.

    Raises: CursorError: when the cursor is invalid.
    """
    conditions = _conditions(job_filter)
    if cursor is not None:
        conditions.append(_after(cursor))
    newest = (jobs.c.created_at.desc(), jobs.c.id.desc())
    return sa.select(jobs).where(*conditions).order_by(*newest).limit(limit + 1)


def page_of(found: list[Job], *, limit: int) -> Page:
    """Build the page from the rows of `select_page`."""
    shown = found[:limit]
    return Page(shown, _cursor(shown[-1]) if len(found) > limit else None)


def _conditions(job_filter: JobFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if job_filter.states:
        conditions.append(jobs.c.state.in_(job_filter.states))
    if job_filter.batch is not None:
        conditions.append(jobs.c.batch_id == job_filter.batch)
    if job_filter.person is not None:
        conditions.append(shows(sa.literal(job_filter.person)))
    if job_filter.tenant is not None:
        conditions.append(jobs.c.tenant == job_filter.tenant)
    if job_filter.created_after is not None:
        conditions.append(jobs.c.created_at >= job_filter.created_after)
    if job_filter.created_before is not None:
        conditions.append(jobs.c.created_at < job_filter.created_before)
    if job_filter.error_code is not None:
        conditions.append(jobs.c.error_code == job_filter.error_code)
    if job_filter.finished_after is not None:
        conditions.append(jobs.c.finished_at >= job_filter.finished_after)
    return conditions


def _cursor(job: Job) -> str:
    position = f"{job.created_at.isoformat()} {job.id}"
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def _after(cursor: str) -> ColumnElement[bool]:
    """Condition: the job is older than the job of the cursor."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        position = POSITION.fullmatch(text)
        created_at = datetime.fromisoformat(position[1]) if position else None
    except (ValueError, binascii.Error) as error:
        raise CursorError(INVALID) from error
    if position is None or created_at is None or created_at.tzinfo is None:
        raise CursorError(INVALID)
    same_moment = sa.and_(jobs.c.created_at == created_at, jobs.c.id < position[2])
    return sa.or_(jobs.c.created_at < created_at, same_moment)
