"""Fixtures of a worker: a database, a storage, and jobs in the queue."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.database import Database, StoreConfig, stores_on
from jobs.db.engine import connect, writing
from jobs.db.tables import jobs
from jobs.model import Job, NewJob, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from jobs.store.job_rows import JobLimits
from tests.audio_clips import write_clip
from tests.clip_readers import read_in_process
from tests.worker.fakes import InMemoryStorage
from worker.pipeline.media.ffmpeg import Child

Submit = Callable[..., Job]


def end_pauses(database: Database) -> None:
    """End the pauses of jobs that were put back."""
    with writing(database.engine) as connection:
        connection.execute(jobs.update().values(not_before=None))


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    config = StoreConfig(lease_seconds=15, wake_seconds=10, jobs=JobLimits(max_attempts=3))
    stores = stores_on(connect(sqlite_url), config)
    yield stores
    stores.close()


@pytest.fixture
def storage() -> InMemoryStorage:
    return InMemoryStorage()


@pytest.fixture
def submit(database: Database, storage: InMemoryStorage, tmp_path: Path) -> Submit:
    """Submit a job with the request fields as keywords; by default its clip is a tone."""

    def queue(*, seconds: float = 0.5, clip: bytes | None = None, **request: object) -> Job:
        job_id = new_job_id()
        key = input_key(job_id, "wav")
        content = clip or write_clip(tmp_path / "tone.wav", seconds=seconds).read_bytes()
        storage.objects[key] = content
        fields = GenerateRequest.model_validate({"seed": 7} | request)
        return database.jobs.submit(NewJob(job_id, fields, input_key=key, clip_seconds=seconds))

    return queue


@pytest.fixture
def decoder_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode clips without a child process."""
    read_in_process(monkeypatch)


@pytest.fixture
def decoder_child(decoder_in_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode the clips of one test in a child process again."""
    monkeypatch.setattr("worker.pipeline.media.decode.Child", Child)
