"""Between tenants it is shares, within one's own queue priority and age; places tell the same."""

import pytest
import sqlalchemy as sa

from jobs.db.engine import writing
from jobs.db.tables import jobs
from jobs.model import Job, new_job_id
from jobs.store.fair_share import select_next
from jobs.store.jobs import Store
from tests.jobs.rows import VIDEO, claim, submit


def queued(store: Store, tenant: str, count: int, **how: int) -> list[Job]:
    return [submit(store, tenant=tenant, **how) for _ in range(count)]


def order(store: Store) -> list[str]:
    """Claim everything, ending each at once; what was claimed when."""
    seen = []
    while (job := store.claim("worker-1")) is not None:
        seen.append(job.id)
        store.succeed(job.id, job.attempt, [VIDEO])
    return seen


def test_one_job_does_not_wait_for_twenty_of_another(store: Store) -> None:
    many = queued(store, "many", 20)
    (one,) = queued(store, "few", 1)

    assert store.position(one.id) == 2
    assert [claim(store).id for _ in range(3)] == [many[0].id, one.id, many[1].id]


def test_tenants_take_turns(store: Store) -> None:
    a, b, c = (queued(store, tenant, count) for tenant, count in (("a", 3), ("b", 2), ("c", 1)))

    expected = [a[0].id, b[0].id, c[0].id, a[1].id, b[1].id, a[2].id]

    places = store.positions(expected)
    assert sorted(places, key=lambda job: places[job]) == expected
    assert [claim(store).id for _ in expected] == expected


def test_who_has_jobs_at_work_waits_for_who_has_none(store: Store) -> None:
    first = queued(store, "busy", 2)
    running = [claim(store), claim(store)]
    busy, idle = queued(store, "busy", 1), queued(store, "idle", 3)

    assert {job.id for job in running} == {job.id for job in first}
    assert [store.position(job.id) for job in (*idle, *busy)] == [1, 2, 4, 3]
    store.cancel(running[0].id)
    store.cancel(running[1].id)
    assert store.position(busy[0].id) == 1


def test_priority_counts_within_one_s_own_queue_only(store: Store) -> None:
    low, high = queued(store, "loud", 1, priority=0), queued(store, "loud", 2, priority=10)
    (quiet,) = queued(store, "quiet", 1, priority=-10)

    expected = [high[0].id, quiet.id, high[1].id, low[0].id]

    places = store.positions(expected)
    assert sorted(places, key=lambda job: places[job]) == expected
    assert [claim(store).id for _ in expected] == expected


@pytest.mark.parametrize("seed", range(5))
def test_a_place_tells_how_many_are_claimed_before(store: Store, seed: int) -> None:
    import random

    draw = random.Random(seed)
    for _ in range(20):
        submit(store, tenant=draw.choice("abbccc"), priority=draw.choice((-1, 0, 0, 5)))
    running = [claim(store) for _ in range(draw.randrange(4))]
    ids = [job.id for job in store.recent(limit=30) if job not in running]
    places = store.positions(ids)

    claimed = []
    while (job := store.claim("worker-1")) is not None:
        claimed.append(job.id)

    assert sorted(places, key=lambda job: places[job]) == claimed
    assert sorted(places.values()) == list(range(1, len(claimed) + 1))


def test_ten_thousand_are_ordered_by_an_index(store: Store) -> None:
    template = submit(store)
    with writing(store.engine) as connection:
        row = dict(connection.execute(sa.select(jobs)).mappings().one())
        many = [row | {"id": new_job_id(), "tenant": f"t{n % 7}"} for n in range(10_000)]
        connection.execute(jobs.insert(), many)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE jobs")
        plan = _plan(connection, select_next())

    assert "ix_jobs_share" in plan, plan
    assert store.position(template.id) is not None


def _plan(connection: sa.Connection, query: sa.Select) -> str:
    written = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
    sqlite = connection.dialect.name == "sqlite"
    explain = "EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN "
    return "\n".join(str(row) for row in connection.exec_driver_sql(explain + written))
