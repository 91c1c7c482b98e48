"""Fair share scheduling: the order in which queued jobs are claimed and numbered.

Within the queue of a tenant, jobs are ordered by priority, then by age. Between tenants, the one
with the fewest running jobs is next, among equal ones the one whose last turn is the longest ago: a
turn is the number of the claim that took a job. So a tenant with a thousand jobs delays itself, and
a tenant with one job waits for at most one of each other tenant, with any number of workers.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from jobs.db.conditions import shows_none, shows_only
from jobs.db.tables import jobs, tenants
from jobs.model import State
from jobs.queue.pauses import NOT_PAUSED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, FromClause, Select

    from jobs.queue.pauses import PausedClaims

IN_ITS_QUEUE = (jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id)
QUEUED, CLAIMED = jobs.alias("queued"), jobs.alias("claimed")  # each takes 1 ms


LONGEST_PAUSE = timedelta(seconds=60)  # of a job that was put back


def may_run(table: FromClause, now: datetime) -> ColumnElement[bool]:
    """Condition: the job does not pause, or the clock was put back since its pause began."""
    return _may_run(table, now, now + LONGEST_PAUSE)


def _may_run(table: FromClause, now: Any, latest: Any) -> ColumnElement[bool]:
    until = table.c.not_before
    return sa.or_(until.is_(None), until <= now, until > latest)


def select_next(
    people: Collection[str] = (),
    paused: PausedClaims = NOT_PAUSED,
    *,
    without: Collection[str] = (),
    now: datetime,
) -> Select[tuple[str, int, datetime | None]]:
    """Select the next queued job. people: only jobs of these persons; empty: of all.

    paused: persons and tenants whose jobs stay queued. without: no job of these persons. A job of
    two persons needs both.
    now: the time for jobs that pause after a failure.

    It is the first one in the queue of some tenant. So the query reads the index once for each
    waiting tenant, however long the queues are.
    """
    selected = _select_next(tuple(people), paused, tuple(without))
    return selected.params(now=now, latest=now + LONGEST_PAUSE)


@lru_cache(maxsize=64)  # an idle worker asks for the same every second or more often
def _select_next(
    people: tuple[str, ...], paused: PausedClaims, without: tuple[str, ...]
) -> Select[tuple[str, int, datetime | None]]:
    """Return the query of `select_next` with the parameters `now` and `latest`."""
    queued, claimed, least = QUEUED, CLAIMED, sa.func.min
    now, latest = (sa.bindparam(name, type_=jobs.c.not_before.type) for name in ("now", "latest"))
    waiting = sa.and_(queued.c.state == State.QUEUED, _may_run(queued, now, latest))
    if people:
        waiting = sa.and_(waiting, shows_only(people, queued))
    excluded = {*paused.people, *without}
    if excluded:
        waiting = sa.and_(waiting, shows_none(excluded, queued))
    if paused.tenants:
        waiting = sa.and_(waiting, queued.c.tenant.not_in(paused.tenants))
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

    running = sa.select(sa.func.count()).where(
        claimed.c.state == State.RUNNING, claimed.c.tenant == names.c.tenant
    )
    last_turn = sa.select(tenants.c.last_turn).where(tenants.c.name == names.c.tenant)
    firsts = (
        sa.select(
            of_the_first(queued.c.id),
            of_the_first(queued.c.created_at),
            running.scalar_subquery().label("running"),
            last_turn.scalar_subquery().label("last_turn"),
        )
        .select_from(names)
        .subquery("firsts")
    )
    chosen = (
        sa.select(firsts.c.id)
        .where(firsts.c.id.is_not(None))
        .order_by(
            firsts.c.running,
            sa.func.coalesce(firsts.c.last_turn, 0),
            firsts.c.created_at,
            firsts.c.id,
        )
        .limit(1)
    )
    return sa.select(jobs.c.id, jobs.c.attempt, jobs.c.started_at).where(
        jobs.c.id == chosen.scalar_subquery()
    )


def record_turn(connection: Connection, tenant: str) -> None:
    """Record that a job of this tenant was claimed."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    latest = sa.select(sa.func.coalesce(sa.func.max(tenants.c.last_turn), 0) + 1)
    row = dialect.insert(tenants).values(name=tenant, last_turn=latest.scalar_subquery())
    connection.execute(
        row.on_conflict_do_update(
            index_elements=["name"], set_={"last_turn": row.excluded.last_turn}
        )
    )


class QueuedJob(NamedTuple):
    """A queued job, as far as its position depends on it."""

    id: str
    tenant: str
    created_at: datetime


def read_positions(connection: Connection) -> dict[str, int]:
    """Return the position of each queued job; 1 is next."""
    queued = (
        sa.select(jobs.c.id, jobs.c.tenant, jobs.c.created_at)
        .where(jobs.c.state == State.QUEUED)
        .order_by(jobs.c.tenant, *IN_ITS_QUEUE)
    )
    running = (
        sa.select(jobs.c.tenant)
        .where(jobs.c.state == State.RUNNING)
        .order_by(jobs.c.started_at, jobs.c.id)
    )
    turns = sa.select(tenants.c.name, tenants.c.last_turn).where(tenants.c.last_turn > 0)
    return positions_of(
        [QueuedJob(*row) for row in connection.execute(queued)],
        connection.execute(running).scalars().all(),
        {name: turn for name, turn in connection.execute(turns).all()},
    )


def positions_of(
    queued: Iterable[QueuedJob], running: Sequence[str], last_turns: Mapping[str, int]
) -> dict[str, int]:
    """Simulate the claims of the workers that are busy now; return the position of each job.

    Running jobs end in the order in which they began, and each end is followed by a claim.

    queued: in the order of each tenant's queue. running: tenants of the running jobs, oldest first.
    last_turns: by tenant; 0 for the others.
    """
    queues: dict[str, deque[QueuedJob]] = {}
    for job in queued:
        queues.setdefault(job.tenant, deque()).append(job)
    busy, counts = deque(running), Counter(running)
    turns = dict(last_turns)
    next_turn = max(turns.values(), default=0)

    def entry(tenant: str) -> tuple[int, int, datetime, str, str]:
        first = queues[tenant][0]
        return counts[tenant], turns.get(tenant, 0), first.created_at, first.id, tenant

    def end_oldest() -> None:
        if busy:
            counts[ended := busy.popleft()] -= 1
            if queues.get(ended):
                heapq.heappush(heap, entry(ended))

    heap = [entry(tenant) for tenant in queues]
    heapq.heapify(heap)
    positions: dict[str, int] = {}
    end_oldest()
    while heap:
        *_, tenant = first = heapq.heappop(heap)
        if not queues[tenant] or first != entry(tenant):
            continue  # a newer entry of this tenant is in the heap
        positions[queues[tenant].popleft().id] = len(positions) + 1
        counts[tenant] += 1
        turns[tenant] = next_turn + len(positions)
        busy.append(tenant)
        if queues[tenant]:
            heapq.heappush(heap, entry(tenant))
        end_oldest()
    return positions
