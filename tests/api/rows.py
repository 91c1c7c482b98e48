"""Jobs in several states, made without HTTP requests."""

from pathlib import Path

from jobs.model import Job, NewJob, Output, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.factory import LocalStorage
from jobs.storage.keys import attempt_key, input_key
from tests.api_server import Served

VIDEO = bytes(range(256)) * 20


def stored_files(served: Served) -> set[Path]:
    """Files of jobs and uploads. Maintenance writes other objects at any time."""
    storage = served.services.storage
    assert isinstance(storage, LocalStorage)
    folders = (storage.folder / "jobs", storage.folder / "uploads")
    return {path for folder in folders for path in folder.rglob("*") if path.is_file()}


def submit(served: Served, *, clip_seconds: float = 1.0) -> Job:
    job_id = new_job_id()
    return served.services.database.jobs.submit(
        NewJob(
            job_id,
            GenerateRequest(seed=3),
            input_key=input_key(job_id, "wav"),
            clip_seconds=clip_seconds,
        )
    )


def running(served: Served, *, clip_seconds: float = 1.0) -> Job:
    submit(served, clip_seconds=clip_seconds)
    job = served.services.database.attempts.claim("worker-1")
    assert job is not None
    return job


def succeeded(served: Served, folder: Path) -> Job:
    job = running(served)
    key = attempt_key(job.id, job.attempt, "take-1.mp4")
    (folder / "video").write_bytes(VIDEO)
    served.services.storage.put(key, folder / "video", "video/mp4")
    output = Output("take-1.mp4", key, "video/mp4", len(VIDEO))
    assert served.services.database.attempts.succeed(job.id, job.attempt, [output])
    return job
