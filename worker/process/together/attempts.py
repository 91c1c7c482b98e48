"""Attempts at several jobs at a time: each in a thread, under its own lease and watchdog."""

from __future__ import annotations

import threading
from contextvars import copy_context
from typing import TYPE_CHECKING

from jobs.request.declare import Group, declared_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.model import Job
    from worker.process.outcomes import AttemptOutcome

# Fields of motion in which jobs that are sampled together may differ.
OWN_FIELDS = {"seed", "takes", "person_channel"}


def may_join(first: Job, other: Job) -> bool:
    """Return whether a job can be sampled together with the first one.

    Both show the same single person, with equal options of sampling.
    """
    if first.request.both or other.request.both:
        return False
    names = {field.name for field in declared_fields(Group.MOTION)} - OWN_FIELDS
    one, another = (job.request.model_dump(include=names) for job in (first, other))
    return one == another


class AttemptGroup:
    """Running attempts of one worker, which started with the first of their jobs."""

    def __init__(self, attempt: Callable[[Job], AttemptOutcome], first: Job) -> None:
        self.first = first
        self._attempt = attempt
        self._changed = threading.Condition()
        self._running: dict[str, threading.Thread] = {}
        self._ended: list[tuple[Job, AttemptOutcome]] = []
        self._error: BaseException | None = None
        self.start(first)

    def __len__(self) -> int:
        return len(self._running)

    def start(self, job: Job) -> None:
        """Begin the attempt at a claimed job."""
        run = copy_context().run  # the logger's context is that of the worker
        thread = threading.Thread(target=run, args=(self._run, job), name=f"job {job.id}")
        thread.daemon = True
        self._running[job.id] = thread
        thread.start()

    def wait(self, seconds: float) -> list[tuple[Job, AttemptOutcome]]:
        """Wait for the end of an attempt; return the jobs that have ended, with their outcomes.

        Raises: an error of `attempt`, once all attempts have ended.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._error, seconds)
            ended, self._ended = self._ended, []
        for job, _ in ended:
            self._running.pop(job.id).join()
        if self._error is not None:
            for thread in self._running.values():
                thread.join()
            raise self._error
        return ended

    def _run(self, job: Job) -> None:
        try:
            outcome = self._attempt(job)
        except BaseException as error:  # raised in the main thread, which ends the process
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()
            return
        with self._changed:
            self._ended.append((job, outcome))
            self._changed.notify_all()
