"""Attempts at jobs: claims, leases and every write of a worker, by compare-and-set."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from contracts.stages import overall_progress
from jobs.db.conditions import shows_only
from jobs.db.engine import after_commit, reading, writing
from jobs.db.tables import jobs
from jobs.model import State, utc_now
from jobs.queue.pauses import is_paused, paused_claims
from jobs.store.fair_share import IN_ITS_QUEUE, LONGEST_PAUSE, may_run, record_turn, select_next
from jobs.store.job_rows import (
    NOT_IN_WORK,
    cancel_overdue,
    end_job,
    read_job,
    update_job,
)
from jobs.telemetry import job_events

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Engine, RowMapping

    from jobs.model import Clock, FinishedTake, Job, JobWarning, Output, Usage

WAKES_AT_ONCE = 8  # one wake-up makes a worker empty the queue, so a few are plenty
EXHAUSTED = "attempts_exhausted"  # error code of a job whose last attempt was lost


@dataclass(frozen=True)
class Setback:
    """The end of an attempt without a result."""

    reason: str  # part of a sentence
    counts: bool = True
    code: str = EXHAUSTED
    pause_seconds: float = 0.0  # after the first one of a job
    most: int | None = None
    cause: str = "internal_error"  # for metrics

    def is_last(self, before: int) -> bool:
        """Return whether the job has had too many setbacks, with so many before this one."""
        return self.most is not None and before + 1 >= self.most

    def not_before(self, before: int, now: datetime) -> datetime | None:
        """Return the end of the pause, which grows with the setbacks before this one."""
        if not self.pause_seconds:
            return None
        pause = timedelta(seconds=self.pause_seconds * 2 ** min(before, 16))
        return now + min(pause, LONGEST_PAUSE)


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

    def present(self) -> datetime:
        """Return the time on the clock of the database."""
        return self._clock()

    def claim(
        self,
        worker: str,
        people: Collection[str] = (),
        without: Collection[str] = (),
        accept: Callable[[Job], bool] = lambda job: True,
    ) -> Job | None:
        """Claim the next queued job for `worker` as its next attempt; None if none is queued.

        Jobs whose claims an operator has paused stay queued.

        people: only jobs of these persons; empty: of all. without: no job of these persons.
        accept: called with the next job; False leaves it in the queue, and no other is claimed.
        """
        with writing(self._engine) as connection:
            paused = paused_claims(connection, worker)
            if paused.everything:
                return None
            next_one = select_next(people, paused, without=without, now=self._clock())
            while (candidate := connection.execute(next_one).mappings().first()) is not None:
                if cancel_overdue(connection, self._clock(), jobs.c.id == candidate["id"]):
                    continue
                if not accept(read_job(connection, candidate["id"])):
                    return None
                claimed = self._claimed_by(worker, candidate)
                if update_job(connection, _unclaimed(candidate), claimed):
                    job = read_job(connection, candidate["id"])
                    record_turn(connection, job.tenant)
                    if candidate["started_at"] is None:
                        after_commit(connection, partial(job_events.claimed, job))
                    return job
        return None

    def any_waiting(self, people: Collection[str] = ()) -> bool:
        """Return whether a job of these persons is queued and not paused; it takes no lock."""
        waiting = sa.and_(jobs.c.state == State.QUEUED, may_run(jobs, self._clock()), ~is_paused())
        if people:
            waiting = sa.and_(waiting, shows_only(people))
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(jobs.c.id).where(waiting).limit(1)).first()
        return found is not None

    def renew(self, job_id: str, attempt: int) -> bool:
        """Extend the lease by its full length."""
        return self._write(job_id, attempt, {"lease_until": self._lease_end()})

    def progress(
        self,
        job_id: str,
        attempt: int,
        stage: str,
        fraction: float,
        seconds_left: float | None = None,
        overall: float | None = None,
    ) -> bool:
        """Write the progress of the attempt: `fraction` 0..1 of `stage`, one of `STAGES`.

        overall: progress of the job; None: all stages before this one are complete.
        """
        if overall is None:
            overall = overall_progress(stage, fraction)
        return self._write(
            job_id,
            attempt,
            {
                "stage": stage,
                "stage_progress": min(max(fraction, 0.0), 1.0),
                "progress": overall,
                "seconds_left": seconds_left,
            },
        )

    def record_motion(self, job_id: str, attempt: int, *, motion_key: str, digest: str) -> bool:
        """Record the stored motion for later attempts; `digest`: see `motion_digest`."""
        return self._write(job_id, attempt, {"motion_key": motion_key, "motion_digest": digest})

    def record_takes(self, job_id: str, attempt: int, takes: Sequence[FinishedTake]) -> bool:
        """Record the finished takes, so that a later attempt can publish them without new work."""
        stored = sum(output.bytes for take in takes for output in take.outputs)
        values = {"finished_takes": [take.stored() for take in takes], "output_bytes": stored}
        return self._write(job_id, attempt, values)

    def record_outputs(self, job_id: str, attempt: int, outputs: Sequence[Output]) -> bool:
        """Publish outputs of the running job; its end replaces them by all."""
        return self._write(job_id, attempt, _published(outputs))

    def record_warnings(self, job_id: str, attempt: int, warnings: Sequence[JobWarning]) -> bool:
        """Replace the warnings of the job by these."""
        return self._write(job_id, attempt, {"warnings": [asdict(each) for each in warnings]})

    def record_watermark(self, job_id: str, attempt: int, watermark: str) -> bool:
        """Record the id in the outputs of the job, 16 hex digits."""
        return self._write(job_id, attempt, {"watermark": watermark})

    def succeed(self, job_id: str, attempt: int, outputs: Sequence[Output]) -> bool:
        """Publish the outputs and end the job, in one write."""
        done = {
            "stage": "publish",
            "stage_progress": 1.0,
            "progress": 1.0,
            **_published(outputs),
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
        cause: str = "internal_error",
        pause_seconds: float = 0.0,
        most: int | None = None,
    ) -> bool:
        """Return the job to the queue.

        cause: short reason for metrics, such as `shutdown`; replaced by a `code` of a failure.

        An attempt that `counts` has failed, and the last allowed one ends the job with `reason`
        and `code`. An attempt that does not count (a shutdown of the worker) is allowed again.

        pause_seconds: the job is not claimed for so long; twice as long with each further setback,
        up to a minute. most: setbacks after which an attempt ends the job although it does not
        count.
        """
        held = sa.select(jobs).where(_holding(job_id, attempt)).with_for_update()
        with writing(self._engine) as connection:
            row = connection.execute(held).mappings().first()
            if row is None:
                return False
            cause = cause if code == EXHAUSTED else code
            setback = Setback(reason, counts, code, pause_seconds, most, cause)
            self._requeue(connection, row, setback)
            return True

    def reap(self, may_requeue: Callable[[datetime], bool] = lambda now: True) -> list[str]:
        """Cancel jobs whose time has passed, and requeue those with an expired lease.

        may_requeue: called in the transaction; False leaves expired leases alone in this round.
        Returns the ids of queued jobs to announce now.

        Any number of processes may call this at any rate: an expired attempt is requeued once, and
        a queued job is returned once in `wake_seconds`.
        """
        with writing(self._engine) as connection:
            now = self._clock()  # after the wait for other writers, which renew leases
            cancel_overdue(connection, now)
            for row in self._expired(connection, now) if may_requeue(now) else ():
                reason = f"the worker of attempt {row['attempt']} stopped without a result"
                self._requeue(connection, row, Setback(reason, cause=job_events.EXPIRED))
            return self._unannounced(connection, now)

    def any_expired(self) -> bool:
        """Return whether a running job has an expired lease."""
        with reading(self._engine) as connection:
            expired = sa.select(jobs.c.id).where(self._has_expired(self._clock())).limit(1)
            return connection.execute(expired).first() is not None

    def record_usage(self, job_id: str, attempt: int, usage: Usage) -> bool:
        """Record the device time of the job; also after its end, but not in a later attempt."""
        this = sa.and_(jobs.c.id == job_id, jobs.c.attempt == attempt)
        values = {
            "device": usage.device,
            "device_seconds": usage.device_seconds,
            "cost": usage.cost,
            "currency": usage.currency,
        }
        with writing(self._engine) as connection:
            return update_job(connection, this, values)

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

    def _has_expired(self, now: datetime) -> ColumnElement[bool]:
        """Condition: the lease has ended, or ends so late that the clock was put back.

        The limit is two leases, because a renewal waits for other writers after it read the clock.
        """
        longest = timedelta(seconds=2 * abs(self.lease_seconds))
        ended = sa.or_(jobs.c.lease_until < now, jobs.c.lease_until > now + longest)
        return sa.and_(jobs.c.state == State.RUNNING, ended)

    def _expired(self, connection: Connection, now: datetime) -> Sequence[RowMapping]:
        expired = (
            sa.select(jobs)
            .where(self._has_expired(now))
            .order_by(*IN_ITS_QUEUE)
            .with_for_update(skip_locked=True)
        )
        return connection.execute(expired).mappings().all()

    def _requeue(self, connection: Connection, row: RowMapping, setback: Setback) -> None:
        now = self._clock()
        after_commit(connection, partial(job_events.attempt_lost, setback.cause))
        allowed = row["max_attempts"] + (0 if setback.counts else 1)
        values: dict[str, Any] = {"max_attempts": allowed, "error_detail": setback.reason}
        holding = _holding(row["id"], row["attempt"])
        if row["attempt"] >= allowed or setback.is_last(row["setbacks"]):
            tries = "1 attempt" if row["attempt"] == 1 else f"{row['attempt']} attempts"
            values |= {
                "error_code": setback.code,
                "error_detail": f"The job did not end in {tries}; the last: {setback.reason}.",
            }
            end_job(connection, row["id"], State.FAILED, now, where=holding, values=values)
            return
        long_ago = now - timedelta(seconds=2 * self._wake_seconds)
        queued = {
            **NOT_IN_WORK,
            "state": State.QUEUED,
            "woken_at": long_ago,
            "not_before": setback.not_before(row["setbacks"], now),
            "setbacks": row["setbacks"] + bool(setback.pause_seconds),
        }
        update_job(connection, holding, values | queued)
        after_commit(connection, partial(job_events.requeued, row, setback.reason, setback.cause))

    def _unannounced(self, connection: Connection, now: datetime) -> list[str]:
        pause = timedelta(seconds=self._wake_seconds)
        # A time in the far future was written before the clock was put back.
        silent = sa.or_(jobs.c.woken_at <= now - pause, jobs.c.woken_at > now + pause)
        waiting = (
            sa.select(jobs.c.id)
            .where(jobs.c.state == State.QUEUED, silent)
            .order_by(*IN_ITS_QUEUE)
            .limit(WAKES_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        ids = list(connection.execute(waiting).scalars())
        if ids:
            connection.execute(jobs.update().where(jobs.c.id.in_(ids)).values(woken_at=now))
        return ids


def _published(outputs: Sequence[Output]) -> dict[str, Any]:
    return {
        "outputs": [output.stored() for output in outputs],
        "output_bytes": sum(output.bytes for output in outputs),
    }


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
