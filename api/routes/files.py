"""GET /files/{key}: where signed links into the local folder lead."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse

from api.deps import Services, ServicesDep
from api.downloads import FOUND, Download
from api.errors import Problem, documented
from api.routes.jobs import expired
from jobs.job import job_of
from jobs.storage import LocalStorage, ObjectMissing
from jobs.store import JobMissing

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


def refuse_if_expired(key: str, services: Services) -> None:
    """Raises Problem where the file was removed by age."""
    try:
        job = services.store.get(job_of(key))
    except JobMissing:
        return
    if job.outputs_expired_at is not None:
        raise expired(job)
