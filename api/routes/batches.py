"""/batches: many jobs in one request, of clips that were sent before."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services, ServicesDep
from api.errors import Problem, at_place, documented
from api.middleware.auth import CallerDep
from api.routes.generate import ACCEPTED_HEADERS, IdempotencyKeyHeader
from api.routes.jobs import NO_DATABASE, QUOTA_JOBS, RETRY_LATER, RETRY_SECONDS
from api.schemas.generate import JSON, BatchEntry, json_of, kind_of
from api.schemas.jobs import ErrorView
from api.services.clip_sources import UploadedClip, usable
from api.services.submit import checked_callback, people_of, person_for, submitted_batch
from api.services.upload_intake import UploadRoute
from jobs.model import NewJob, State, new_job_id
from jobs.sandbox.audio_probe import MediaError
from jobs.store.batches import Batch, BatchItem, NewBatch
from jobs.store.idempotency import IdempotencyConflict, IdempotencyKey, request_digest

router = APIRouter(prefix="/batches", tags=["batches"], route_class=UploadRoute)

T = TypeVar("T")
MOST = 1000
LINES = ("application/jsonl", "application/x-ndjson", "application/x-jsonlines")
MISSING = (404, "batch_not_found", "There is no batch '0198c0ffee'.")
NO_ID = (422, "invalid_request", "batch_id: is too long.")
BatchId = Annotated[str, Path(description="As POST /batches gave it.", max_length=64)]


class BatchAsked(BaseModel):
    """Many requests."""

    items: list[BatchEntry] = Field(min_length=1, max_length=MOST)


class ItemView(BaseModel):
    """One job of a batch."""

    place: int = Field(description="In the batch as it was sent, from 1.")
    job: str = Field(description="Its id: GET /jobs/{id} tells the rest.")
    state: State
    error: ErrorView | None


class Counts(BaseModel):
    """How many jobs stand how."""

    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int
    deleted: int


class BatchView(BaseModel):
    """A batch as its owner sees it."""

    id: str
    tenant: str
    created_at: datetime
    size: int
    ended: bool = Field(description="Whether every job has ended.")
    counts: Counts
    items: list[ItemView] = Field(description="Those that were not deleted, in their order.")


async def entries_of(request: Request) -> list[BatchEntry]:
    """The items of a body, which is JSON or one item to the line."""
    kind, body = kind_of(request), await request.body()
    if kind == JSON:
        return await run_in_threadpool(lambda: _entries(_listed(json_of(body))))
    if kind in LINES:
        lines = [line for line in body.splitlines() if line.strip()]
        return await run_in_threadpool(lambda: _entries([json_of(line) for line in lines]))
    raise Problem(
        415,
        "body_type_unsupported",
        f"The body is {kind[:80] or 'of no type'}; send {JSON}, or {LINES[0]} with an item on "
        "each line.",
    )


def _listed(given: Any) -> list[Any]:
    items = given.get("items") if isinstance(given, dict) and set(given) == {"items"} else None
    if not isinstance(items, list):
        raise _unfit(["items"], "should be a list, and all that there is", given)
    return items


def _entries(given: list[Any]) -> list[BatchEntry]:
    if not 1 <= len(given) <= MOST:
        raise _unfit(["items"], f"should be 1 to {MOST} items, not {len(given)}", len(given))
    entries, faults = [], []
    for place, item in enumerate(given, 1):
        try:
            entries.append(BatchEntry.model_validate(item))
        except ValidationError as error:
            where = ("body", f"items.{place}")
            faults += [{**each, "loc": (*where, *each["loc"])} for each in error.errors()]
    if faults:
        raise RequestValidationError(faults[:100])
    return entries


def _unfit(where: Sequence[str], told: str, given: object) -> RequestValidationError:
    return RequestValidationError(
        [{"type": "value_error", "loc": ("body", *where), "msg": told, "input": given}]
    )


@router.post(
    "",
    status_code=202,
    summary="Make video of many recordings",
    description=f"""Up to {MOST} items, each as the JSON of POST /generate with `upload_id`: in
