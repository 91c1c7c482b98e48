"""The truth about jobs: one row each, written by compare-and-set on state and attempt."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from jobs.db.clock import clock_of
from jobs.db.engine import connect, reading, writing
from jobs.db.tables import jobs
from jobs.model import FinishedTake, Job, JobStatus, Output, State, utc_now
from jobs.request.model import JobRequest
from jobs.stages import overall_progress
from jobs.store import batches, retention
from jobs.store import deletions as removals
from jobs.store import idempotency as one_job
from jobs.store import periodic_tasks as chores
from jobs.store.fair_share import IN_ITS_QUEUE, select_next, select_places
from jobs.store.idempotency import IdempotencyConflict, IdempotencyKey
from jobs.store.pagination import JobFilter, page_of, select_page
from jobs.store.queue_positions import PositionCache
from jobs.store.quotas import (
    Quota,
    charge_seconds,
    check_bytes,
    check_jobs,
    default_quota,
    hold_to_quota,
)
from jobs.webhooks import outbox as deliveries

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Engine, RowMapping

    from jobs.model import Clock, NewJob
    from jobs.settings import Settings
    from jobs.storage.factory import StoredObject
    from jobs.store.batches import Batch, NewBatch
    from jobs.store.deletions import Deletion
    from jobs.store.pagination import Page
    from jobs.store.periodic_tasks import PeriodicTask
    from jobs.store.retention import Expired

ALL = JobFilter()
WAKES_AT_ONCE = 8  # one wake-up makes a worker empty the queue, so a few are plenty
ASKED_AT_ONCE = 500  # ids in one statement
EXHAUSTED = "attempts_exhausted"  # the code of a job whose last attempt was lost
# Columns that only the store looks at.
BESIDE_THE_JOB = ("woken_at", "person", "input_bytes", "output_bytes")
NOT_IN_WORK: dict[str, Any] = {
    "worker": None,
    "lease_until": None,
    "stage": "queued",
    "stage_progress": 0.0,
    "progress": 0.0,
}


class JobMissing(LookupError):
    """No job has this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id}")
        self.job_id = job_id


@dataclass(frozen=True)
class StoreConfig:
    """The times and counts that a store keeps to."""

    lease_seconds: float = 15.0
    wake_seconds: float = 10.0
    max_attempts: int = 3
    quota: Quota = field(default_factory=Quota)  # of each tenant that has none of its own


