"""Uploads: their owner, when jobs can use them, and when they expire."""

import pytest

from jobs.database import Database
from jobs.model import NewJob, new_job_id
from jobs.request.model import GenerateRequest
from jobs.sandbox.audio_probe import ClipInfo
from jobs.storage.keys import input_key
from jobs.store.uploads import PART_BYTES, Upload, UploadMissing, UploadStore, new_upload_id
from tests.clock import Clock
from tests.jobs.rows import VIDEO, claim

CLIP = ClipInfo("wav", "pcm_s16le", 48_000, 2, 2.5)
HOUR, DAY = 3600, 86_400


@pytest.fixture
def uploads(database: Database) -> UploadStore:
    return database.uploads


def add(uploads: UploadStore, *, tenant: str = "ada", size: int = 1000) -> Upload:
    upload_id = new_upload_id()
    return uploads.add(tenant, bytes=size, upload_id=upload_id, session="s", seconds=HOUR)


def use(database: Database, upload: Upload) -> None:
    request = GenerateRequest()
    job_id = new_job_id()
    database.jobs.submit(NewJob(job_id, request, input_key=upload.key, clip_seconds=2.5))


def test_an_upload_is_ready_once_its_clip_was_probed(uploads: UploadStore) -> None:
    upload = add(uploads)
    assert not upload.ready

    ready = uploads.ready(upload, CLIP, "ab" * 32, seconds=DAY)

    assert ready.ready
    assert (ready.container, ready.seconds, ready.bytes) == ("wav", 2.5, 1000)
    assert uploads.get("ada", upload.id) == ready


def test_a_second_ready_changes_nothing(uploads: UploadStore, clock: Clock) -> None:
    upload = add(uploads)
    first = uploads.ready(upload, CLIP, "ab" * 32, seconds=DAY)
    clock.advance(60)

    assert uploads.ready(upload, CLIP, "ab" * 32, seconds=DAY) == first


def test_an_upload_is_visible_to_its_own_tenant_only(uploads: UploadStore) -> None:
    upload = add(uploads, tenant="ada")

    with pytest.raises(UploadMissing, match=upload.id):
        uploads.get("bob", upload.id)


def test_an_upload_expires_and_is_taken_once(uploads: UploadStore, clock: Clock) -> None:
    upload = add(uploads)
    assert uploads.take_expired() == []
    clock.advance(HOUR + 1)

    with pytest.raises(UploadMissing):
        uploads.get("ada", upload.id)
    assert uploads.take_expired() == []  # a request may have read it just before
    clock.advance(300)

    assert uploads.take_expired() == [upload]
    assert uploads.take_expired() == []
    clock.advance(61)
    assert uploads.take_expired() == [upload]  # the first process did not finish
    uploads.forget(upload)
    uploads.forget(upload)
    clock.advance(61)
    assert uploads.take_expired() == []


def test_an_upload_stays_while_a_job_needs_it(
    database: Database, uploads: UploadStore, clock: Clock
) -> None:
    upload = uploads.ready(add(uploads), CLIP, "ab" * 32, seconds=HOUR)
    use(database, upload)
    clock.advance(DAY)
    assert uploads.take_expired() == []
    job = claim(database)
    assert uploads.take_expired() == []

    database.attempts.succeed(job.id, job.attempt, [VIDEO])

    assert uploads.take_expired() == [upload]


def test_an_upload_of_a_partner_stays_while_a_job_needs_it(
    database: Database, uploads: UploadStore, clock: Clock
) -> None:
    upload = uploads.ready(add(uploads), CLIP, "ab" * 32, seconds=HOUR)
    job_id = new_job_id()
    key = input_key(job_id, "wav")
    new = NewJob(job_id, GenerateRequest(), input_key=key, clip_seconds=2.5, partner_key=upload.key)
    database.jobs.submit(new)
    clock.advance(DAY)
    assert (upload.channels, uploads.take_expired()) == (2, [])

    database.jobs.cancel(job_id)

    assert uploads.take_expired() == [upload]


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (1, [1]),
        (PART_BYTES, [PART_BYTES]),
        (PART_BYTES + 1, [PART_BYTES, 1]),
        (3 * PART_BYTES, [PART_BYTES] * 3),
    ],
)
def test_an_upload_is_divided_into_parts(uploads: UploadStore, size: int, sizes: list[int]) -> None:
    assert add(uploads, size=size).sizes == sizes
