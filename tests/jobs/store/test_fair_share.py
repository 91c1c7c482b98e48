"""Fair share: shares between tenants, priority and age within a tenant; positions agree."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from jobs.database import Database
from jobs.db.engine import connect, reading, writing
from jobs.db.migrate import upgrade
from jobs.db.tables import jobs
from jobs.model import Job, new_job_id
from jobs.store.fair_share import select_next
from tests.clock import Clock
from tests.jobs.rows import claim, submit


def queued(database: Database, tenant: str, count: int, **fields: int) -> list[Job]:
    return [submit(database, tenant=tenant, **fields) for _ in range(count)]


def test_one_job_does_not_wait_for_twenty_of_another_tenant(database: Database) -> None:
    many = queued(database, "many", 20)
    (one,) = queued(database, "few", 1)

    assert database.jobs.position(one.id) == 2
    assert [claim(database).id for _ in range(3)] == [many[0].id, one.id, many[1].id]


def test_tenants_take_turns(database: Database) -> None:
    a, b, c = (queued(database, tenant, count) for tenant, count in (("a", 3), ("b", 2), ("c", 1)))

    expected = [a[0].id, b[0].id, c[0].id, a[1].id, b[1].id, a[2].id]

    positions = database.jobs.positions(expected)
    assert sorted(positions, key=lambda job: positions[job]) == expected
    assert [claim(database).id for _ in expected] == expected


def test_a_tenant_with_running_jobs_waits_for_tenants_without(database: Database) -> None:
    first = queued(database, "busy", 2)
    running = [claim(database), claim(database)]
    busy, idle = queued(database, "busy", 1), queued(database, "idle", 3)

    assert {job.id for job in running} == {job.id for job in first}
    assert [database.jobs.position(job.id) for job in (*idle, *busy)] == [1, 2, 4, 3]
    database.jobs.cancel(running[0].id)
    database.jobs.cancel(running[1].id)
    assert database.jobs.position(busy[0].id) == 1


def test_priority_counts_within_the_queue_of_a_tenant_only(database: Database) -> None:
    low, high = queued(database, "loud", 1, priority=0), queued(database, "loud", 2, priority=10)
    (quiet,) = queued(database, "quiet", 1, priority=-10)

    expected = [high[0].id, quiet.id, high[1].id, low[0].id]

    positions = database.jobs.positions(expected)
    assert sorted(positions, key=lambda job: positions[job]) == expected
    assert [claim(database).id for _ in expected] == expected


@pytest.mark.parametrize("seed", range(5))
def test_a_position_is_the_place_in_the_order_of_claims(database: Database, seed: int) -> None:
    import random

    generator = random.Random(seed)
    for _ in range(20):
        submit(
            database, tenant=generator.choice("abbccc"), priority=generator.choice((-1, 0, 0, 5))
        )
    running = [claim(database) for _ in range(generator.randrange(4))]
    ids = [job.id for job in database.jobs.page(limit=30).jobs if job not in running]
    positions = database.jobs.positions(ids)

    claimed = []
    while (job := database.attempts.claim("worker-1")) is not None:
        claimed.append(job.id)

    assert sorted(positions, key=lambda job: positions[job]) == claimed
    assert sorted(positions.values()) == list(range(1, len(claimed) + 1))


def test_ten_thousand_jobs_are_ordered_by_an_index(database: Database) -> None:
    template = submit(database)
    with writing(database.engine) as connection:
        row = dict(connection.execute(sa.select(jobs)).mappings().one())
        many = [row | {"id": new_job_id(), "tenant": f"t{n % 7}"} for n in range(10_000)]
        connection.execute(jobs.insert(), many)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE jobs")
        plan = _plan(connection, select_next())

    assert "ix_jobs_share" in plan, plan
    assert database.jobs.position(template.id) is not None


def _plan(connection: sa.Connection, query: sa.Select) -> str:
    text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
    sqlite = connection.dialect.name == "sqlite"
    explain = "EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN "
    return "\n".join(str(row) for row in connection.exec_driver_sql(explain + text))


def test_a_higher_priority_is_claimed_first_and_an_equal_one_by_age(database: Database) -> None:
    jobs = {priority: submit(database, priority=priority).id for priority in (0, -10, 10, 3)}
    later = submit(database, priority=3).id

    assert [claim(database).id for _ in range(5)] == [jobs[10], jobs[3], later, jobs[0], jobs[-10]]


def test_positions_follow_the_priority(database: Database) -> None:
    low, plain, high = (submit(database, priority=priority).id for priority in (-1, 0, 1))

    assert database.jobs.positions([low, plain, high]) == {high: 1, plain: 2, low: 3}
    assert database.jobs.position(plain) == 2


def test_a_higher_priority_is_announced_first(database: Database, clock: Clock) -> None:
    plain = [submit(database).id for _ in range(9)]
    high = submit(database, priority=5).id
    clock.advance(10)

    assert database.attempts.reap() == [high, *plain[:7]]


def test_a_requeued_job_keeps_its_priority(database: Database) -> None:
    high, plain = submit(database, priority=1), submit(database)
    first = claim(database)
    database.attempts.release(first.id, first.attempt, "why")

    assert database.jobs.position(high.id) == 1
    database.jobs.cancel(high.id)
    database.jobs.retry(high.id)
    assert database.jobs.positions([high.id, plain.id]) == {high.id: 1, plain.id: 2}


def test_the_next_job_is_found_by_an_index_without_sorting(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'visavis.db'}"
    upgrade(url)
    engine = connect(url)
    with reading(engine) as connection:
        turn = "ORDER BY priority DESC, created_at, id LIMIT 1"
        query = f"EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE state = 'queued' {turn}"
        plan = " ".join(str(row) for row in connection.exec_driver_sql(query))
    engine.dispose()

    assert "ix_jobs_turn" in plan
    assert "TEMP B-TREE" not in plan
