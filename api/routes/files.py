"""/files/{key}: signed links that read from and write to the local storage folder."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool

from api.bounds.declare import Bounds, Pool, bounded
from api.bounds.request import ANYBODY, BoundedRequest, BoundedRoute
from api.dependencies import Services, ServicesDep
from api.problems import Problem, problems
from api.services.downloads import FILE, FILE_RESPONSES, Download, outputs_expired
from jobs.storage.factory import LocalStorage, ObjectMissing
from jobs.storage.keys import job_of
from jobs.store.job_rows import JobMissing
from jobs.store.uploads import PART_BYTES, Upload, UploadComplete, UploadMissing, upload_of

if TYPE_CHECKING:
    from api.services.upload_intake import UploadIntake

router = APIRouter(tags=["files"], route_class=BoundedRoute)


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
async def read_file(
    key: str,
    services: ServicesDep,
    request: BoundedRequest,
    name: Annotated[str, Query(max_length=255)],
    expires: Annotated[str, Query(max_length=20)],
    signature: Annotated[str, Query(max_length=64)],
) -> Response:
    storage = services.storage
    if not isinstance(storage, LocalStorage) or not storage.allows(
        key, filename=name, expires=expires, signature=signature
    ):
        raise Problem("link_invalid")
    tenant = await run_in_threadpool(_tenant_of, key, services)
    request.holding.take(Pool.DOWNLOADS, tenant)  # a slow download costs only its tenant
    return await run_in_threadpool(_download, key, name, services)


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
        "upload_not_found",
        "upload_complete",
        "upload_too_large",
        "upload_too_slow",
        "invalid_request",
        "uploads_busy",
        "storage_unavailable",
        "database_unavailable",
    ),
)
@bounded(Bounds(file_bytes=PART_BYTES, streamed=True))
async def write_part(
    key: str,
    services: ServicesDep,
    request: BoundedRequest,
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
    upload = await run_in_threadpool(_receiving_upload, upload_of(key), services)
    request.holding.take(Pool.UPLOADS, upload.tenant)
    intake: UploadIntake = request.app.state.intake
    received = 0
    with storage.receiving(key) as file:
        async for chunk in request.stream():
            received += len(chunk)
            if received > length:
                break
            await intake.run(partial(file.write, chunk))
        if received != length:
            size = "more" if received > length else str(received)
            detail = f"The part has {size} bytes but should have {length}; PUT it again."
            raise Problem("part_incomplete", detail, headers={"Connection": "close"})


def _tenant_of(key: str, services: Services) -> str:
    """The tenant of the job that a file belongs to; without the database, nobody's."""
    try:
        return services.database.jobs.get(job_of(key)).tenant
    except (JobMissing, OperationalError):
        return ANYBODY


def _download(key: str, name: str, services: Services) -> Response:
    storage = services.storage
    assert isinstance(storage, LocalStorage)
    try:
        content_type = storage.stat(key).content_type
    except ObjectMissing:
        _refuse_expired(key, services)
        raise
    return Download(storage.path(key), media_type=content_type, filename=name)


def _receiving_upload(upload_id: str, services: Services) -> Upload:
    """The upload whose part arrives. Raises: Problem: when it is unknown, expired or complete."""
    try:
        return services.database.uploads.receiving(upload_id)
    except UploadMissing as error:
        detail = f"Upload {upload_id!r} not found or expired; announce it again."
        raise Problem("upload_not_found", detail) from error
    except UploadComplete as error:
        detail = f"Upload {upload_id!r} is complete; send its id as upload_id."
        raise Problem("upload_complete", detail) from error


def _refuse_expired(key: str, services: Services) -> None:
    """Raise Problem when the file was removed by age."""
    try:
        job = services.database.jobs.get(job_of(key))
    except JobMissing:
        return
    if job.outputs_expired_at is not None:
        raise outputs_expired(job)
