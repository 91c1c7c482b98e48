"""Attempts at jobs: claims, leases and every write of a worker, by compare-and-set."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from contracts.stages import overall_progress
from jobs.db.engine import writing
from jobs.db.tables import jobs
from jobs.model import State, utc_now
from jobs.store.fair_share import IN_ITS_QUEUE, select_next
from jobs.store.job_rows import (
    NOT_IN_WORK,
    cancel_overdue,
    end_job,
    read_job,
    update_job,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Engine, RowMapping

    from jobs.model import Clock, FinishedTake, Job, JobWarning, Output

WAKES_AT_ONCE = 8  # one wake-up makes a worker empty the queue, so a few are plenty
EXHAUSTED = "attempts_exhausted"  # error code of a job whose last attempt was lost


class AttemptStore:
    """Job rows, as workers claim and write them.

    Every write carries its attempt number. It returns False, and has written nothing, when that
    attempt no longer holds the job: its lease expired and another attempt began, or the job ended.
    A write after the time of `cancel_after` cancels the job, so this does not wait for the reaper.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        lease_seconds: float,
        wake_seconds: float,
        clock: Clock = utc_now,
    ) -> None:
        """wake_seconds: a queued job is announced again after this time."""
        self._engine = engine
        self.lease_seconds = lease_seconds
        self._wake_seconds = wake_seconds
        self._clock = clock

    def claim(self, worker: str, people: Collection[str] = ()) -> Job | None:
        """Claim the next queued job for `worker` as its next attempt; None if none is queued.

        people: only jobs of these persons; empty: of all.
        """
        with writing(self._engine) as connection:
            next_one = select_next(people)
            while (candidate := connection.execute(next_one).mappings().first()) is not None:
                if cancel_overdue(connection, self._clock(), jobs.c.id == candidate["id"]):
                    continue
                claimed = self._claimed_by(worker, candidate)
                if update_job(connection, _unclaimed(candidate), claimed):
                    return read_job(connection, candidate["id"])
        return None

    def renew(self, job_id: str, attempt: int) -> bool:
        """Extend the lease by its full length."""
        return self._write(job_id, attempt, {"lease_until": self._lease_end()})

    def progress(self, job_id: str, attempt: int, stage: str, fraction: float) -> bool:
        """Write the progress of the attempt: `fraction` 0..1 of `stage`, one of `STAGES`."""
        return self._write(
            job_id,
            attempt,
            {
                "stage": stage,
                "stage_progress": min(max(fraction, 0.0), 1.0),
                "progress": overall_progress(stage, fraction),
            },
        )

    def record_motion(self, job_id: str, attempt: int, *, motion_key: str, digest: str) -> bool:
        """Record the stored motion for later attempts; `digest`: see `motion_digest`."""
        return self._write(job_id, attempt, {"motion_key": motion_key, "motion_digest": digest})

    def record_takes(self, job_id: str, attempt: int, takes: Sequence[FinishedTake]) -> bool:
        """Record the finished takes, so that a later attempt can publish them without new work."""
        return self._write(job_id, attempt, {"finished_takes": [asdict(take) for take in takes]})

    def record_warnings(self, job_id: str, attempt: int, warnings: Sequence[JobWarning]) -> bool:
        """Replace the warnings of the job by these."""
        return self._write(job_id, attempt, {"warnings": [asdict(each) for each in warnings]})

    def succeed(self, job_id: str, attempt: int, outputs: Sequence[Output]) -> bool:
        """Publish the outputs and end the job, in one write."""
        done = {
            "stage": "publish",
            "stage_progress": 1.0,
            "progress": 1.0,
            "outputs": [asdict(output) for output in outputs],
            "output_bytes": sum(output.bytes for output in outputs),
            "error_code": None,
            "error_detail": None,
        }
        return self._end(job_id, attempt, State.SUCCEEDED, done)

    def fail(self, job_id: str, attempt: int, code: str, reason: str) -> bool:
        """End the job with an error; `reason` is one sentence for its owner."""
        return self._end(
            job_id, attempt, State.FAILED, {"error_code": code, "error_detail": reason}
        )

    def release(
        self,
        job_id: str,
        attempt: int,
        reason: str,
        *,
        counts: bool = True,
        code: str = EXHAUSTED,
    ) -> bool:
        """Return the job to the queue.

        An attempt that `counts` has failed, and the last allowed one ends the job with `reason`
        and `code`. An attempt that does not count (a shutdown of the worker) is allowed again.
        """
        held = sa.select(jobs).where(_holding(job_id, attempt)).with_for_update()
        with writing(self._engine) as connection:
            row = connection.execute(held).mappings().first()
            if row is None:
                return False
            self._requeue(connection, row, reason, counts=counts, code=code)
            return True

    def reap(self) -> list[str]:
        """Cancel jobs whose time has passed, and requeue those with an expired lease.

        Returns the ids of queued jobs to announce now.

        Any number of processes may call this at any rate: an expired attempt is requeued once, and
        a queued job is returned once in `wake_seconds`.
        """
        now = self._clock()
        with writing(self._engine) as connection:
            cancel_overdue(connection, now)
            for row in _expired(connection, now):
                reason = f"the worker of attempt {row['attempt']} stopped without a result"
                self._requeue(connection, row, reason, counts=True, code=EXHAUSTED)
            return self._unannounced(connection, now)

    def _claimed_by(self, worker: str, candidate: RowMapping) -> dict[str, Any]:
        return {
            "state": State.RUNNING,
            "attempt": candidate["attempt"] + 1,
            "worker": worker,
            "lease_until": self._lease_end(),
            "started_at": candidate["started_at"] or self._clock(),
            "stage": "decode",
        }

    def _lease_end(self) -> datetime:
        return self._clock() + timedelta(seconds=self.lease_seconds)

    def _write(self, job_id: str, attempt: int, values: dict[str, Any]) -> bool:
        holding, now = _holding(job_id, attempt), self._clock()
        with writing(self._engine) as connection:
            if update_job(connection, sa.and_(holding, ~_late(now)), values):
                return True
            cancel_overdue(connection, now, holding)
            return False

    def _end(self, job_id: str, attempt: int, state: State, values: dict[str, Any]) -> bool:
        holding, now = _holding(job_id, attempt), self._clock()
        in_time = sa.and_(holding, ~_late(now))
        with writing(self._engine) as connection:
            if end_job(connection, job_id, state, now, where=in_time, values=values):
                return True
            cancel_overdue(connection, now, holding)
            return False

    def _requeue(
        self, connection: Connection, row: RowMapping, reason: str, *, counts: bool, code: str
    ) -> None:
        now = self._clock()
        allowed = row["max_attempts"] + (0 if counts else 1)
        values: dict[str, Any] = {"max_attempts": allowed, "error_detail": reason}
        holding = _holding(row["id"], row["attempt"])
        if row["attempt"] >= allowed:
            tries = "1 attempt" if row["attempt"] == 1 else f"{row['attempt']} attempts"
            values |= {
                "error_code": code,
                "error_detail": f"The job did not end in {tries}; the last: {reason}.",
            }
            end_job(connection, row["id"], State.FAILED, now, where=holding, values=values)
            return
        long_ago = now - timedelta(seconds=2 * self._wake_seconds)
        queued = {**NOT_IN_WORK, "state": State.QUEUED, "woken_at": long_ago}
        update_job(connection, holding, values | queued)

    def _unannounced(self, connection: Connection, now: datetime) -> list[str]:
        silent_since = now - timedelta(seconds=self._wake_seconds)
        waiting = (
            sa.select(jobs.c.id)
            .where(jobs.c.state == State.QUEUED, jobs.c.woken_at <= silent_since)
            .order_by(*IN_ITS_QUEUE)
            .limit(WAKES_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        ids = list(connection.execute(waiting).scalars())
        if ids:
            connection.execute(jobs.update().where(jobs.c.id.in_(ids)).values(woken_at=now))
        return ids


def _holding(job_id: str, attempt: int) -> ColumnElement[bool]:
    """Condition: this attempt holds the job."""
    return sa.and_(jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.state == State.RUNNING)


def _late(now: datetime) -> ColumnElement[bool]:
    """Condition: the time of the job has passed; never null, so that it can be negated."""
    return sa.and_(jobs.c.cancel_at.is_not(None), jobs.c.cancel_at <= now)


def _unclaimed(candidate: RowMapping) -> ColumnElement[bool]:
    return sa.and_(
        jobs.c.id == candidate["id"],
        jobs.c.attempt == candidate["attempt"],
        jobs.c.state == State.QUEUED,
    )


def _expired(connection: Connection, now: datetime) -> Sequence[RowMapping]:
    expired = (
        sa.select(jobs)
        .where(jobs.c.state == State.RUNNING, jobs.c.lease_until < now)
        .order_by(*IN_ITS_QUEUE)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(expired).mappings().all()