class Store:
    """Reads and writes job rows.

    Every write of a worker names its attempt. It answers False, and has written nothing, when that
    attempt no longer holds the job: the lease ran out and another has it, or it has ended.

    What owners do names a tenant: another's job is to them as one that is not there. None is
    whoever may see everybody's.
    """

    def __init__(
        self, engine: Engine, config: StoreConfig | None = None, *, clock: Clock = utc_now
    ) -> None:
        self.engine = engine
        self.config = config or StoreConfig()
        self._clock = clock
        self._positions_cache = PositionCache(self._all_places)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def submit(self, new: NewJob, *, once: IdempotencyKey | None = None) -> Job:
        """Queue a job.

        KeyTaken where the key of `once` has a job: see `made_by`. QuotaExceeded where that would
        be more than the tenant may have.
        """
        now = self._clock()
        try:
            with writing(self.engine) as connection:
                self._queue(connection, [new], now)
                if once is not None:
                    one_job.keep(connection, once, new.id, now)
                return _read(connection, new.id)
        except IntegrityError as error:
            if once is None:
                raise
            raise IdempotencyConflict from error

    def submit_batch(self, batch: NewBatch, of: Sequence[NewJob]) -> Batch:
        """Queue all of these jobs, or none: see `submit`. KeyTaken as `Batches.made_by` tells."""
        now = self._clock()
        try:
            with writing(self.engine) as connection:
                batches.add(connection, batch, len(of), now)
                self._queue(connection, of, now)
                return batches.read(connection, batch.id, batch.tenant)
        except IntegrityError as error:
            if batch.once is None:
                raise
            raise IdempotencyConflict from error

    def cancel_batch(self, batch_id: str, *, tenant: str | None = None) -> int:
        """End those of its jobs that are queued or running; answers how many."""
        unended = jobs.c.state.in_([State.QUEUED, State.RUNNING])
        with writing(self.engine) as connection:
            batches.read(connection, batch_id, tenant)
            mine = sa.select(jobs.c.id).where(jobs.c.batch_id == batch_id, unended)
            ids = list(connection.execute(mine).scalars())
            ended = [
                self._end(connection, sa.and_(jobs.c.id == each, unended), each, State.CANCELED, {})
                for each in ids
            ]
        return sum(ended)

    def _queue(self, connection: Connection, of: Sequence[NewJob], now: datetime) -> None:
        """Jobs of one tenant, who is held to its quota."""
        tenant = of[0].tenant
        quota = hold_to_quota(connection, tenant, self.config.quota)
        connection.execute(jobs.insert(), [self._row(new, now) for new in of])
        check_jobs(connection, tenant, quota, len(of))
        charge_seconds(connection, tenant, quota, sum(new.clip_seconds for new in of), now)
        check_bytes(connection, tenant, quota, sum(new.input_bytes for new in of))

    def _row(self, new: NewJob, now: datetime) -> dict[str, Any]:
        return NOT_IN_WORK | {
            "id": new.id,
            "state": State.QUEUED,
            "attempt": 0,
            "max_attempts": self.config.max_attempts,
            "created_at": now,
            "woken_at": now,
            "person": new.request.person,
            "request": new.request.seeded().model_dump(mode="json"),
            "input_key": new.input_key,
            "clip_seconds": new.clip_seconds,
            "tenant": new.tenant,
            "input_bytes": new.input_bytes,
            "priority": new.priority,
            "metadata": dict(new.metadata),
            "callback_url": new.callback_url,
            "motion_key": new.motion.key if new.motion else None,
            "motion_digest": new.motion.digest if new.motion else None,
            "batch_id": new.batch_id,
            "batch_place": new.batch_place,
            "finished_takes": [],
            "outputs": [],
        }

    def made_by(self, once: IdempotencyKey) -> Job | None:
        """The job that this key has made, if any. KeyReused where it stood for another body."""
        with reading(self.engine) as connection:
            job_id = one_job.job_made_by(connection, once)
            return None if job_id is None else _read(connection, job_id)

    def forget_keys(self) -> int:
        """Drop idempotency keys that were kept long enough; answers how many."""
        now = self._clock()
        with writing(self.engine) as connection:
            return one_job.forget(connection, now)

    def get(self, job_id: str, *, tenant: str | None = None) -> Job:
        """The job as it stands. JobMissing where there is none."""
        with reading(self.engine) as connection:
            return _read(connection, job_id, tenant)

    def page(self, wanted: JobFilter = ALL, *, limit: int = 20, cursor: str | None = None) -> Page:
        """The newest jobs that are wanted, newest first, after those of an earlier page's cursor.

        CursorError where `cursor` is none.
        """
        newest = select_page(wanted, limit=limit, cursor=cursor)
        with reading(self.engine) as connection:
            found = [_job(row) for row in connection.execute(newest).mappings()]
        return page_of(found, limit=limit)

    def recent(self, *, limit: int = 20) -> list[Job]:
        """The newest jobs, newest first."""
        return self.page(limit=limit).jobs

    def position(self, job_id: str) -> int | None:
        """1 for the queued job that is claimed next, 2 for the one after it; None if not queued."""
        return self.positions([job_id]).get(job_id)

    def positions(self, job_ids: Collection[str]) -> dict[str, int]:
        """The places of those of these jobs that are queued; of a moment ago, in a long queue."""
        return self._positions_cache.of(job_ids)

    def statuses(self, job_ids: Collection[str]) -> dict[str, JobStatus]:
        """How these jobs stand; those that are not there are left out."""
        asked = list(job_ids)
        found: dict[str, JobStatus] = {}
        with reading(self.engine) as connection:
            for start in range(0, len(asked), ASKED_AT_ONCE):
                found |= _statuses(connection, asked[start : start + ASKED_AT_ONCE])
        return found

    def claim(self, worker: str) -> Job | None:
        """Take the next queued job for `worker`, as its next attempt; None when none is queued."""
        with writing(self.engine) as connection:
            next_one = select_next()
            while (candidate := connection.execute(next_one).mappings().first()) is not None:
                if _set(connection, _unclaimed(candidate), self._claimed_by(worker, candidate)):
                    return _read(connection, candidate["id"])
        return None

    def renew(self, job_id: str, attempt: int) -> bool:
        """Hold the job for another lease."""
        return self._write(job_id, attempt, {"lease_until": self._lease_end()})

    def progress(self, job_id: str, attempt: int, stage: str, fraction: float) -> bool:
        """Tell how far the attempt is: `fraction` 0..1 of `stage`, one of `STAGES`."""
        return self._write(
            job_id,
            attempt,
            {
                "stage": stage,
                "stage_progress": min(max(fraction, 0.0), 1.0),
                "progress": overall_progress(stage, fraction),
            },
        )

    def checkpoint(self, job_id: str, attempt: int, *, motion_key: str, digest: str) -> bool:
        """Keep the motion for later attempts; `digest` is from `jobs.request.model.motion_digest`."""
        return self._write(job_id, attempt, {"motion_key": motion_key, "motion_digest": digest})

    def keep_takes(self, job_id: str, attempt: int, takes: Sequence[FinishedTake]) -> bool:
        """Keep all takes that are finished for later attempts, which may publish them as theirs."""
        return self._write(job_id, attempt, {"finished_takes": [asdict(take) for take in takes]})

    def succeed(self, job_id: str, attempt: int, outputs: Sequence[Output]) -> bool:
        """Publish the outputs: the one write that makes them the job's."""
        done = {
            "stage": "publish",
            "stage_progress": 1.0,
            "progress": 1.0,
            "outputs": [asdict(output) for output in outputs],
            "output_bytes": sum(output.bytes for output in outputs),
            "error_code": None,
            "error_detail": None,
        }
        with writing(self.engine) as connection:
            holding = _holding(job_id, attempt)
            return self._end(connection, holding, job_id, State.SUCCEEDED, done)

    def fail(self, job_id: str, attempt: int, code: str, reason: str) -> bool:
        """End the job with a sentence that its owner reads."""
        error = {"error_code": code, "error_detail": reason}
        with writing(self.engine) as connection:
            return self._end(connection, _holding(job_id, attempt), job_id, State.FAILED, error)

    def cancel(self, job_id: str, *, tenant: str | None = None) -> bool:
        """End a job that is queued or running; its worker finds out at its next write.

        False where there is nothing to cancel: no such job, or it has ended.
        """
        unended = sa.and_(_owned(job_id, tenant), jobs.c.state.in_([State.QUEUED, State.RUNNING]))
        with writing(self.engine) as connection:
            return self._end(connection, unended, job_id, State.CANCELED, {})

    def retry(self, job_id: str, *, tenant: str | None = None) -> bool:
        """Queue a failed or canceled job again, with as many attempts as a new one has.

        It is the same row: the motion that was drawn is kept, and attempts are counted on, so that
        a worker that is still stopping writes nothing. False where the job is in another state,
        QuotaExceeded where its tenant has too many in flight.
        """
        now = self._clock()
        again = NOT_IN_WORK | {
            "state": State.QUEUED,
            "max_attempts": jobs.c.attempt + self.config.max_attempts,
            "woken_at": now,
            "started_at": None,
            "finished_at": None,
            "outputs_expired_at": None,
            "error_code": None,
            "error_detail": None,
        }
        ended = sa.and_(
            _owned(job_id, tenant),
            jobs.c.state.in_([State.FAILED, State.CANCELED]),
            jobs.c.input_expired_at.is_(None),
        )
        with writing(self.engine) as connection:
            owner = connection.execute(sa.select(jobs.c.tenant).where(ended)).scalar()
            if owner is None:
                return False
            quota = hold_to_quota(connection, owner, self.config.quota)
            queued = _set(connection, ended, again)
            check_jobs(connection, owner, quota, 1)
            return queued

    def delete(self, job_id: str, *, tenant: str | None = None) -> Deletion:
        """Forget the job, whatever its state: its worker finds out at its next write.

        The objects are the caller's to remove, and then to say so by `removed`; where that fails,
        or a worker that is still stopping stores more, the reaper does it again.
        """
        with writing(self.engine) as connection:
            this = _owned(job_id, tenant)
            attempts = sa.select(jobs.c.attempt).where(this).with_for_update()
            attempt = connection.execute(attempts).scalar()
            if attempt is None:
                raise JobMissing(job_id)
            connection.execute(jobs.delete().where(this))
            return removals.note(connection, job_id, self._clock(), written=attempt > 0)

    def due_removals(self) -> list[Deletion]:
        """Deleted jobs whose objects have to be removed now; nobody else is told for a while."""
        now = self._clock()
        with writing(self.engine) as connection:
            return removals.take_due(connection, now)

    def removed(self, removal: Deletion) -> None:
        """Tell that the objects of a deleted job were removed; harmless when said twice."""
        with writing(self.engine) as connection:
            removals.finish_round(connection, removal)

    def expire_inputs(self, kept: timedelta) -> list[Expired]:
        """Give up clips of jobs that ended so long ago; the objects are the caller's to remove."""
        now = self._clock()
        with writing(self.engine) as connection:
            return retention.expire_inputs(connection, now - kept, now)

    def expire_outputs(self, kept: timedelta) -> list[Expired]:
        """Give up what jobs have made that ended so long ago, as by `expire_inputs`."""
        now = self._clock()
        with writing(self.engine) as connection:
            return retention.expire_outputs(connection, now - kept, now)

    def expire_jobs(self, kept: timedelta) -> list[Deletion]:
        """Forget jobs that ended so long ago, as by `delete`."""
        now = self._clock()
        with writing(self.engine) as connection:
            return retention.expire_jobs(connection, now - kept, now)

    def leftovers(
        self, found: Sequence[StoredObject], kept: timedelta, *, strangers: bool
    ) -> list[str]:
        """Keys of those of these objects that nobody will ask for: see `retention.leftovers`."""
        now = self._clock()
        with writing(self.engine) as connection:
            return retention.leftovers(connection, found, now - kept, strangers=strangers)

    def acquire_task(self, name: str) -> PeriodicTask | None:
        """The chore, when it is due and nobody is at it."""
        now = self._clock()
        with writing(self.engine) as connection:
            return chores.take(connection, name, now)

    def release_task(self, chore: PeriodicTask, place: str | None, later: timedelta) -> None:
        """How far the chore is, and when it is due again; None: from the beginning."""
        now = self._clock()
        with writing(self.engine) as connection:
            chores.release_task(connection, chore, place, now + later)

    def identity(self) -> str:
        """A word that this database and no other has."""
        with writing(self.engine) as connection:
            return chores.identity_of(connection)

    def release(
        self,
        job_id: str,
        attempt: int,
        reason: str,
        *,
        counts: bool = True,
        code: str = EXHAUSTED,
    ) -> bool:
        """Put the job back into the queue.

        An attempt that `counts` was a failure, and the last one allowed ends the job with `reason`
        and `code`. One that does not (the worker is asked to leave) is given to the job again.
        """
        with writing(self.engine) as connection:
            row = _held(connection, job_id, attempt)
            if row is None:
                return False
            self._hand_back(connection, row, reason, counts=counts, code=code)
            return True

    def reap(self) -> list[str]:
        """Put back what has lost its worker; answers the jobs that need a wake-up now.

        Any number of processes may do this as often as they like: each expired attempt is taken
        back once, and each queued job is announced once in `wake_seconds`.
        """
        now = self._clock()
        with writing(self.engine) as connection:
            for row in _expired(connection, now):
                reason = f"attempt {row['attempt']} ended without a word from its worker"
                self._hand_back(connection, row, reason, counts=True, code=EXHAUSTED)
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

    def _all_places(self) -> dict[str, int]:
        with reading(self.engine) as connection:
            return _positions(connection)

    def _lease_end(self) -> datetime:
        return self._clock() + timedelta(seconds=self.config.lease_seconds)

    def _write(self, job_id: str, attempt: int, values: dict[str, Any]) -> bool:
        with writing(self.engine) as connection:
            return _set(connection, _holding(job_id, attempt), values)

    def _end(
        self,
        connection: Connection,
        where: ColumnElement[bool],
        job_id: str,
        state: State,
        values: dict[str, Any],
    ) -> bool:
        """The one way to a final state: the end and what has to be told of it, together."""
        now = self._clock()
        ended = {"state": state, "finished_at": now, "lease_until": None}
        if not _set(connection, where, values | ended):
            return False
        deliveries.note_end(connection, _read(connection, job_id), now)
        return True

    def _hand_back(
        self, connection: Connection, row: RowMapping, reason: str, *, counts: bool, code: str
    ) -> None:
        allowed = row["max_attempts"] + (0 if counts else 1)
        values: dict[str, Any] = {"max_attempts": allowed, "error_detail": reason}
        holding = _holding(row["id"], row["attempt"])
        if row["attempt"] >= allowed:
            tries = "1 attempt" if row["attempt"] == 1 else f"{row['attempt']} attempts"
            values |= {
                "error_code": code,
                "error_detail": f"The job did not end in {tries}; the last: {reason}.",
            }
            self._end(connection, holding, row["id"], State.FAILED, values)
            return
        long_ago = self._clock() - timedelta(seconds=2 * self.config.wake_seconds)
        values |= NOT_IN_WORK | {"state": State.QUEUED, "woken_at": long_ago}
        _set(connection, holding, values)

    def _unannounced(self, connection: Connection, now: datetime) -> list[str]:
        silent_since = now - timedelta(seconds=self.config.wake_seconds)
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


