"""/files/{key}: where signed links into the local folder lead, out of it and into it."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services, ServicesDep
from api.errors import Problem, documented
from api.routes.jobs import expired
from api.services.downloads import FOUND, Download
from api.services.upload_intake import too_slow
from jobs.storage.factory import LocalStorage, ObjectMissing
from jobs.storage.keys import job_of
from jobs.store.job_rows import JobMissing

router = APIRouter(tags=["files"])


@router.get(
    "/files/{key:path}",
    summary="A file, by a link from a job",
    response_class=FileResponse,
    responses=documented(
        (403, "link_invalid", "The link was altered or has expired; GET the job for a new one."),
        (404, "file_not_found", "The file is no longer there."),
        (410, "output_expired", "The files of this job were kept until 2026-05-04; send it again."),
        (416, "range_not_satisfiable", "The file is shorter than the range asks for."),
        (422, "invalid_request", "signature: is missing; send it."),
        success=FOUND,
    ),
)
def file(
    key: str,
    services: ServicesDep,
    name: Annotated[str, Query(max_length=255)],
    expires: Annotated[str, Query(max_length=20)],
    signature: Annotated[str, Query(max_length=64)],
) -> Response:
    storage = services.storage
    if not isinstance(storage, LocalStorage) or not storage.allows(
        key, filename=name, expires=expires, signature=signature
    ):
        raise Problem(
            403, "link_invalid", "The link was altered or has expired; GET the job for a new one."
        )
    try:
        kind = storage.stat(key).content_type
    except ObjectMissing:
        refuse_if_expired(key, services)
        raise
    return Download(storage.path(key), media_type=kind, filename=name)


@router.put(
    "/files/{key:path}",
    status_code=204,
    summary="A part of an upload, by a link from POST /uploads",
    responses=documented(
        (400, "part_incomplete", "The part has 512 bytes and should have 1024; PUT it again."),
        (403, "link_invalid", "The link was altered or has expired; announce the upload again."),
        (404, "route_not_found", "There is nothing at /files/%0A; see /docs."),
        (408, "upload_too_slow", "The upload has not arrived within 600 s; send a smaller format."),
        (422, "invalid_request", "signature: is missing; send it."),
        (503, "storage_unavailable", "The storage does not answer just now."),
    ),
)
async def part(
    key: str,
    services: ServicesDep,
    request: Request,
    length: Annotated[int, Query(alias="bytes", ge=1)],
    expires: Annotated[str, Query(max_length=20)],
    signature: Annotated[str, Query(max_length=64)],
) -> None:
    storage = services.storage
    if not isinstance(storage, LocalStorage) or not storage.allows_part(
        key, bytes=length, expires=expires, signature=signature
    ):
        sentence = "The link was altered or has expired; announce the upload again."
        raise Problem(403, "link_invalid", sentence)
    received, seconds = 0, services.settings.upload_seconds
    with storage.receiving(key) as file:
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    received += len(chunk)
                    if received > length:
                        break
                    await run_in_threadpool(file.write, chunk)
        except TimeoutError:
            raise too_slow(seconds) from None
        if received != length:
            told = "more" if received > length else str(received)
            sentence = f"The part has {told} bytes and should have {length}; PUT it again."
            raise Problem(400, "part_incomplete", sentence, headers={"Connection": "close"})


def refuse_if_expired(key: str, services: Services) -> None:
    """Raises Problem where the file was removed by age."""
    try:
        job = services.database.jobs.get(job_of(key))
    except JobMissing:
        return
    if job.outputs_expired_at is not None:
        raise expired(job)
