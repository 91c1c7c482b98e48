"""/uploads: large clips, sent to storage in parts before the request that uses them."""

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urljoin

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from api.bounds.declare import Bounds, Pool, bounded
from api.bounds.request import BoundedRoute
from api.dependencies import Services, ServicesDep
from api.middleware.auth import CallerDep
from api.problems import CLIP_PROBLEMS, problems
from api.schemas.parameters import STORABLE
from api.services.multipart_uploads import announce_upload, complete_upload, find_upload
from contracts.files import LONGEST_NAME, plain_name
from jobs.store.uploads import PART_BYTES, Upload

if TYPE_CHECKING:
    from api.services.upload_intake import UploadIntake

router = APIRouter(prefix="/uploads", tags=["uploads"], route_class=BoundedRoute)

UploadId = Annotated[
    str, Path(description="Returned by POST /uploads.", max_length=64, pattern=STORABLE)
]


class UploadAnnouncement(BaseModel):
    """The file to upload."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int = Field(ge=1, description="Size of the whole file.")
    filename: str | None = Field(
        default=None,
        max_length=LONGEST_NAME,
        description="Name of the file; jobs and their downloads are named after it.",
    )


class PartView(BaseModel):
    """One part of the file, and its upload URL."""

    number: int
    first: int = Field(description="Offset of its first byte in the file, from 0.")
    bytes: int = Field(description="Exact size of the part.")
    url: str = Field(description="Signed and temporary: PUT the bytes there.")


class UploadView(BaseModel):
    """An upload in progress, or complete."""

    id: str
    state: Literal["open", "ready"] = Field(description="open, then ready.")
    bytes: int
    created_at: datetime
    expires_at: datetime = Field(description="The upload is removed after this time.")
    clip_seconds: float | None = Field(description="Length of the clip once it is ready.")
    parts: list[PartView] = Field(description="Parts to send; empty once it is ready.")


@router.post(
    "",
    operation_id="create_upload",
    response_description="The upload, with a URL for each part.",
    status_code=201,
    summary="Announce a large clip",
    description=f"""Returns a URL for each part of the file; each part except the last has
{PART_BYTES} bytes. PUT the bytes of each part to its URL, in any order, and again after a failure;
then POST to `complete`. Uploads that are not complete by `expires_at` are removed.""",
    responses=problems(
        "malformed_body",
        "upload_too_slow",
        "upload_too_large",
        "invalid_request",
        "quota_bytes",
        "storage_unavailable",
        "database_unavailable",
    ),
)
@bounded(Bounds())
def announce(
    body: UploadAnnouncement, services: ServicesDep, caller: CallerDep, request: Request
) -> UploadView:
    return _view(
        announce_upload(body.bytes, plain_name(body.filename), caller.tenant, services),
        services,
        request,
    )


@router.get(
    "/{upload_id}",
    operation_id="get_upload",
    response_description="The upload, with URLs of its parts until it is complete.",
    summary="State of an upload",
    responses=problems("upload_not_found", "invalid_request", "database_unavailable"),
)
def read_upload(
    upload_id: UploadId, services: ServicesDep, caller: CallerDep, request: Request
) -> UploadView:
    return _view(find_upload(upload_id, caller.tenant, services), services, request)


@router.post(
    "/{upload_id}/complete",
    operation_id="complete_upload",
    response_description="The upload is complete: its id can be sent as `upload_id`.",
    summary="Complete an upload after all parts were sent",
    description="""Joins the parts and checks the file like a file of POST /generate, which accepts
its `upload_id` from then on, for any number of jobs. Completing it again changes nothing.""",
    responses=problems(
        "upload_not_found",
        "invalid_request",
        "part_missing",
        *CLIP_PROBLEMS,
        "uploads_busy",
        "storage_unavailable",
        "database_unavailable",
    ),
)
@bounded(Bounds(pool=Pool.UPLOADS))
async def complete(
    upload_id: UploadId, services: ServicesDep, caller: CallerDep, request: Request
) -> UploadView:
    intake: UploadIntake = request.app.state.intake  # probing a large clip takes its own threads
    upload = await intake.run(partial(complete_upload, upload_id, caller.tenant, services))
    return await run_in_threadpool(_view, upload, services, request)


def _view(upload: Upload, services: Services, request: Request) -> UploadView:
    return UploadView(
        id=upload.id,
        state="ready" if upload.ready else "open",
        bytes=upload.bytes,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
        clip_seconds=upload.seconds,
        parts=[] if upload.ready else _parts(upload, services, request),
    )


def _parts(upload: Upload, services: Services, request: Request) -> list[PartView]:
    parts = []
    for number, size in enumerate(upload.sizes, 1):
        link = services.storage.part_link(
            upload.key,
            upload.session,
            number,
            bytes=size,
            seconds=services.settings.link_seconds,
        )
        url = urljoin(str(request.base_url), link)
        first = (number - 1) * PART_BYTES
        parts.append(PartView(number=number, first=first, bytes=size, url=url))
    return parts
