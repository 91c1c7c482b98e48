"""Jobs for the tests of their rows, and what a worker that has lost one may still try to write."""

from collections.abc import Callable

from jobs.model import LOCAL, FinishedTake, Job, NewJob, Output, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from jobs.store.jobs import Store

VIDEO = Output("take-1.mp4", "jobs/a/attempt-1/take-1.mp4", "video/mp4", 1234)


def submit(store: Store, *, priority: int = 0, tenant: str = LOCAL, **asked: object) -> Job:
    job_id = new_job_id()
    request = GenerateRequest.model_validate(asked)
    key = input_key(job_id, "wav")
    return store.submit(
        NewJob(job_id, request, input_key=key, clip_seconds=2.5, tenant=tenant, priority=priority)
    )


def claim(store: Store, worker: str = "worker-1") -> Job:
    job = store.claim(worker)
    assert job is not None
    return job


STALE_WRITES: dict[str, Callable[[Store, str, int], bool]] = {
    "renew": lambda store, job, attempt: store.renew(job, attempt),
    "progress": lambda store, job, attempt: store.progress(job, attempt, "face", 0.9),
    "checkpoint": lambda store, job, attempt: store.checkpoint(
        job, attempt, motion_key="jobs/x/motion.npz", digest="0"
    ),
    "keep_takes": lambda store, job, attempt: store.keep_takes(
        job, attempt, [FinishedTake(1, "0", (VIDEO,))]
    ),
    "succeed": lambda store, job, attempt: store.succeed(job, attempt, [VIDEO]),
    "fail": lambda store, job, attempt: store.fail(job, attempt, "late", "Too late."),
    "release": lambda store, job, attempt: store.release(job, attempt, "late"),
}
