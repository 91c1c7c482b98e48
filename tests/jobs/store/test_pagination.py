"""Pages of jobs: each matching job once, also when jobs are added in between."""

import base64
from datetime import timedelta

import pytest

from jobs.database import Database, stores_on
from jobs.db.engine import connect
from jobs.model import State
from jobs.store.pagination import CursorError, JobFilter
from tests.clock import Clock
from tests.jobs.rows import claim, submit


def walk(database: Database, job_filter: JobFilter, *, limit: int) -> list[list[str]]:
    """Return the ids of every page."""
    pages, cursor = [], None
    while True:
        page = database.jobs.page(job_filter, limit=limit, cursor=cursor)
        pages.append([job.id for job in page.jobs])
        cursor = page.cursor
        if cursor is None:
            return pages


def test_pages_contain_every_job_once_newest_first(database: Database) -> None:
    submitted = [submit(database).id for _ in range(7)][::-1]

    assert walk(database, JobFilter(), limit=3) == [submitted[:3], submitted[3:6], submitted[6:]]
    assert walk(database, JobFilter(), limit=7) == [submitted]
    assert walk(database, JobFilter(person="nobody"), limit=7) == [[]]


def test_jobs_of_the_same_time_are_ordered_by_id(database_url: str, clock: Clock) -> None:
    database = stores_on(connect(database_url), clock=lambda: clock.now)
    submitted = sorted((submit(database).id for _ in range(6)), reverse=True)

    pages = walk(database, JobFilter(), limit=2)

    database.close()
    assert pages == [submitted[:2], submitted[2:4], submitted[4:]]


def test_new_jobs_do_not_shift_the_pages(database: Database) -> None:
    older = [submit(database).id for _ in range(4)][::-1]
    first = database.jobs.page(limit=2)
    submit(database)
    database.jobs.delete(older[1])  # the job of the cursor

    second = database.jobs.page(limit=2, cursor=first.cursor)

    assert [job.id for job in first.jobs + second.jobs] == older


def test_every_condition_of_a_filter_applies(database: Database, clock: Clock) -> None:
    ada, bob = submit(database, person="ada"), submit(database, person="bob")
    claim(database)
    clock.advance(60)
    late = submit(database, person="ada")
    database.jobs.cancel(late.id)

    def ids(**conditions: object) -> list[str]:
        return [job.id for job in database.jobs.page(JobFilter(**conditions)).jobs]

    assert ids(person="ada") == [late.id, ada.id]
    assert ids(states=(State.QUEUED,)) == [bob.id]
    assert ids(states=(State.RUNNING, State.CANCELED)) == [late.id, ada.id]
    assert ids(states=(State.RUNNING,), person="bob") == []
    assert ids(created_after=bob.created_at) == [late.id, bob.id]
    assert ids(created_before=bob.created_at) == [ada.id]
    assert ids(created_before=late.created_at, created_after=ada.created_at) == [bob.id, ada.id]
    assert ids(created_after=late.created_at + timedelta(seconds=1)) == []


def test_failed_jobs_are_filtered_by_error_and_time(database: Database, clock: Clock) -> None:
    for code in ("disk_full", "disk_full", "stage_timeout"):
        submit(database)
        job = claim(database)
        database.attempts.fail(job.id, job.attempt, code, "It did not work.")
        clock.advance(60)
    last_two = clock.now - timedelta(seconds=121)
    disk_full = JobFilter(states=(State.FAILED,), error_code="disk_full")

    assert len(walk(database, disk_full, limit=7)[0]) == 2
    recently = JobFilter(error_code="disk_full", finished_after=last_two)
    assert len(walk(database, recently, limit=7)[0]) == 1
    assert len(walk(database, JobFilter(finished_after=last_two), limit=7)[0]) == 2


def test_a_filter_applies_to_all_pages(database: Database) -> None:
    ids = [submit(database, person="ada").id for _ in range(5) if submit(database)][::-1]

    assert walk(database, JobFilter(person="ada"), limit=2) == [ids[:2], ids[2:4], ids[4:]]


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "ä", "....", "2026", "A" * 200]
    + [
        base64.urlsafe_b64encode(words.encode()).decode()
        for words in (
            "2026-05-04T12:00:00.000000 0a", "2026-05-04T12:00:00+00:00 ../x", "never 0a",
            "2026-99-04T12:00:00.0+00:00 0a", "2026-05-04T12:00:00+00:00 0a extra",
        )
    ],
)  # fmt: skip
def test_an_invalid_cursor_is_rejected(database: Database, cursor: str) -> None:
    with pytest.raises(CursorError):
        database.jobs.page(cursor=cursor)


def test_positions_are_queried_together(database: Database) -> None:
    first, second, third = (submit(database).id for _ in range(3))
    claim(database)

    assert database.jobs.positions([third, first, second, "nobody"]) == {second: 1, third: 2}
    assert database.jobs.positions([]) == {}
