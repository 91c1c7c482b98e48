"""/uploads: large clips, sent to the storage by themselves."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated
from urllib.parse import urljoin

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services, ServicesDep
from api.errors import Problem, documented
from api.middleware.auth import CallerDep
from api.services.clip_sources import file_digest
from api.services.upload_intake import FOLDER, Intake, inspected
from jobs.maintenance.reaper import remove_upload
from jobs.sandbox.audio_probe import MediaError
from jobs.storage.factory import PartMissing
from jobs.store.uploads import PART_BYTES, Upload, UploadMissing, new_upload_id, upload_key

router = APIRouter(prefix="/uploads", tags=["uploads"])

MISSING = (404, "upload_not_found", "There is no upload '0198c0ffee', or it has expired.")
NO_ID = (422, "invalid_request", "upload_id: is too long.")
NO_DATABASE = (503, "database_unavailable", "The database does not answer just now.")
NO_STORAGE = (503, "storage_unavailable", "The storage does not answer just now.")
UploadId = Annotated[str, Path(description="As POST /uploads gave it.", max_length=64)]


class UploadAsked(BaseModel):
    """What is to be sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int = Field(ge=1, description="Of the whole file.")


class PartView(BaseModel):
    """One piece of the file, and where it goes."""

    number: int
    first: int = Field(description="Its first byte in the file, from 0.")
    bytes: int = Field(description="Exactly so many are taken.")
    url: str = Field(description="Signed, for a while: PUT the bytes there.")


class UploadView(BaseModel):
    """A clip on its way, or here."""

    id: str
    state: str = Field(description="open, then ready.")
    bytes: int
    created_at: datetime
    expires_at: datetime = Field(description="From then on it is gone.")
    clip_seconds: float | None = Field(description="Once it is ready.")
    parts: list[PartView] = Field(description="What is to be sent; empty once it is ready.")


@router.post(
    "",
    status_code=201,
    summary="Announce a large clip",
    description=f"""The answer names an address for each part of the file, which are {PART_BYTES}
bytes long but for the last. PUT the bytes of each there, in any order, again where one failed; then
POST to `complete`. What has not come by `expires_at` is dropped.""",
    responses=documented(
        (400, "malformed_body", "The body of the request could not be read; send JSON."),
        (413, "upload_too_large", "An upload may have 2147483648 bytes; send a shorter clip."),
        (422, "invalid_request", "bytes: should be greater than or equal to 1, not '0'."),
        (429, "quota_bytes", "Of 5000 bytes 4000 are stored, and this is 2000; delete jobs first."),
        NO_STORAGE,
        NO_DATABASE,
    ),
)
def announce(
    asked: UploadAsked, services: ServicesDep, caller: CallerDep, request: Request
) -> UploadView:
    most = services.settings.max_large_upload_bytes
    if asked.bytes > most:
        sentence = f"An upload may have {most} bytes; send a shorter clip, or a smaller format."
        raise Problem(413, "upload_too_large", sentence)
    upload_id = new_upload_id()
    session = services.storage.begin_parts(upload_key(upload_id))
    upload = services.database.uploads.add(
        caller.tenant,
        bytes=asked.bytes,
        upload_id=upload_id,
        session=session,
        seconds=services.settings.link_seconds,
    )
    return upload_view(upload, services, request)


@router.get(
    "/{upload_id}",
    summary="An upload as it stands",
    responses=documented(MISSING, NO_ID, NO_DATABASE),
)
def one(
    upload_id: UploadId, services: ServicesDep, caller: CallerDep, request: Request
) -> UploadView:
    return upload_view(_found(upload_id, caller.tenant, services), services, request)


@router.post(
    "/{upload_id}/complete",
    summary="Say that all parts were sent",
    description="""The file is put together and looked at as one that comes with POST /generate,
where `upload_id` names it from then on, for any number of jobs. Said twice it changes nothing.""",
    responses=documented(
        MISSING,
        NO_ID,
        (409, "part_missing", "Part 2 is missing; PUT it, then complete the upload."),
        (415, "audio_type_unsupported", "This is not an audio file that we read; send wav."),
        (422, "clip_too_long", "The clip may be 600 s long and is 900.00 s; cut it."),
        (422, "audio_damaged", "The file begins like flac and cannot be decoded; export it again."),
        NO_STORAGE,
        NO_DATABASE,
    ),
)
async def complete(
    upload_id: UploadId, services: ServicesDep, caller: CallerDep, request: Request
) -> UploadView:
    intake: Intake = request.app.state.intake  # its threads: looking at a large clip takes a while
    upload = await intake.run(partial(_made_ready, upload_id, caller.tenant, services))
    return await run_in_threadpool(upload_view, upload, services, request)


def upload_view(upload: Upload, services: Services, request: Request) -> UploadView:
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


def _found(upload_id: str, tenant: str, services: Services) -> Upload:
    try:
        return services.database.uploads.get(tenant, upload_id)
    except UploadMissing as error:
        sentence = f"There is no upload {upload_id!r}, or it has expired; send the clip again."
        raise Problem(404, "upload_not_found", sentence) from error


def _made_ready(upload_id: str, tenant: str, services: Services) -> Upload:
    upload = _found(upload_id, tenant, services)
    return upload if upload.ready else _completed(upload, services)


def _completed(upload: Upload, services: Services) -> Upload:
    settings = services.settings
    try:
        services.storage.join_parts(upload.key, upload.session, upload.sizes)
    except PartMissing as error:
        sentence = f"{str(error).capitalize()}; PUT it, then complete the upload."
        raise Problem(409, "part_missing", sentence) from error
    with _fetched(upload, services) as path:
        try:
            clip = inspected(path, settings, max_seconds=settings.max_clip_seconds)
        except MediaError:
            remove_upload(
                services.database, services.storage, upload
            )  # there is nothing to use it for
            raise
        seconds = settings.upload_hours * 3600
        return services.database.uploads.ready(upload, clip, file_digest(path), seconds=seconds)


@contextmanager
def _fetched(upload: Upload, services: Services) -> Iterator[FilePath]:
    """The clip as a file of this process, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
        path = FilePath(folder) / "audio"
        with path.open("wb") as file:
            for chunk in services.storage.open(upload.key):
                file.write(chunk)
        yield path