`items` of a JSON object, or as JSON lines. All of them are accepted, or none.""",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": {"$ref": "#/components/schemas/BatchAsked"}},
                LINES[0]: {"schema": {"type": "string"}},
            },
        }
    },
    responses=documented(
        (400, "malformed_body", "The body is no well-formed JSON; look at how it was made."),
        (408, "upload_too_slow", "The upload has not arrived within 600 s; send it in pieces."),
        (409, "idempotency_key_reused", "The Idempotency-Key came with another request before."),
        (413, "upload_too_large", "The upload is larger than 16777216 bytes; send fewer items."),
        (415, "body_type_unsupported", "The body is text/plain; send application/json."),
        (422, "invalid_request", "items.7.takes: should be less than or equal to 10, not '11'."),
        (422, "upload_unknown", "items.7: There is no upload '0198c0ffee'; send the clip again."),
        (422, "upload_incomplete", "items.7: The upload '0198c0ffee' is not complete."),
        (422, "person_unknown", "items.7: There is no person 'ada'; there are: demo."),
        (422, "view_unknown", "items.7: There is no view 'back' of 'demo'; there are: front."),
        (422, "size_unsupported", "items.7: 3 views of 2048x2048 are too wide together."),
        (422, "callback_url_refused", "items.7: The address leads into a private network."),
        (422, "clip_too_long", "items.7: The clip may be 20 s long and is 31.50 s; cut it."),
        QUOTA_JOBS,
        (429, "quota_seconds", "Of 3600 s a day 3599.0 are used, and the clip has 2.5 s."),
        (503, "uploads_busy", "All 64 places for uploads are taken just now; send it again."),
        NO_DATABASE,
        success={202: {"description": "Accepted, all of them.", "headers": ACCEPTED_HEADERS}},
    ),
)
async def submit(
    entries: Annotated[list[BatchEntry], Depends(entries_of)],
    services: ServicesDep,
    caller: CallerDep,
    response: Response,
    key: IdempotencyKeyHeader = None,
) -> BatchView:
    made = await run_in_threadpool(_accept, entries, key, caller.tenant, services)
    if made.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/batches/{made.batch.id}"
    return await run_in_threadpool(_view, made.batch, services, response)


@router.get(
    "/{batch_id}",
    summary="A batch: how many of its jobs stand how, and each",
    responses=documented(MISSING, NO_ID, NO_DATABASE, success={200: {"headers": RETRY_LATER}}),
)
def one(
    batch_id: BatchId, services: ServicesDep, caller: CallerDep, response: Response
) -> BatchView:
    return _view(services.database.batches.get(batch_id, tenant=caller.sees), services, response)


@router.post(
    "/{batch_id}/cancel",
    summary="End all of its jobs that are queued or running",
    description="Those that have ended stay as they are. Canceling again changes nothing.",
    responses=documented(MISSING, NO_ID, NO_DATABASE, success={200: {"headers": RETRY_LATER}}),
)
def cancel(
    batch_id: BatchId, services: ServicesDep, caller: CallerDep, response: Response
) -> BatchView:
    services.database.batches.cancel(batch_id, tenant=caller.sees)
    return _view(services.database.batches.get(batch_id, tenant=caller.sees), services, response)


@dataclass(frozen=True)
class _Made:
    batch: Batch
    replayed: bool  # an earlier request has made it


def _accept(entries: list[BatchEntry], key: str | None, tenant: str, services: Services) -> _Made:
    upload_of = cache(lambda upload_id: usable(upload_id, tenant, services))
    clips = each_fitting(entries, lambda entry: UploadedClip(upload_of(entry.upload_id)))
    once = None
    if key is not None:
        heard = hashlib.sha256("".join(clip.digest for clip in clips).encode()).hexdigest()
        facts = {"items": [entry.facts() for entry in entries]}
        once = IdempotencyKey(key, request_digest(facts, heard), tenant)
        if (made := services.database.batches.made_by(once)) is not None:
            return _Made(made, replayed=True)
    new = NewBatch(new_job_id(), tenant, once)
    try:
        jobs = _new_jobs(entries, clips, new, services)
        return _Made(submitted_batch(new, jobs, services), replayed=False)
    except IdempotencyConflict:  # by a request that came at the same time
        assert once is not None
        other = services.database.batches.made_by(once)
        assert other is not None  # a batch is never deleted
        return _Made(other, replayed=True)


def _new_jobs(
    entries: list[BatchEntry], clips: list[UploadedClip], batch: NewBatch, services: Services
) -> list[NewJob]:
    ids = sorted(new_job_id() for _ in entries)  # of jobs of one moment the smaller id is first
    people = people_of(services)

    def new_job(place: int, entry: BatchEntry) -> NewJob:
        stored = clips[place].stored(ids[place], person_for(entry, people))
        return NewJob(
            ids[place],
            entry.request(),
            input_key=stored.key,
            clip_seconds=stored.seconds,
            tenant=batch.tenant,
            priority=entry.priority,
            metadata=entry.metadata,
            callback_url=checked_callback(entry.callback_url, services),
            batch_id=batch.id,
            batch_place=place + 1,
        )

    places = iter(range(len(entries)))
    return each_fitting(entries, lambda entry: new_job(next(places), entry))


def each_fitting(entries: list[BatchEntry], make: Callable[[BatchEntry], T]) -> list[T]:
    """`make` of every item; where one is refused, the refusal names its place."""
    made = []
    for place, entry in enumerate(entries, 1):
        try:
            made.append(make(entry))
        except (Problem, MediaError) as error:
            raise at_place(f"items.{place}", error) from error
    return made


def _view(batch: Batch, services: Services, response: Response) -> BatchView:
    items = services.database.batches.items(batch.id)
    found = Counter(item.state.value for item in items)
    counts = Counts(
        deleted=batch.size - len(items), **{state.value: found[state.value] for state in State}
    )
    ended = counts.queued + counts.running == 0
    if not ended:
        response.headers["Retry-After"] = RETRY_SECONDS
    return BatchView(
        id=batch.id,
        tenant=batch.tenant,
        created_at=batch.created_at,
        size=batch.size,
        ended=ended,
        counts=counts,
        items=[_item(item) for item in items],
    )


def _item(item: BatchItem) -> ItemView:
    error = None
    if item.state is State.FAILED:
        error = ErrorView(code=item.error_code or "failed", detail=item.error_detail or "")
    return ItemView(place=item.place, job=item.job_id, state=item.state, error=error)