def open_store(settings: Settings) -> Store:
    """The store that `settings` name. The caller closes it."""
    config = StoreConfig(
        lease_seconds=settings.lease_seconds,
        wake_seconds=settings.wake_seconds,
        max_attempts=settings.max_attempts,
        quota=default_quota(settings),
    )
    engine = connect(settings.database_url)
    return Store(engine, config, clock=clock_of(engine))


def _owned(job_id: str, tenant: str | None) -> ColumnElement[bool]:
    """The row, where it is this tenant's."""
    this = jobs.c.id == job_id
    return this if tenant is None else sa.and_(this, jobs.c.tenant == tenant)


def _holding(job_id: str, attempt: int) -> ColumnElement[bool]:
    """The row, while this attempt holds it."""
    return sa.and_(jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.state == State.RUNNING)


def _unclaimed(candidate: RowMapping) -> ColumnElement[bool]:
    return sa.and_(
        jobs.c.id == candidate["id"],
        jobs.c.attempt == candidate["attempt"],
        jobs.c.state == State.QUEUED,
    )


def _set(connection: Connection, where: ColumnElement[bool], values: dict[str, Any]) -> bool:
    return connection.execute(jobs.update().where(where).values(values)).rowcount == 1


def _held(connection: Connection, job_id: str, attempt: int) -> RowMapping | None:
    held = sa.select(jobs).where(_holding(job_id, attempt)).with_for_update()
    return connection.execute(held).mappings().first()


