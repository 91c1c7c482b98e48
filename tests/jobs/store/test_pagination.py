"""Pages of jobs: each job once, whatever comes in between; and only those that are wanted."""

import base64
from datetime import timedelta

import pytest
import sqlalchemy as sa

from jobs.db.engine import connect, reading, writing
from jobs.db.tables import jobs
from jobs.model import State
from jobs.store.jobs import Store
from jobs.store.pagination import CursorError, JobFilter
from tests.clock import Clock
from tests.jobs.rows import claim, submit


def walk(store: Store, wanted: JobFilter, *, limit: int) -> list[list[str]]:
    """The ids of every page."""
    pages, cursor = [], None
    while True:
        page = store.page(wanted, limit=limit, cursor=cursor)
        pages.append([job.id for job in page.jobs])
        cursor = page.cursor
        if cursor is None:
            return pages


def test_pages_hold_every_job_once_newest_first(store: Store) -> None:
    submitted = [submit(store).id for _ in range(7)][::-1]

    assert walk(store, JobFilter(), limit=3) == [submitted[:3], submitted[3:6], submitted[6:]]
    assert walk(store, JobFilter(), limit=7) == [submitted]
    assert walk(store, JobFilter(person="nobody"), limit=7) == [[]]


def test_jobs_of_one_moment_are_told_apart(database_url: str, clock: Clock) -> None:
    store = Store(connect(database_url), clock=lambda: clock.now)
    submitted = sorted((submit(store).id for _ in range(6)), reverse=True)

    pages = walk(store, JobFilter(), limit=2)

    store.close()
    assert pages == [submitted[:2], submitted[2:4], submitted[4:]]


def test_jobs_that_come_in_between_do_not_shift_the_pages(store: Store) -> None:
    older = [submit(store).id for _ in range(4)][::-1]
    first = store.page(limit=2)
    submit(store)
    store.delete(older[1])  # even the one that the cursor names

    second = store.page(limit=2, cursor=first.cursor)

    assert [job.id for job in first.jobs + second.jobs] == older


def test_every_condition_holds(store: Store, clock: Clock) -> None:
    ada, bob = submit(store, person="ada"), submit(store, person="bob")
    claim(store)
    clock.advance(60)
    late = submit(store, person="ada")
    store.cancel(late.id)

    def ids(**wanted: object) -> list[str]:
        return [job.id for job in store.page(JobFilter(**wanted)).jobs]

    assert ids(person="ada") == [late.id, ada.id]
    assert ids(states=(State.QUEUED,)) == [bob.id]
    assert ids(states=(State.RUNNING, State.CANCELED)) == [late.id, ada.id]
    assert ids(states=(State.RUNNING,), person="bob") == []
    assert ids(created_after=bob.created_at) == [late.id, bob.id]
    assert ids(created_before=bob.created_at) == [ada.id]
    assert ids(created_before=late.created_at, created_after=ada.created_at) == [bob.id, ada.id]
    assert ids(created_after=late.created_at + timedelta(seconds=1)) == []


def test_conditions_hold_over_pages(store: Store) -> None:
    wanted = [submit(store, person="ada").id for _ in range(5) if submit(store)][::-1]

    assert walk(store, JobFilter(person="ada"), limit=2) == [wanted[:2], wanted[2:4], wanted[4:]]


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
def test_what_is_no_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(CursorError):
        store.page(cursor=cursor)


def test_places_are_found_together(store: Store) -> None:
    first, second, third = (submit(store).id for _ in range(3))
    claim(store)

    assert store.positions([third, first, second, "nobody"]) == {second: 1, third: 2}
    assert store.positions([]) == {}


def test_jobs_of_an_older_schema_keep_their_person(database_url: str) -> None:
    from alembic import command

    from jobs.db.migrate import _alembic_config

    engine = connect(database_url)
    store = Store(engine)
    job = submit(store, person="ada")

    def migrate(move: str, revision: str) -> None:
        config = _alembic_config()
        with writing(engine) as connection:
            config.attributes["connection"] = connection
            getattr(command, move)(config, revision)

    migrate("downgrade", "0003")
    migrate("upgrade", "head")

    with reading(engine) as connection:
        assert connection.execute(sa.select(jobs.c.person)).scalar_one() == "ada"
    assert store.get(job.id) == job
    store.close()
