"""/batches: many jobs in one request, for clips that were uploaded before."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from starlette.concurrency import run_in_threadpool

from api.bounds.declare import JSON_BYTES, PLAIN_BYTES, Bounds, bounded
from api.bounds.request import BoundedRoute
from api.dependencies import Services, ServicesDep
from api.middleware.auth import CallerDep
from api.problems import REFERENCE, problems
from api.schemas.batches import (
    JSON_LINES,
    MOST_ITEMS,
    BatchView,
    Counts,
    ItemView,
    entries_of,
)
from api.schemas.generate import JSON, BatchEntry
from api.schemas.jobs import error_view
from api.schemas.parameters import (
    ACCEPTED_HEADERS,
    RETRY_LATER,
    RETRY_SECONDS,
    STORABLE,
    CancelAfterHeader,
    IdempotencyKeyHeader,
    with_cancel_after,
)
from api.services.batches import accept_batch
from api.services.submit import REQUEST_CHECKS
from jobs.model import State
from jobs.store.batches import Batch, BatchItem

router = APIRouter(prefix="/batches", tags=["batches"], route_class=BoundedRoute)

BatchId = Annotated[
    str, Path(description="Returned by POST /batches.", max_length=64, pattern=STORABLE)
]


@router.post(
    "",
    operation_id="create_batch",
    status_code=202,
    summary="Make video of many recordings",
    description=f"""Up to {MOST_ITEMS} items, each as the JSON of POST /generate with `upload_id`:
in `items` of a JSON object, or as JSON lines. All of them are accepted, or none.""",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": {"$ref": REFERENCE.format(model="BatchRequest")}},
                JSON_LINES[0]: {"schema": {"type": "string"}},
            },
        }
    },
    responses=problems(
        *REQUEST_CHECKS,
        "malformed_body",
        "upload_too_slow",
        "idempotency_key_reused",
        "upload_too_large",
        "body_type_unsupported",
        "invalid_request",
        "upload_unknown",
        "upload_incomplete",
        "clip_too_long",
        "audio_channels",
        "partner_channels",
        "quota_jobs",
        "quota_seconds",
        "uploads_busy",
        "storage_unavailable",
        "database_unavailable",
        success={202: {"description": "Accepted, all of them.", "headers": ACCEPTED_HEADERS}},
    ),
)
@bounded(Bounds(PLAIN_BYTES, file_bytes=JSON_BYTES))
async def submit(
    entries: Annotated[list[BatchEntry], Depends(entries_of)],
    services: ServicesDep,
    caller: CallerDep,
    response: Response,
    key: IdempotencyKeyHeader = None,
    cancel_after: CancelAfterHeader = None,
) -> BatchView:
    entries = [
        with_cancel_after(entry, cancel_after, item=f"items.{place}")
        for place, entry in enumerate(entries, 1)
    ]
    accepted = await run_in_threadpool(accept_batch, entries, key, caller.tenant, services)
    if accepted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/batches/{accepted.made.id}"
    return await run_in_threadpool(_view, accepted.made, services, response)


@router.get(
    "/{batch_id}",
    operation_id="get_batch",
    response_description="The batch.",
    summary="A batch: the number of its jobs in each state, and each job",
    responses=problems(
        "batch_not_found",
        "invalid_request",
        "database_unavailable",
        success={200: {"headers": RETRY_LATER}},
    ),
)
def read_batch(
    batch_id: BatchId, services: ServicesDep, caller: CallerDep, response: Response
) -> BatchView:
    return _view(services.database.batches.get(batch_id, tenant=caller.sees), services, response)


@router.post(
    "/{batch_id}/cancel",
    operation_id="cancel_batch",
    response_description="The batch, without queued or running jobs.",
    summary="Cancel all of its jobs that are queued or running",
    description="Jobs that have ended do not change. Canceling again changes nothing.",
    responses=problems(
        "batch_not_found",
        "invalid_request",
        "database_unavailable",
        success={200: {"headers": RETRY_LATER}},
    ),
)
@bounded(Bounds())
def cancel(
    batch_id: BatchId, services: ServicesDep, caller: CallerDep, response: Response
) -> BatchView:
    services.database.batches.cancel(batch_id, tenant=caller.sees)
    return _view(services.database.batches.get(batch_id, tenant=caller.sees), services, response)


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
    return ItemView(
        place=item.place, job=item.job_id, state=item.state, error=error_view(item.error)
    )
