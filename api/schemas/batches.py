"""Request and response bodies of /batches."""

from datetime import datetime
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from api.problems import Problem
from api.schemas.generate import JSON, BatchEntry, json_of, kind_of
from api.schemas.jobs import ErrorView
from jobs.model import State

MOST_ITEMS = 1000
MOST_FAULTS = 100  # in one response
JSON_LINES = ("application/jsonl", "application/x-ndjson", "application/x-jsonlines")


class BatchRequest(BaseModel):
    """Several requests."""

    items: list[BatchEntry] = Field(min_length=1, max_length=MOST_ITEMS)


class ItemView(BaseModel):
    """One job of a batch."""

    place: int = Field(description="Position in the batch, from 1.")
    job: str = Field(description="Job id, for GET /jobs/{id}.")
    state: State
    error: ErrorView | None


class Counts(BaseModel):
    """Number of jobs in each state."""

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
    items: list[ItemView] = Field(description="The jobs that were not deleted, in their order.")


async def entries_of(request: Request) -> list[BatchEntry]:
    """The items of a body, which is a JSON object or JSON lines.

    Raises:
        Problem: for a body of another type.
        RequestValidationError: when items are invalid; it names each of them.
    """
    kind, body = kind_of(request), await request.body()
    if kind == JSON:
        return await run_in_threadpool(lambda: _entries(_items_of(json_of(body))))
    if kind in JSON_LINES:
        lines = [line for line in body.splitlines() if line.strip()]
        return await run_in_threadpool(lambda: _entries([json_of(line) for line in lines]))
    raise Problem(
        "body_type_unsupported",
        f"Unsupported body type {kind[:80] or '(none)'}; send {JSON}, or {JSON_LINES[0]} with one "
        "item on each line.",
    )


def _items_of(content: Any) -> list[Any]:
    is_object = isinstance(content, dict) and set(content) == {"items"}
    items = content["items"] if is_object else None
    if not isinstance(items, list):
        raise _invalid_items("should be a list, and the only field", content)
    return items


def _entries(items: list[Any]) -> list[BatchEntry]:
    if not 1 <= len(items) <= MOST_ITEMS:
        raise _invalid_items(f"should be 1 to {MOST_ITEMS} items, not {len(items)}", len(items))
    entries, faults = [], []
    for place, item in enumerate(items, 1):
        try:
            entries.append(BatchEntry.model_validate(item))
        except ValidationError as error:
            location = ("body", f"items.{place}")
            faults += [{**each, "loc": (*location, *each["loc"])} for each in error.errors()]
    if faults:
        raise RequestValidationError(faults[:MOST_FAULTS])
    return entries


def _invalid_items(message: str, value: object) -> RequestValidationError:
    return RequestValidationError(
        [{"type": "value_error", "loc": ("body", "items"), "msg": message, "input": value}]
    )
