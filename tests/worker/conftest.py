"""A database, a storage with a clip in it, and a job that is claimed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.database import Database, StoreConfig, stores_on
from jobs.db.engine import connect
from jobs.model import Job, NewJob, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from jobs.store.job_rows import JobLimits
from tests.audio_clips import write_clip
from tests.worker.toys import DictStorage

Submit = Callable[..., Job]


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    config = StoreConfig(lease_seconds=15, wake_seconds=10, jobs=JobLimits(max_attempts=3))
    opened = stores_on(connect(sqlite_url), config)
    yield opened
    opened.close()


@pytest.fixture
def storage() -> DictStorage:
    return DictStorage()


@pytest.fixture
def submit(database: Database, storage: DictStorage, tmp_path: Path) -> Submit:
    """Queue a job: its request by keywords, its clip a tone of `seconds`."""

    def queue(*, seconds: float = 0.5, clip: bytes | None = None, **request: object) -> Job:
        job_id = new_job_id()
        key = input_key(job_id, "wav")
        content = clip or write_clip(tmp_path / "tone.wav", seconds=seconds).read_bytes()
        storage.objects[key] = content
        wanted = GenerateRequest.model_validate({"seed": 7} | request)
        return database.jobs.submit(NewJob(job_id, wanted, input_key=key, clip_seconds=seconds))

    return queue
