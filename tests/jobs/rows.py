"""Jobs for the tests of their rows, and late writes of workers that have lost a job."""

from collections.abc import Callable

from jobs.database import Database
from jobs.model import LOCAL, FinishedTake, Job, JobWarning, NewJob, Output, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key

VIDEO = Output("take-1.mp4", "jobs/a/attempt-1/take-1.mp4", "video/mp4", 1234)


def submit(
    database: Database,
    *,
    priority: int = 0,
    tenant: str = LOCAL,
    cancel_after: float | None = None,
    **fields: object,
) -> Job:
    job_id = new_job_id()
    request = GenerateRequest.model_validate(fields)
    key = input_key(job_id, "wav")
    return database.jobs.submit(
        NewJob(
            job_id,
            request,
            input_key=key,
            clip_seconds=2.5,
            tenant=tenant,
            priority=priority,
            cancel_after=cancel_after,
        )
    )


def claim(database: Database, worker: str = "worker-1") -> Job:
    job = database.attempts.claim(worker)
    assert job is not None
    return job


STALE_WRITES: dict[str, Callable[[Database, str, int], bool]] = {
    "renew": lambda database, job, attempt: database.attempts.renew(job, attempt),
    "progress": lambda database, job, attempt: database.attempts.progress(
        job, attempt, "face", 0.9
    ),
    "record_motion": lambda database, job, attempt: database.attempts.record_motion(
        job, attempt, motion_key="jobs/x/motion.npz", digest="0"
    ),
    "record_takes": lambda database, job, attempt: database.attempts.record_takes(
        job, attempt, [FinishedTake(1, "0", (VIDEO,))]
    ),
    "record_warnings": lambda database, job, attempt: database.attempts.record_warnings(
        job, attempt, [JobWarning("late", "Too late.")]
    ),
    "record_watermark": lambda database, job, attempt: database.attempts.record_watermark(
        job, attempt, "0" * 16
    ),
    "succeed": lambda database, job, attempt: database.attempts.succeed(job, attempt, [VIDEO]),
    "fail": lambda database, job, attempt: database.attempts.fail(
        job, attempt, "late", "Too late."
    ),
    "release": lambda database, job, attempt: database.attempts.release(job, attempt, "late"),
}
