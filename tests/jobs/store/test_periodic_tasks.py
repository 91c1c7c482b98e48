"""Periodic tasks run in one process at a time."""

from datetime import timedelta

from jobs.database import Database
from tests.clock import Clock


def test_a_chore_is_done_by_one_at_a_time_and_goes_on_where_it_was(
    database: Database, clock: Clock
) -> None:
    chore = database.periodic_tasks.acquire("sweep")
    assert chore is not None
    assert chore.place is None
    assert database.periodic_tasks.acquire("sweep") is None
    database.periodic_tasks.release(chore, "jobs/b", timedelta())
    again = database.periodic_tasks.acquire("sweep")
    assert again is not None
    assert again.place == "jobs/b"
    database.periodic_tasks.release(chore, "jobs/a", timedelta())  # one who was away for too long
    database.periodic_tasks.release(again, None, timedelta(hours=1))
    assert database.periodic_tasks.acquire("sweep") is None
    clock.advance(3601)
    assert database.periodic_tasks.acquire("sweep") is not None
    clock.advance(121)  # whoever had it has died
    assert database.periodic_tasks.acquire("sweep") is not None
