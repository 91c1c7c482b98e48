"""Jobs as operators see them: rows of a table, one job with everything that is known of it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cli.durations import show_duration
from jobs.model import State
from jobs.storage.factory import ObjectMissing, StorageError
from jobs.storage.keys import job_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from jobs.model import Job
    from jobs.storage.factory import ObjectInfo, Storage
    from jobs.webhooks.outbox import Delivery

COLUMNS = ("id", "state", "attempt", "tenant", "person", "audio", "age", "worker", "error")
MOST_OBJECTS = 200
SHOWN = {  # fields of a job that the lines of the report contain
    "id", "state", "stage", "stage_progress", "progress", "attempt", "max_attempts", "worker",
    "lease_until", "created_at", "started_at", "finished_at", "request", "clip_seconds", "tenant",
    "error_code", "error_detail", "warnings", "outputs", "finished_takes", "priority", "batch_id",
    "batch_place", "callback_url", "webhook_events", "cancel_after", "cancel_at",
    "input_expired_at", "outputs_expired_at", "motion_digest", "queued_at",
}  # fmt: skip


def job_table(jobs: Sequence[Job], now: datetime) -> Table:
    """Return a table with a row for each job."""
    from rich.table import Table

    table = Table(*COLUMNS, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for job in jobs:
        table.add_row(
            job.id,
            _state(job) + (", lease expired" if _expired(job, now) else ""),
            f"{job.attempt} of {job.max_attempts}",
            job.tenant,
            job.request.person,
            f"{job.clip_seconds:.1f} s",
            show_duration((now - job.created_at).total_seconds()),
            job.worker or "",
            job.error.code if job.error else "",
        )
    return table


def job_row(job: Job) -> dict[str, Any]:
    """Return a job as JSON: every field of its row."""
    row = asdict(job)
    row["request"] = job.request.model_dump(mode="json", exclude_none=True)
    return {name: _plain(value) for name, value in row.items()}


def full_report(
    job: Job,
    deliveries: Sequence[Delivery],
    objects: Sequence[ObjectInfo] | str,
    position: int | None,
) -> dict[str, Any]:
    """Return everything that is known of a job as JSON.

    objects: those in the storage, or the reason why they are unknown.
    """
    stored = objects if isinstance(objects, str) else [asdict(each) for each in objects]
    return {
        **job_row(job),
        "position": position,
        "deliveries": [_delivery_row(each) for each in deliveries],
        "objects": stored,
    }


def report_lines(
    job: Job,
    deliveries: Sequence[Delivery],
    objects: Sequence[ObjectInfo] | str,
    position: int | None,
    now: datetime,
) -> Iterator[tuple[str, str]]:
    """Yield a label and a text for each line of the report of one job."""
    yield "job", job.id
    yield "state", _state(job) + (f", position {position} in the queue" if position else "")
    yield "attempt", f"{job.attempt} of {job.max_attempts}"
    if job.worker is not None:
        yield "worker", job.worker
    if job.state is State.RUNNING and job.lease_until is not None:
        yield "lease", _lease(job.lease_until, now)
    if job.error_detail is not None:
        yield "error", f"{job.error.code}: {job.error_detail}" if job.error else job.error_detail
    yield "tenant", job.tenant
    yield "priority", str(job.priority)
    if job.batch_id is not None:
        yield "batch", f"{job.batch_id}, job {job.batch_place}"
    request = job.request.model_dump(mode="json", exclude_none=True)
    yield "request", " ".join(f"{name}={value}" for name, value in request.items())
    yield "audio", f"{job.clip_seconds:.1f} s"
    yield from (("warning", f"{each.code}: {each.detail}") for each in job.warnings)
    yield from _other_fields(job)
    yield from (("event", text) for text in _events(job, deliveries))
    if isinstance(objects, str):
        yield "objects", objects
    else:
        yield from (("object", f"{each.key}  {each.bytes:,} bytes") for each in objects)


def stored_objects(storage: Storage, job_id: str) -> list[ObjectInfo] | str:
    """Return the objects of a job, or the reason why they cannot be listed."""
    try:
        page = storage.page(job_folder(job_id), after=None, limit=MOST_OBJECTS)
        return [info for each in page if (info := _info(storage, each.key)) is not None]
    except (StorageError, OSError) as error:
        return f"unknown: {error}"


def _info(storage: Storage, key: str) -> ObjectInfo | None:
    try:
        return storage.stat(key)
    except ObjectMissing:  # removed since it was listed
        return None


def _state(job: Job) -> str:
    if job.state is not State.RUNNING:
        return str(job.state)
    return f"{job.state}, {job.stage} {job.stage_progress:.0%}"


def _expired(job: Job, now: datetime) -> bool:
    return job.state is State.RUNNING and job.lease_until is not None and job.lease_until < now


def _lease(until: datetime, now: datetime) -> str:
    left = (until - now).total_seconds()
    if left >= 0:
        return f"renewed, {show_duration(left)} left"
    return f"expired {show_duration(-left)} ago; the reaper requeues the job"


def _other_fields(job: Job) -> Iterator[tuple[str, str]]:
    """Yield the other fields, such as seconds of a device and their price."""
    for name, value in asdict(job).items():
        if name not in SHOWN and value not in (None, "", (), {}, []):
            text = f"{value:.2f}" if isinstance(value, float) else str(_plain(value))
            yield name.replace("_", " "), text


def _events(job: Job, deliveries: Sequence[Delivery]) -> list[str]:
    """Return what happened to the job, in order."""
    events = [
        (job.created_at, "accepted"),
        (job.queued_at if job.queued_at != job.created_at else None, "queued again"),
        (job.started_at, "first claimed by a worker"),
        (job.finished_at, str(job.state)),
        (job.input_expired_at, "clip removed by retention"),
        (job.outputs_expired_at, "outputs removed by retention"),
    ]
    for delivery in deliveries:
        what = f"webhook {delivery.type} to {delivery.host}"
        events.append((delivery.created_at, f"{what}: {delivery.state}"))
        for entry in delivery.log:
            result = entry.get("status") or entry.get("error")
            events.append((_moment(entry["at"]), f"{what}: try ended with {result}"))
    known = [(at, text) for at, text in events if at is not None]
    known.sort(key=lambda event: event[0])
    return [f"{at:%Y-%m-%d %H:%M:%S} {text}" for at, text in known]


def _moment(value: object) -> datetime:
    at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _delivery_row(delivery: Delivery) -> dict[str, Any]:
    row = {name: _plain(value) for name, value in asdict(delivery).items()}
    del row["body"]  # the event repeats the job
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value
