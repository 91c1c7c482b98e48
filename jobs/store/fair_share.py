"""Fair share scheduling: the order in which queued jobs are claimed and numbered.

Within the queue of a tenant, jobs are ordered by priority, then by age. Between tenants, they are
ordered by share: the job's position in the queue of its tenant plus the number of running jobs of
that tenant. The smallest share is next, among equal shares the oldest job. So a tenant with a
thousand jobs delays itself, and a tenant with one job waits for at most one of each other tenant.
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


def select_next(people: Collection[str] = ()) -> Select[tuple[str, int, datetime | None]]:
    """Select the next queued job. people: only jobs of these persons; empty: of all.

    It is the first one in the queue of some tenant. So the query reads the index once for each
    waiting tenant, however long the queues are.
    """
    queued, least = jobs.alias("queued"), sa.func.min
    waiting: ColumnElement[bool] = queued.c.state == State.QUEUED
    if people:
        waiting = sa.and_(waiting, queued.c.person.in_(people))
    names = sa.select(least(queued.c.tenant).label("tenant")).where(waiting).cte(recursive=True)
    following = sa.select(least(queued.c.tenant)).where(waiting, queued.c.tenant > names.c.tenant)
    names = names.union_all(
        sa.select(following.scalar_subquery()).where(names.c.tenant.is_not(None))
    )
    own = sa.and_(waiting, queued.c.tenant == names.c.tenant)
    in_its_queue = (queued.c.priority.desc(), queued.c.created_at, queued.c.id)

    def of_the_first(column: ColumnElement[Any]) -> ColumnElement[Any]:
        first = sa.select(column).where(own).order_by(*in_its_queue).limit(1)
        return first.scalar_subquery().label(column.name)

    claimed = jobs.alias("claimed")
    running = sa.select(sa.func.count()).where(
        claimed.c.state == State.RUNNING, claimed.c.tenant == names.c.tenant
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


def select_positions(job_ids: Collection[str] | None = None) -> Select[tuple[str, int]]:
    """Select the positions of the queued jobs among these, or of all queued jobs; 1 is next."""
    queue = _queue()
    positions = sa.select(queue.c.id, queue.c.position)
    return positions if job_ids is None else positions.where(queue.c.id.in_(job_ids))


def _queue() -> Subquery:
    """Every queued job with its position."""
    running_jobs = (
        sa.select(jobs.c.tenant, sa.func.count().label("running"))
        .where(jobs.c.state == State.RUNNING)
        .group_by(jobs.c.tenant)
        .subquery("running_jobs")
    )
    own_position = sa.func.row_number().over(partition_by=jobs.c.tenant, order_by=IN_ITS_QUEUE)
    share = (own_position + sa.func.coalesce(running_jobs.c.running, 0)).label("share")
    shares = (
        sa.select(jobs.c.id, jobs.c.created_at, share)
        .outerjoin(running_jobs, running_jobs.c.tenant == jobs.c.tenant)
        .where(jobs.c.state == State.QUEUED)
        .subquery("shares")
    )
    position = sa.func.row_number().over(
        order_by=(shares.c.share, shares.c.created_at, shares.c.id)
    )
    return sa.select(shares.c.id, position.label("position")).subquery("queue")
