"""Batches in the store: all or none, whose they are, and one for one key."""

import pytest

from jobs.model import NewJob, State, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from jobs.store.batches import Batches, BatchMissing, NewBatch
from jobs.store.idempotency import IdempotencyConflict, IdempotencyKey, IdempotencyKeyReused
from jobs.store.jobs import Store
from jobs.store.quotas import QuotaExceeded, Tenants
from jobs.webhooks.outbox import Outbox
from tests.jobs.rows import VIDEO, claim


@pytest.fixture
def batches(store: Store) -> Batches:
    return Batches(store.engine)


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
    store: Store, count: int, *, once: IdempotencyKey | None = None, tenant: str = "acme"
) -> NewBatch:
    batch = NewBatch(new_job_id(), tenant, once)
    store.submit_batch(batch, new_jobs(batch, count))
    return batch


def test_a_batch_is_claimed_in_its_order(store: Store, batches: Batches) -> None:
    batch = send(store, 3)

    assert batches.get(batch.id, tenant="acme").size == 3
    items = batches.items(batch.id)
    assert [item.place for item in items] == [1, 2, 3]
    assert [claim(store).id for _ in items] == [item.job_id for item in items]
    assert {item.state for item in batches.items(batch.id)} == {State.RUNNING}


def test_a_batch_beyond_the_quota_leaves_nothing(store: Store, batches: Batches) -> None:
    Tenants(store.engine, store.config.quota).set_own("acme", {"jobs_in_flight": 2})
    batch = NewBatch(new_job_id(), "acme")

    with pytest.raises(QuotaExceeded):
        store.submit_batch(batch, new_jobs(batch, 3))

    assert store.recent() == []
    with pytest.raises(BatchMissing, match=batch.id):
        batches.get(batch.id)


def test_canceling_a_batch_tells_of_each_job_that_ended(store: Store, batches: Batches) -> None:
    batch = NewBatch(new_job_id(), "acme")
    new = new_jobs(batch, 3, "https://hooks.example/end")
    store.submit_batch(batch, new)
    done, running = claim(store), claim(store)
    store.succeed(done.id, 1, [VIDEO])

    assert store.cancel_batch(batch.id, tenant="acme") == 2
    assert store.cancel_batch(batch.id, tenant="acme") == 0

    states = [item.state for item in batches.items(batch.id)]
    assert states == [State.SUCCEEDED, State.CANCELED, State.CANCELED]
    assert not store.renew(running.id, 1)
    outbox = Outbox(store.engine)
    types = [delivery.type for job in new for delivery in outbox.of_job(job.id)]
    assert types == ["job.succeeded", "job.canceled", "job.canceled"]


def test_another_tenant_s_batch_is_none(store: Store, batches: Batches) -> None:
    batch = send(store, 1)

    with pytest.raises(BatchMissing):
        batches.get(batch.id, tenant="rival")
    with pytest.raises(BatchMissing):
        store.cancel_batch(batch.id, tenant="rival")
    assert batches.items(batch.id)[0].state is State.QUEUED


def test_one_key_makes_one_batch(store: Store, batches: Batches) -> None:
    once = IdempotencyKey("key-1", "digest-1", "acme")
    first = send(store, 2, once=once)

    with pytest.raises(IdempotencyConflict):
        send(store, 2, once=once)

    made = batches.made_by(once)
    assert made is not None
    assert made.id == first.id
    assert len(store.recent()) == 2  # nothing of the second
    with pytest.raises(IdempotencyKeyReused):
        batches.made_by(IdempotencyKey("key-1", "digest-2", "acme"))
    assert batches.made_by(IdempotencyKey("key-1", "digest-1", "rival")) is None
    send(store, 1, once=IdempotencyKey("key-1", "digest-1", "rival"), tenant="rival")
