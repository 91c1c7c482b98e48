"""Whose turn it is: the one order in which jobs are claimed and in which their places are told.

Within a tenant's own queue the priority counts and then the age. Between tenants it is shares: a
job's share is its place in its tenant's queue and the jobs of that tenant that run already, and the
smallest share is next, of equal ones the oldest. So whoever sends a thousand jobs waits for them,
and whoever sends one waits for one of each other tenant's at the most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from jobs.db.tables import jobs
from jobs.model import State

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy import ColumnElement, Select, Subquery

IN_ITS_QUEUE = (jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id)


def select_next() -> Select[tuple[str, int, datetime | None]]:
    """The queued job that is next.

    It is the first of some tenant's queue, so only these are looked at: as many looks into the
    index as there are tenants who wait, however long the queues are.
    """
    queued, least = jobs.alias("queued"), sa.func.min
    waits = queued.c.state == State.QUEUED
    names = sa.select(least(queued.c.tenant).label("tenant")).where(waits).cte(recursive=True)
    following = sa.select(least(queued.c.tenant)).where(waits, queued.c.tenant > names.c.tenant)
    names = names.union_all(
        sa.select(following.scalar_subquery()).where(names.c.tenant.is_not(None))
    )
    own = sa.and_(waits, queued.c.tenant == names.c.tenant)
    in_its_queue = (queued.c.priority.desc(), queued.c.created_at, queued.c.id)

    def of_the_first(column: ColumnElement[Any]) -> ColumnElement[Any]:
        first = sa.select(column).where(own).order_by(*in_its_queue).limit(1)
        return first.scalar_subquery().label(column.name)

    at_work = jobs.alias("at_work")
    running = sa.select(sa.func.count()).where(
        at_work.c.state == State.RUNNING, at_work.c.tenant == names.c.tenant
    )
    firsts = (
        sa.select(
            of_the_first(queued.c.id),
            of_the_first(queued.c.created_at),
            running.scalar_subquery().label("running"),
        )
        .select_from(names)
        .subquery("firsts")
    )
    chosen = (
        sa.select(firsts.c.id)
        .where(firsts.c.id.is_not(None))
        .order_by(firsts.c.running, firsts.c.created_at, firsts.c.id)
        .limit(1)
    )
    return sa.select(jobs.c.id, jobs.c.attempt, jobs.c.started_at).where(
        jobs.c.id == chosen.scalar_subquery()
    )


def select_places(job_ids: Collection[str] | None = None) -> Select[tuple[str, int]]:
    """The places of those of these jobs that are queued, or of all that are; 1 is next."""
    turns = _turns()
    places = sa.select(turns.c.id, turns.c.place)
    return places if job_ids is None else places.where(turns.c.id.in_(job_ids))


def _turns() -> Subquery:
    """Every queued job and its place."""
    at_work = (
        sa.select(jobs.c.tenant, sa.func.count().label("running"))
        .where(jobs.c.state == State.RUNNING)
        .group_by(jobs.c.tenant)
        .subquery("at_work")
    )
    own_place = sa.func.row_number().over(partition_by=jobs.c.tenant, order_by=IN_ITS_QUEUE)
    share = (own_place + sa.func.coalesce(at_work.c.running, 0)).label("share")
    shares = (
        sa.select(jobs.c.id, jobs.c.created_at, share)
        .outerjoin(at_work, at_work.c.tenant == jobs.c.tenant)
        .where(jobs.c.state == State.QUEUED)
        .subquery("shares")
    )
    place = sa.func.row_number().over(order_by=(shares.c.share, shares.c.created_at, shares.c.id))
    return sa.select(shares.c.id, place.label("place")).subquery("turns")
