"""Pages of jobs: each job once, whatever comes in between; and only those that are wanted."""

import base64
from datetime import timedelta

import pytest

from jobs.database import Database, stores_on
from jobs.db.engine import connect
from jobs.model import State
from jobs.store.pagination import CursorError, JobFilter
from tests.clock import Clock
from tests.jobs.rows import claim, submit


def walk(database: Database, wanted: JobFilter, *, limit: int) -> list[list[str]]:
    """The ids of every page."""
    pages, cursor = [], None
    while True:
        page = database.jobs.page(wanted, limit=limit, cursor=cursor)
        pages.append([job.id for job in page.jobs])
        cursor = page.cursor
        if cursor is None:
            return pages


def test_pages_hold_every_job_once_newest_first(database: Database) -> None:
    submitted = [submit(database).id for _ in range(7)][::-1]

    assert walk(database, JobFilter(), limit=3) == [submitted[:3], submitted[3:6], submitted[6:]]
    assert walk(database, JobFilter(), limit=7) == [submitted]
    assert walk(database, JobFilter(person="nobody"), limit=7) == [[]]


def test_jobs_of_one_moment_are_told_apart(database_url: str, clock: Clock) -> None:
    database = stores_on(connect(database_url), clock=lambda: clock.now)
    submitted = sorted((submit(database).id for _ in range(6)), reverse=True)

    pages = walk(database, JobFilter(), limit=2)

    database.close()
    assert pages == [submitted[:2], submitted[2:4], submitted[4:]]


def test_jobs_that_come_in_between_do_not_shift_the_pages(database: Database) -> None:
    older = [submit(database).id for _ in range(4)][::-1]
    first = database.jobs.page(limit=2)
    submit(database)
    database.jobs.delete(older[1])  # even the one that the cursor names

    second = database.jobs.page(limit=2, cursor=first.cursor)

    assert [job.id for job in first.jobs + second.jobs] == older


def test_every_condition_holds(database: Database, clock: Clock) -> None:
    ada, bob = submit(database, person="ada"), submit(database, person="bob")
    claim(database)
    clock.advance(60)
    late = submit(database, person="ada")
    database.jobs.cancel(late.id)

    def ids(**wanted: object) -> list[str]:
        return [job.id for job in database.jobs.page(JobFilter(**wanted)).jobs]

    assert ids(person="ada") == [late.id, ada.id]
    assert ids(states=(State.QUEUED,)) == [bob.id]
    assert ids(states=(State.RUNNING, State.CANCELED)) == [late.id, ada.id]
    assert ids(states=(State.RUNNING,), person="bob") == []
    assert ids(created_after=bob.created_at) == [late.id, bob.id]
    assert ids(created_before=bob.created_at) == [ada.id]
    assert ids(created_before=late.created_at, created_after=ada.created_at) == [bob.id, ada.id]
    assert ids(created_after=late.created_at + timedelta(seconds=1)) == []


def test_conditions_hold_over_pages(database: Database) -> None:
    wanted = [submit(database, person="ada").id for _ in range(5) if submit(database)][::-1]

    assert walk(database, JobFilter(person="ada"), limit=2) == [wanted[:2], wanted[2:4], wanted[4:]]


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
def test_what_is_no_cursor_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(CursorError):
        database.jobs.page(cursor=cursor)


def test_places_are_found_together(database: Database) -> None:
    first, second, third = (submit(database).id for _ in range(3))
    claim(database)

    assert database.jobs.positions([third, first, second, "nobody"]) == {second: 1, third: 2}
    assert database.jobs.positions([]) == {}
