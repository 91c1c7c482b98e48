"""A database and a queue that version 0.1 wrote still work: see version_0_1.py."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobs.database import Database, stores_on
from jobs.db.engine import connect, reading
from jobs.db.identity import database_identity
from jobs.db.migrate import schema_state
from jobs.db.tables import metadata
from jobs.model import FinishedTake, Job, Output, State
from jobs.queue.celery_app import QUEUE, make_celery, wake
from jobs.request.model import GenerateRequest, motion_digest
from jobs.settings import Settings
from jobs.storage import keys
from jobs.store.api_keys import ApiKeyStore, Scope
from jobs.store.idempotency import IdempotencyKey, IdempotencyKeyReused, request_digest
from jobs.store.pagination import JobFilter
from jobs.store.uploads import upload_key
from jobs.webhooks.outbox import DeliveryState
from tests.jobs.db.version_0_1 import FACTS, JOBS, WRITTEN_AT, a_minute_later, load, restore

PERSON_DIGEST = "ab" * 32
FULL: dict[str, Any] = FACTS["motion_digests"][2]["request"]
LATER_FIELDS = {
    "shown": None,
    "person_channel": "left",
    "frame": 0,
    "mesh_rate": 10.0,
    "quality": None,
    "sampler": None,
    "guidance_until": None,
    "expressiveness": 1.0,
    "gestures": 1.0,
    "use": None,
    "watermark": True,
    "both": False,
    "partner_person": None,
    "layout": "side",
    "shading": "fast",
}  # fields of requests that version 0.1 did not have
LATER = ("pauses", "stage_rates")  # tables that version 0.1 did not have


@pytest.fixture
def url(tmp_path: Path) -> str:
    return load(tmp_path / "visavis.db")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = stores_on(connect(url), clock=a_minute_later)
    yield opened
    opened.close()


def job(database: Database, role: str) -> Job:
    return database.jobs.get(JOBS[role])


def test_later_migrations_are_applied(tmp_path: Path, url: str) -> None:
    old, state = schema_state(restore(tmp_path / "old.db")), schema_state(url)

    assert (old.current, old.newer) == ("0012", False)
    expected = [f"{number:04}" for number in range(13, 25)]
    assert [line.split()[0] for line in old.pending] == expected
    assert (state.pending, state.newer) == ((), False)
    assert state.current == expected[-1]


def test_every_table_has_rows_and_every_column_is_read(database: Database) -> None:
    with reading(database.engine) as connection:
        for table in metadata.sorted_tables:
            if table.name in LATER:
                continue
            rows = connection.execute(sa.select(table)).mappings().all()
            assert rows, table.name
            assert set(rows[0]) == {column.name for column in table.columns}


def test_jobs_of_every_state_are_read(database: Database) -> None:
    states = {role: job(database, role).state for role in JOBS if role != "deleted"}

    assert states == {
        "replayed": State.QUEUED,
        "succeeded": State.SUCCEEDED,
        "failed": State.FAILED,
        "canceled": State.CANCELED,
        "expired": State.SUCCEEDED,
        "running": State.RUNNING,
        "render": State.QUEUED,
        "queued": State.QUEUED,
    }
    counted = database.jobs.page(JobFilter(tenant="acme"), limit=20).jobs
    assert len(counted) == len(states) - 1 + 2  # all but the local one, and those of the batch


def test_a_succeeded_job_has_its_request_and_outputs(database: Database) -> None:
    done = job(database, "succeeded")

    assert done.request.model_dump(mode="json") == FULL | LATER_FIELDS
    assert done.outputs == (
        Output("take-1.mp4", f"jobs/{done.id}/attempt-1/take-1.mp4", "video/mp4", 1234),
        Output(
            "motion.npz", f"jobs/{done.id}/attempt-1/motion.npz", "application/octet-stream", 567
        ),
    )
    assert (done.motion_key, done.priority) == (f"jobs/{done.id}/attempt-1/motion.npz", 10)
    assert done.motion_digest == FACTS["motion_digests"][2]["digest"]
    assert dict(done.metadata) == {"order": "Ü-17"}
    assert (done.tenant, done.callback_url) == ("acme", "https://hooks.example/a")
    assert done.finished_at is not None
    assert timedelta() < WRITTEN_AT - done.finished_at < timedelta(seconds=5)


def test_errors_and_expiry_are_read(database: Database) -> None:
    failed, expired = job(database, "failed"), job(database, "expired")

    assert (failed.error_code, failed.error_detail) == ("clip_silent", "The clip is silent.")
    assert None not in (expired.input_expired_at, expired.outputs_expired_at)
    assert job(database, "replayed").request.background == "#aabbcc"


def test_a_render_job_has_its_kept_motion(database: Database) -> None:
    render = job(database, "render")

    assert (render.request.shown, render.request.shows(2)) == ((1, 3), False)
    assert render.motion_key == f"jobs/{render.id}/attempt-0/motion.npz"
    assert render.motion_digest == motion_digest(render.request, PERSON_DIGEST)


def test_a_job_whose_worker_is_gone_goes_on_from_its_motion_and_takes(database: Database) -> None:
    lost = job(database, "running")
    assert (lost.attempt, lost.worker, lost.stage, lost.stage_progress) == (
        1,
        "host-1",
        "render",
        0.5,
    )

    announced = database.attempts.reap()
    again = next(claim for claim in claims(database) if claim.id == lost.id)

    assert lost.id in announced
    assert again.attempt == 2
    digest = motion_digest(again.request, PERSON_DIGEST)
    assert again.motion_digest == digest == FACTS["running_digest"]
    video = Output("take-1.mp4", f"jobs/{lost.id}/attempt-1/take-1.mp4", "video/mp4", 1234)
    assert again.finished_takes == (FinishedTake(1, digest, (video,)),)
    assert not database.attempts.renew(lost.id, 1)
    assert database.attempts.succeed(lost.id, 2, [video])


def claims(database: Database) -> Iterator[Job]:
    while (claimed := database.attempts.claim("worker-1")) is not None:
        yield claimed


def test_queued_jobs_keep_their_order_and_are_claimed(database: Database) -> None:
    positions = database.jobs.positions(FACTS["queue"])
    assert [positions[job_id] for job_id in FACTS["queue"]] == [1, 2, 3, 4, 5]

    assert [claimed.id for claimed in claims(database)] == FACTS["queue"]


def test_a_page_goes_on_from_an_old_cursor(database: Database) -> None:
    page = database.jobs.page(limit=3, cursor=FACTS["cursor"])

    assert [one.id for one in page.jobs] == FACTS["page"]


def test_a_canceled_job_can_be_retried_and_a_failed_one_deleted(database: Database) -> None:
    assert database.jobs.retry(JOBS["canceled"], tenant="acme")
    assert not database.jobs.retry(JOBS["expired"], tenant="acme")
    assert database.jobs.delete(JOBS["failed"]).rounds_left == 4


def test_idempotency_keys_find_their_job_and_batch(database: Database) -> None:
    key, batch_key = IdempotencyKey(**FACTS["key"]), IdempotencyKey(**FACTS["batch"]["key"])

    assert database.idempotency_keys.made_by(key) == job(database, "queued")
    made = database.batches.made_by(batch_key)
    assert made is not None
    assert (made.id, made.size) == (FACTS["batch"]["id"], 2)
    items = database.batches.items(made.id)
    assert [(item.place, item.job_id) for item in items] == list(
        enumerate(FACTS["batch"]["jobs"], 1)
    )
    with pytest.raises(IdempotencyKeyReused):
        database.idempotency_keys.made_by(IdempotencyKey(key.key, "0" * 64, key.tenant))


def test_api_keys_authenticate(database: Database) -> None:
    store: ApiKeyStore = database.api_keys

    key = store.authenticate(FACTS["api_key"]["token"])

    assert key is not None
    assert (key.id, key.tenant, key.name) == (FACTS["api_key"]["id"], "acme", "the website")
    assert key.scopes == {Scope.READ, Scope.WRITE}
    assert store.authenticate(FACTS["api_key"]["revoked_token"]) is None


def test_a_tenant_has_its_quota_and_usage(database: Database) -> None:
    acme, local = database.tenants.all(WRITTEN_AT.date())

    assert (acme.name, local.name) == ("acme", "local")
    assert dict(acme.own) == {"jobs_in_flight": 50, "seconds_a_day": 3600.0}
    assert (acme.usage.jobs_in_flight, acme.usage.seconds_today) == (5, 25.0)
    assert acme.usage.stored_bytes > 100 * 2**20


def test_uploads_are_read(database: Database) -> None:
    ready = database.uploads.get("acme", FACTS["uploads"]["ready"])
    unfinished = database.uploads.get("acme", FACTS["uploads"]["open"])

    assert (ready.ready, ready.container, ready.seconds) == (True, "wav", 2.5)
    assert (unfinished.ready, unfinished.session) == (False, "session-2")
    assert unfinished.sizes == [100 * 2**20, 1]


def test_webhooks_are_sent_and_tried_again(database: Database) -> None:
    (tried,) = database.outbox.of_job(JOBS["succeeded"])
    (waiting,) = database.outbox.of_job(JOBS["failed"])

    assert [tried.id, waiting.id] == [
        *FACTS["deliveries"]["succeeded"],
        *FACTS["deliveries"]["failed"],
    ]
    assert (tried.state, tried.tries, tried.log[0]["status"]) == (DeliveryState.PENDING, 1, 503)
    assert json.loads(waiting.body)["type"] == waiting.type == "job.failed"
    assert {one.id for one in database.outbox.take_due(most=5)} == {tried.id, waiting.id}


def test_removals_periodic_tasks_and_identity_go_on(database: Database) -> None:
    (deletion,) = database.deletions.take_due()
    assert (deletion.job_id, deletion.rounds_left) == (JOBS["deleted"], 4)
    assert database.periodic_tasks.acquire("sweep") is None
    later = stores_on(database.engine, clock=lambda: a_minute_later() + timedelta(hours=1))
    task = later.periodic_tasks.acquire("sweep")
    assert task is not None
    assert task.place == f"jobs/{JOBS['queued']}/input/audio.wav"
    assert database_identity(database.engine) == FACTS["identity"]


@pytest.mark.parametrize("old", FACTS["motion_digests"])
def test_the_digest_of_motion_is_the_same(old: dict[str, Any]) -> None:
    request = GenerateRequest.model_validate(old["request"])

    assert motion_digest(request, old["person_digest"]) == old["digest"]


@pytest.mark.parametrize("old", FACTS["request_digests"])
def test_the_digest_of_a_request_is_the_same(old: dict[str, Any]) -> None:
    assert request_digest(old["fields"], old["audio"]) == old["digest"]


def test_storage_keys_are_the_same() -> None:
    assert {
        "input": keys.input_key("a1", "flac"),
        "attempt": keys.attempt_key("a1", 3, "take-2.webm"),
        "job": keys.job_folder("a1"),
        "inputs": keys.input_folder("a1"),
        "attempts": keys.attempt_folder("a1", 3),
        "upload": upload_key("a1"),
    } == FACTS["keys"]


def test_a_wake_message_has_the_same_form(tmp_path: Path) -> None:
    app = make_celery(Settings(data=tmp_path, broker_url="memory://"))
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        channel._purge(QUEUE)  # the queues of this transport are shared by the whole process
        assert wake(app, JOBS["queued"])
        message = channel._get(QUEUE)
    app.close()

    old = FACTS["wake_message"]
    assert body(message) == body(old)
    assert message["content-type"] == old["content-type"]
    assert message["properties"]["delivery_info"] == old["properties"]["delivery_info"]
    for header in ("task", "lang", "retries", "argsrepr", "kwargsrepr", "ignore_result"):
        assert message["headers"][header] == old["headers"][header]


def body(message: dict[str, Any]) -> object:
    return json.loads(base64.b64decode(message["body"]))
