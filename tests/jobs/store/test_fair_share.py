"""Fair share: shares between tenants, priority and age within a tenant; positions agree."""

import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobs.database import Database
from jobs.db.engine import connect, reading, writing
from jobs.db.migrate import upgrade
from jobs.db.tables import jobs
from jobs.model import Job, new_job_id, utc_now
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
    # Each claim follows the end of the oldest running job: of busy, of busy, of idle, of idle.
    assert [database.jobs.position(job.id) for job in (*idle, *busy)] == [1, 3, 4, 2]
    assert served(database, running, idle + busy) == [
        idle[0].id,
        busy[0].id,
        idle[1].id,
        idle[2].id,
    ]


def test_priority_counts_within_the_queue_of_a_tenant_only(database: Database) -> None:
    low, high = queued(database, "loud", 1, priority=0), queued(database, "loud", 2, priority=10)
    (quiet,) = queued(database, "quiet", 1, priority=-10)

    expected = [high[0].id, quiet.id, high[1].id, low[0].id]

    positions = database.jobs.positions(expected)
    assert sorted(positions, key=lambda job: positions[job]) == expected
    assert [claim(database).id for _ in expected] == expected


def test_a_job_that_is_not_accepted_stays_the_next_one_and_is_not_overtaken(
    database: Database,
) -> None:
    """Jobs that are done together are claimed in the order of all claims."""
    many = queued(database, "many", 3)
    (few,) = queued(database, "few", 1)
    asked: list[str] = []

    def claimed(refused: str) -> str | None:
        def accept(job: Job) -> bool:
            asked.append(job.id)
            return job.id != refused

        job = database.attempts.claim("worker-1", accept=accept)
        return job.id if job is not None else None

    assert claimed(refused=few.id) == many[0].id
    assert claimed(refused=few.id) is None
    assert claimed(refused=few.id) is None
    assert asked == [many[0].id, few.id, few.id]
    assert database.jobs.position(few.id) == 1
    assert [claim(database).id for _ in range(3)] == [few.id, many[1].id, many[2].id]


def served(database: Database, running: list[Job], waiting: list[Job]) -> list[str]:
    """Ids in the order of their claims: each follows the end of the oldest running job."""
    order = []
    slots = list(running)
    for _ in waiting:
        if slots:
            oldest = slots.pop(0)
            assert database.attempts.succeed(oldest.id, oldest.attempt, [])
        slots.append(claim(database))
        order.append(slots[-1].id)
    return order


@pytest.mark.parametrize(("slots", "seed"), [(0, 0), (1, 1), (2, 2), (4, 3), (7, 4)])
def test_a_position_is_the_place_in_the_order_of_claims(
    database: Database, clock: Clock, slots: int, seed: int
) -> None:
    generator = random.Random(seed)

    def add(count: int) -> list[Job]:
        return [
            submit(
                database, tenant=generator.choice("abbccc"), priority=generator.choice((-1, 0, 5))
            )
            for _ in range(count)
        ]

    add(slots)
    running = []
    for _ in range(slots):
        clock.advance(1)
        running.append(claim(database))
    waiting = add(20)
    positions = database.jobs.positions([job.id for job in waiting])

    claimed = served(database, running, waiting)

    assert sorted(positions, key=lambda job: positions[job]) == claimed
    assert sorted(positions.values()) == list(range(1, len(claimed) + 1))


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_positions_are_right_within_a_tenth_when_jobs_take_different_times(
    database: Database, slots: int
) -> None:
    generator = random.Random(slots)
    waiting = [submit(database, tenant=generator.choice("aaaabbcdef")) for _ in range(60)]
    told = database.jobs.positions([job.id for job in waiting])

    order: dict[str, int] = {}
    ends: list[tuple[float, Job]] = []
    now = 0.0
    while len(order) < len(waiting):
        if len(ends) == slots:
            now, ended = min(ends, key=lambda each: each[0])
            ends = [each for each in ends if each[1].id != ended.id]
            assert database.attempts.succeed(ended.id, ended.attempt, [])
        job = claim(database)
        order[job.id] = len(order) + 1
        ends.append((now + generator.uniform(1, 5), job))

    wrong = [abs(told[job] - order[job]) for job in order]
    assert max(wrong) <= 0.1 * len(waiting)


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_no_tenant_with_one_job_waits_longer_than_one_round(database: Database, slots: int) -> None:
    """50 tenants: one has 500 jobs, some of them urgent, and has been served for a while."""
    submit(database, tenant="big")
    with writing(database.engine) as connection:
        row = dict(connection.execute(sa.select(jobs)).mappings().one())
        many = [row | {"id": new_job_id(), "priority": 10 * (n % 2)} for n in range(499)]
        connection.execute(jobs.insert(), many)
    running = [claim(database) for _ in range(slots)]
    for _ in range(3):
        ended = running.pop(0)
        database.attempts.succeed(ended.id, ended.attempt, [])
        running.append(claim(database))
    small = [submit(database, tenant=f"tenant-{number:02}") for number in range(49)]
    told = database.jobs.positions([job.id for job in small])

    order = served(database, running, small + small[:slots])

    places = {job.id: order.index(job.id) + 1 for job in small}
    assert max(places.values()) <= 50
    assert max(abs(told[job.id] - places[job.id]) for job in small) <= 5


def test_with_one_slot_a_tenant_with_many_jobs_delays_others_by_one_job(
    database: Database,
) -> None:
    big = queued(database, "big", 20)
    running = claim(database)
    small = [queued(database, f"small-{number}", 1)[0] for number in range(5)]
    told = [database.jobs.position(job.id) for job in small]

    order = served(database, [running], big[1:8])

    assert running.id == big[0].id
    assert told == [order.index(job.id) + 1 for job in small]
    assert max(told) <= 6


def test_thousands_of_jobs_are_ordered_by_an_index(database: Database) -> None:
    template = submit(database)
    with writing(database.engine) as connection:
        row = dict(connection.execute(sa.select(jobs)).mappings().one())
        many = [row | {"id": new_job_id(), "tenant": f"t{n % 7}"} for n in range(3_000)]
        connection.execute(jobs.insert(), many)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE jobs")
        plan = _plan(connection, select_next(now=utc_now()))

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
