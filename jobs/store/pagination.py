"""Jobs in pages, newest first: which of them are wanted, and where the next page begins."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from jobs.db.tables import jobs

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

    from jobs.model import Job, State

PLACE = re.compile(r"([0-9T:.+-]{20,40}) ([0-9a-f]{1,32})")


class CursorError(ValueError):
    """What was given as a cursor is none of ours."""


@dataclass(frozen=True)
class JobFilter:
    """Which jobs: every condition has to hold, and an empty one holds for all."""

    states: tuple[State, ...] = ()
    person: str | None = None
    batch: str | None = None
    tenant: str | None = None  # whose; None: everybody's
    created_after: datetime | None = None  # this moment belongs to it
    created_before: datetime | None = None  # this one does not


@dataclass(frozen=True)
class Page:
    """Some jobs, and the cursor of those after them; None after the last."""

    jobs: list[Job]
    cursor: str | None


def select_page(wanted: JobFilter, *, limit: int, cursor: str | None) -> Select[tuple[object, ...]]:
    """The rows of a page, newest first, and one more where there is one."""
    conditions = _conditions(wanted)
    if cursor is not None:
        conditions.append(_after(cursor))
    newest = (jobs.c.created_at.desc(), jobs.c.id.desc())
    return sa.select(jobs).where(*conditions).order_by(*newest).limit(limit + 1)


def page_of(found: list[Job], *, limit: int) -> Page:
    """The page that `select_page` has found."""
    shown = found[:limit]
    return Page(shown, _cursor(shown[-1]) if len(found) > limit else None)


def _conditions(wanted: JobFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.states:
        conditions.append(jobs.c.state.in_(wanted.states))
    if wanted.batch is not None:
        conditions.append(jobs.c.batch_id == wanted.batch)
    if wanted.person is not None:
        conditions.append(jobs.c.person == wanted.person)
    if wanted.tenant is not None:
        conditions.append(jobs.c.tenant == wanted.tenant)
    if wanted.created_after is not None:
        conditions.append(jobs.c.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        conditions.append(jobs.c.created_at < wanted.created_before)
    return conditions


def _cursor(job: Job) -> str:
    place = f"{job.created_at.isoformat()} {job.id}"
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _after(cursor: str) -> ColumnElement[bool]:
    """Jobs that are older than the one that the cursor names."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place = PLACE.fullmatch(base64.b64decode(padded, altchars=b"-_", validate=True).decode())
        created_at = datetime.fromisoformat(place[1]) if place else None
    except (ValueError, binascii.Error) as error:
        raise CursorError("is no cursor of ours") from error
    if place is None or created_at is None or created_at.tzinfo is None:
        raise CursorError("is no cursor of ours")
    same_moment = sa.and_(jobs.c.created_at == created_at, jobs.c.id < place[2])
    return sa.or_(jobs.c.created_at < created_at, same_moment)
