"""Idempotency keys: one job per key; a key expires a day after its job has ended."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from jobs.database import Database
from jobs.db.engine import reading
from jobs.db.tables import idempotency_keys
from jobs.model import Job, NewJob, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from jobs.store.idempotency import (
    IdempotencyConflict,
    IdempotencyKey,
    IdempotencyKeyReused,
    request_digest,
)
from tests.clock import Clock
from tests.jobs.rows import VIDEO, claim

HOUR = 3600
KEY = IdempotencyKey("order-17", "d" * 64)


def submit_with_key(database: Database, key: IdempotencyKey = KEY) -> Job:
    job_id = new_job_id()
    clip = input_key(job_id, "wav")
    return database.jobs.submit(
        NewJob(job_id, GenerateRequest(), input_key=clip, clip_seconds=1), key=key
    )


def count_keys(database: Database) -> int:
    with reading(database.engine) as connection:
        count = sa.select(sa.func.count()).select_from(idempotency_keys)
        return int(connection.execute(count).scalar_one())


def test_a_key_returns_its_job(database: Database) -> None:
    assert database.idempotency_keys.made_by(KEY) is None

    job = submit_with_key(database)

    assert database.idempotency_keys.made_by(KEY) == job
    assert database.idempotency_keys.made_by(IdempotencyKey("order-18", KEY.digest)) is None


def test_a_key_with_another_body_is_rejected(database: Database) -> None:
    submit_with_key(database)

    with pytest.raises(IdempotencyKeyReused, match="order-17"):
        database.idempotency_keys.made_by(IdempotencyKey(KEY.key, "e" * 64))


def test_two_tenants_can_use_the_same_key(database: Database) -> None:
    first = submit_with_key(database)
    theirs = IdempotencyKey(KEY.key, "e" * 64, tenant="acme")
    assert database.idempotency_keys.made_by(theirs) is None

    second = submit_with_key(database, theirs)

    assert (database.idempotency_keys.made_by(KEY), database.idempotency_keys.made_by(theirs)) == (
        first,
        second,
    )


def test_a_second_job_with_the_same_key_is_rolled_back(database: Database) -> None:
    job = submit_with_key(database)

    with pytest.raises(IdempotencyConflict):
        submit_with_key(database)

    assert database.jobs.page().jobs == [job]


def test_concurrent_requests_create_one_job(database: Database) -> None:
    start = threading.Barrier(6)

    def request(_: int) -> str:
        start.wait()
        try:
            return submit_with_key(database).id
        except IdempotencyConflict:
            made = database.idempotency_keys.made_by(KEY)
            assert made is not None
            return made.id

    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(request, range(6)))

    assert answers == {job.id for job in database.jobs.page().jobs}
    assert len(answers) == 1


def test_a_key_is_kept_for_a_day_after_the_end_of_its_job(database: Database, clock: Clock) -> None:
    job = submit_with_key(database)
    clock.advance(70 * HOUR)
    assert database.idempotency_keys.delete_expired() == 0
    claim(database)
    database.attempts.succeed(job.id, 1, [VIDEO])

    for _ in range(23):
        clock.advance(HOUR)
        assert database.idempotency_keys.delete_expired() == 0
    assert database.idempotency_keys.made_by(KEY) is not None
    clock.advance(HOUR + 1)

    assert database.idempotency_keys.delete_expired() == 1
    assert database.idempotency_keys.delete_expired() == 0
    assert database.idempotency_keys.made_by(KEY) is None
    assert submit_with_key(database).id != job.id


def test_a_key_does_not_expire_while_its_job_waits(database: Database, clock: Clock) -> None:
    submit_with_key(database)

    for _ in range(30):
        clock.advance(24 * HOUR)
        assert database.idempotency_keys.delete_expired() == 0

    assert database.idempotency_keys.made_by(KEY) is not None


def test_a_key_is_deleted_with_its_job(database: Database) -> None:
    database.jobs.delete(submit_with_key(database).id)

    assert database.idempotency_keys.made_by(KEY) is None
    assert count_keys(database) == 0


def test_many_keys_are_deleted_in_batches(database: Database, clock: Clock) -> None:
    for number in range(105):
        database.jobs.cancel(submit_with_key(database, IdempotencyKey(f"k{number}", "d" * 64)).id)
    clock.advance(25 * HOUR)

    assert [database.idempotency_keys.delete_expired() for _ in range(3)] == [100, 5, 0]
    assert count_keys(database) == 0


def test_the_digest_depends_on_fields_and_audio() -> None:
    def digest(audio: str, **fields: object) -> str:
        request = GenerateRequest.model_validate(fields)
        return request_digest(request.model_dump(exclude_defaults=True), audio)

    assert digest("a1") == digest("a1", takes=1, person="demo")
    assert digest("a1", size="256") == digest("a1", size="256x256")
    assert len({digest("a1"), digest("b2"), digest("a1", takes=2), digest("a1", seed=1)}) == 4
