"""/files/{key}: signed links that read from and write to the local storage folder."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services, ServicesDep
from api.problems import Problem, problems
from api.services.downloads import FILE, FILE_RESPONSES, Download, outputs_expired
from api.services.upload_intake import too_slow
from jobs.storage.factory import LocalStorage, ObjectMissing
from jobs.storage.keys import job_of
from jobs.store.job_rows import JobMissing

router = APIRouter(tags=["files"])


@router.get(
    "/files/{key:path}",
    operation_id="download_file",
    summary="A file, by a link from a job",
    response_class=FileResponse,
    responses=problems(
        "link_invalid",
        "file_not_found",
        "output_expired",
        "range_not_satisfiable",
        "invalid_request",
        success=FILE_RESPONSES,
    ),
)
def read_file(
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
        raise Problem("link_invalid")
    try:
        content_type = storage.stat(key).content_type
    except ObjectMissing:
        _refuse_expired(key, services)
        raise
    return Download(storage.path(key), media_type=content_type, filename=name)


@router.put(
    "/files/{key:path}",
    operation_id="upload_part",
    response_description="Stored.",
    status_code=204,
    summary="A part of an upload, by a link from POST /uploads",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The bytes of the part.",
            "content": {"application/octet-stream": FILE},
        }
    },
    responses=problems(
        "part_incomplete",
        "link_invalid",
        "route_not_found",
        "upload_too_slow",
        "invalid_request",
        "storage_unavailable",
    ),
)
async def write_part(
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
        detail = "The link was altered or has expired; announce the upload again."
        raise Problem("link_invalid", detail)
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
            size = "more" if received > length else str(received)
            detail = f"The part has {size} bytes but should have {length}; PUT it again."
            raise Problem("part_incomplete", detail, headers={"Connection": "close"})


def _refuse_expired(key: str, services: Services) -> None:
    """Raise Problem when the file was removed by age."""
    try:
        job = services.database.jobs.get(job_of(key))
    except JobMissing:
        return
    if job.outputs_expired_at is not None:
        raise outputs_expired(job)
