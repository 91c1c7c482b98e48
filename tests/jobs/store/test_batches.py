"""Batches: submitted all or none, owned by a tenant, one per idempotency key."""

import pytest

from jobs.database import Database
from jobs.model import NewJob, State, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from jobs.store.batches import BatchMissing, BatchStore, NewBatch
from jobs.store.idempotency import IdempotencyConflict, IdempotencyKey, IdempotencyKeyReused
from jobs.store.quotas import QuotaExceeded
from jobs.webhooks.outbox import Outbox
from tests.jobs.rows import VIDEO, claim


@pytest.fixture
def batches(database: Database) -> BatchStore:
    return database.batches


def new_jobs(batch: NewBatch, count: int, callback_url: str | None = None) -> list[NewJob]:
    ids = sorted(new_job_id() for _ in range(count))
    return [
        NewJob(
            each,
            GenerateRequest(),
            input_key=input_key(each, "wav"),
            clip_seconds=1.0,
            tenant=batch.tenant,
            callback_url=callback_url,
            batch_id=batch.id,
            batch_place=place,
        )
        for place, each in enumerate(ids, 1)
    ]


def send(
    database: Database, count: int, *, key: IdempotencyKey | None = None, tenant: str = "acme"
) -> NewBatch:
    batch = NewBatch(new_job_id(), tenant, key)
    database.batches.submit(batch, new_jobs(batch, count))
    return batch


def test_the_jobs_of_a_batch_are_claimed_in_their_order(
    database: Database, batches: BatchStore
) -> None:
    batch = send(database, 3)

    assert batches.get(batch.id, tenant="acme").size == 3
    items = batches.items(batch.id)
    assert [item.place for item in items] == [1, 2, 3]
    assert [claim(database).id for _ in items] == [item.job_id for item in items]
    assert {item.state for item in batches.items(batch.id)} == {State.RUNNING}


def test_a_batch_beyond_the_quota_is_rolled_back(database: Database, batches: BatchStore) -> None:
    database.tenants.set_own("acme", {"jobs_in_flight": 2})
    batch = NewBatch(new_job_id(), "acme")

    with pytest.raises(QuotaExceeded):
        database.batches.submit(batch, new_jobs(batch, 3))

    assert database.jobs.page().jobs == []
    with pytest.raises(BatchMissing, match=batch.id):
        batches.get(batch.id)


def test_canceling_a_batch_queues_a_webhook_for_each_ended_job(
    database: Database, batches: BatchStore
) -> None:
    batch = NewBatch(new_job_id(), "acme")
    new = new_jobs(batch, 3, "https://hooks.example/end")
    database.batches.submit(batch, new)
    done, running = claim(database), claim(database)
    database.attempts.succeed(done.id, 1, [VIDEO])

    assert database.batches.cancel(batch.id, tenant="acme") == 2
    assert database.batches.cancel(batch.id, tenant="acme") == 0

    states = [item.state for item in batches.items(batch.id)]
    assert states == [State.SUCCEEDED, State.CANCELED, State.CANCELED]
    assert not database.attempts.renew(running.id, 1)
    outbox = Outbox(database.engine)
    types = [delivery.type for job in new for delivery in outbox.of_job(job.id)]
    assert types == ["job.succeeded", "job.canceled", "job.canceled"]


def test_a_batch_is_invisible_to_other_tenants(database: Database, batches: BatchStore) -> None:
    batch = send(database, 1)

    with pytest.raises(BatchMissing):
        batches.get(batch.id, tenant="rival")
    with pytest.raises(BatchMissing):
        database.batches.cancel(batch.id, tenant="rival")
    assert batches.items(batch.id)[0].state is State.QUEUED


def test_one_key_creates_one_batch(database: Database, batches: BatchStore) -> None:
    key = IdempotencyKey("key-1", "digest-1", "acme")
    first = send(database, 2, key=key)

    with pytest.raises(IdempotencyConflict):
        send(database, 2, key=key)

    made = batches.made_by(key)
    assert made is not None
    assert made.id == first.id
    assert len(database.jobs.page().jobs) == 2  # the second batch was rolled back
    with pytest.raises(IdempotencyKeyReused):
        batches.made_by(IdempotencyKey("key-1", "digest-2", "acme"))
    assert batches.made_by(IdempotencyKey("key-1", "digest-1", "rival")) is None
    send(database, 1, key=IdempotencyKey("key-1", "digest-1", "rival"), tenant="rival")
