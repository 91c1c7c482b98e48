"""One job for one key: the database refuses the second, and forgets the key a day after the end."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

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
from jobs.store.jobs import Store
from tests.clock import Clock
from tests.jobs.rows import VIDEO, claim

HOUR = 3600
ONCE = IdempotencyKey("order-17", "d" * 64)


def submit_once(store: Store, once: IdempotencyKey = ONCE) -> Job:
    job_id = new_job_id()
    key = input_key(job_id, "wav")
    return store.submit(NewJob(job_id, GenerateRequest(), input_key=key, clip_seconds=1), once=once)


def keys(store: Store) -> int:
    with reading(store.engine) as connection:
        count = sa.select(sa.func.count()).select_from(idempotency_keys)
        return int(connection.execute(count).scalar_one())


def test_a_key_leads_to_its_job(store: Store) -> None:
    assert store.made_by(ONCE) is None

    job = submit_once(store)

    assert store.made_by(ONCE) == job
    assert store.made_by(IdempotencyKey("order-18", ONCE.digest)) is None


def test_a_key_with_another_body_is_refused(store: Store) -> None:
    submit_once(store)

    with pytest.raises(IdempotencyKeyReused, match="order-17"):
        store.made_by(IdempotencyKey(ONCE.key, "e" * 64))


def test_two_tenants_may_use_the_same_key(store: Store) -> None:
    first = submit_once(store)
    theirs = IdempotencyKey(ONCE.key, "e" * 64, tenant="acme")
    assert store.made_by(theirs) is None

    second = submit_once(store, theirs)

    assert (store.made_by(ONCE), store.made_by(theirs)) == (first, second)


def test_a_second_job_of_a_key_leaves_no_trace(store: Store) -> None:
    job = submit_once(store)

    with pytest.raises(IdempotencyConflict):
        submit_once(store)

    assert store.recent() == [job]


def test_requests_that_race_make_one_job(store: Store) -> None:
    start = threading.Barrier(6)

    def ask(_: int) -> str:
        start.wait()
        try:
            return submit_once(store).id
        except IdempotencyConflict:
            made = store.made_by(ONCE)
            assert made is not None
            return made.id

    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(ask, range(6)))

    assert answers == {job.id for job in store.recent()}
    assert len(answers) == 1


def test_a_key_is_kept_for_a_day_beyond_the_end_of_its_job(store: Store, clock: Clock) -> None:
    job = submit_once(store)
    clock.advance(70 * HOUR)
    assert store.forget_keys() == 0
    claim(store)
    store.succeed(job.id, 1, [VIDEO])

    for _ in range(23):
        clock.advance(HOUR)
        assert store.forget_keys() == 0
    assert store.made_by(ONCE) is not None
    clock.advance(HOUR + 1)

    assert store.forget_keys() == 1
    assert store.forget_keys() == 0
    assert store.made_by(ONCE) is None
    assert submit_once(store).id != job.id


def test_a_key_is_not_forgotten_while_its_job_waits(store: Store, clock: Clock) -> None:
    submit_once(store)

    for _ in range(30):
        clock.advance(24 * HOUR)
        assert store.forget_keys() == 0

    assert store.made_by(ONCE) is not None


def test_a_deleted_job_takes_its_key_along(store: Store) -> None:
    store.delete(submit_once(store).id)

    assert store.made_by(ONCE) is None
    assert keys(store) == 0


def test_many_keys_are_forgotten_in_turns(store: Store, clock: Clock) -> None:
    for number in range(105):
        store.cancel(submit_once(store, IdempotencyKey(f"k{number}", "d" * 64)).id)
    clock.advance(25 * HOUR)

    assert [store.forget_keys() for _ in range(3)] == [100, 5, 0]
    assert keys(store) == 0


def test_the_digest_is_of_fields_and_sound() -> None:
    def digest(audio: str, **fields: object) -> str:
        asked = GenerateRequest.model_validate(fields)
        return request_digest(asked.model_dump(exclude_defaults=True), audio)

    assert digest("a1") == digest("a1", takes=1, person="demo")
    assert digest("a1", size="256") == digest("a1", size="256x256")
    assert len({digest("a1"), digest("b2"), digest("a1", takes=2), digest("a1", seed=1)}) == 4
