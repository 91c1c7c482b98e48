"""Periodic tasks run in one process at a time."""

from datetime import timedelta

from jobs.database import Database
from tests.clock import Clock


def test_a_task_is_held_by_one_process_and_continues_at_its_place(
    database: Database, clock: Clock
) -> None:
    task = database.periodic_tasks.acquire("sweep")
    assert task is not None
    assert task.place is None
    assert database.periodic_tasks.acquire("sweep") is None
    database.periodic_tasks.release(task, "jobs/b", timedelta())
    again = database.periodic_tasks.acquire("sweep")
    assert again is not None
    assert again.place == "jobs/b"
    database.periodic_tasks.release(
        task, "jobs/a", timedelta()
    )  # of a process that held it too long
    database.periodic_tasks.release(again, None, timedelta(hours=1))
    assert database.periodic_tasks.acquire("sweep") is None
    clock.advance(3601)
    assert database.periodic_tasks.acquire("sweep") is not None
    clock.advance(121)  # the process that held it is dead
    assert database.periodic_tasks.acquire("sweep") is not None