def _expired(connection: Connection, now: datetime) -> Sequence[RowMapping]:
    expired = (
        sa.select(jobs)
        .where(jobs.c.state == State.RUNNING, jobs.c.lease_until < now)
        .order_by(*IN_ITS_QUEUE)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(expired).mappings().all()


def _positions(connection: Connection, job_ids: Collection[str] | None = None) -> dict[str, int]:
    """The places of these jobs, or of all that are queued."""
    return {row.id: row.place for row in connection.execute(select_places(job_ids))}


def _statuses(connection: Connection, job_ids: Collection[str]) -> dict[str, JobStatus]:
    columns = (jobs.c.id, jobs.c.state, jobs.c.attempt, jobs.c.stage, jobs.c.stage_progress)
    rows = connection.execute(sa.select(*columns).where(jobs.c.id.in_(job_ids))).all()
    queued = [row.id for row in rows if row.state == State.QUEUED]
    places = _positions(connection, queued) if queued else {}
    return {
        row.id: JobStatus(
            State(row.state), row.attempt, row.stage, row.stage_progress, places.get(row.id)
        )
        for row in rows
    }


def _read(connection: Connection, job_id: str, tenant: str | None = None) -> Job:
    owned = sa.select(jobs).where(_owned(job_id, tenant))
    row = connection.execute(owned).mappings().first()
    if row is None:
        raise JobMissing(job_id)
    return _job(row)


def _job(row: RowMapping) -> Job:
    columns = {name: value for name, value in row.items() if name not in BESIDE_THE_JOB}
    columns["state"] = State(row["state"])
    columns["request"] = JobRequest.model_validate(row["request"])
    columns["outputs"] = _outputs(row["outputs"])
    columns["finished_takes"] = tuple(
        FinishedTake(take["take"], take["digest"], _outputs(take["outputs"]))
        for take in row["finished_takes"]
    )
    return Job(**columns)


def _outputs(stored: Sequence[Mapping[str, Any]]) -> tuple[Output, ...]:
    return tuple(Output(**output) for output in stored)
