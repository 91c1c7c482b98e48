"""Uploads in parts: announce a file, and complete it once all of its parts are stored."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from api.problems import Problem
from api.services.upload_intake import FOLDER, probed
from contracts.files import sha256_of
from jobs.maintenance.reaper import remove_upload
from jobs.sandbox.audio_formats import MediaError
from jobs.storage.factory import PartMissing
from jobs.store.uploads import UploadMissing, new_upload_id, upload_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.dependencies import Services
    from jobs.store.uploads import Upload


def announce_upload(size: int, filename: str | None, tenant: str, services: Services) -> Upload:
    """Begin an upload of `size` bytes. filename: by `contracts.files.plain_name`.

    Raises:
        Problem: when it is too large.
    """
    most = services.settings.max_large_upload_bytes
    if size > most:
        detail = f"An upload may have {most} bytes; send a shorter clip, or a smaller format."
        raise Problem("upload_too_large", detail)
    upload_id = new_upload_id()
    key = upload_key(upload_id)
    session = services.storage.begin_parts(key)
    try:
        return services.database.uploads.add(
            tenant,
            bytes=size,
            upload_id=upload_id,
            session=session,
            filename=filename,
            seconds=services.settings.link_seconds,
        )
    except BaseException:  # without a row, nothing would end the session before the sweep
        services.storage.abandon_parts(key, session)
        raise


def find_upload(upload_id: str, tenant: str, services: Services) -> Upload:
    """An upload of this tenant.

    Raises:
        Problem: when it is unknown or expired.
    """
    try:
        return services.database.uploads.get(tenant, upload_id)
    except UploadMissing as error:
        detail = f"Upload {upload_id!r} not found or expired; send the clip again."
        raise Problem("upload_not_found", detail) from error


def complete_upload(upload_id: str, tenant: str, services: Services) -> Upload:
    """Join the parts and probe the clip. A complete upload is returned as it is.

    Raises:
        Problem: when the upload is unknown, or a part is missing.
        MediaError: when the file is not a supported clip; it is removed.
    """
    upload = find_upload(upload_id, tenant, services)
    return upload if upload.ready else _completed(upload, services)


def _completed(upload: Upload, services: Services) -> Upload:
    settings = services.settings
    try:
        services.storage.join_parts(upload.key, upload.session, upload.sizes)
    except PartMissing as error:
        detail = f"{str(error).capitalize()}; PUT it, then complete the upload."
        fields = [{"field": f"parts.{error.number}", "detail": detail}]
        raise Problem("part_missing", detail, errors=fields) from error
    with _downloaded(upload, services) as path:
        try:
            clip = probed(
                path, settings, max_seconds=settings.max_clip_seconds, tenant=upload.tenant
            )
        except MediaError:
            remove_upload(services.database, services.storage, upload)
            raise
        seconds = settings.upload_hours * 3600
        return services.database.uploads.ready(upload, clip, sha256_of(path), seconds=seconds)


@contextmanager
def _downloaded(upload: Upload, services: Services) -> Iterator[Path]:
    """Copy the clip to a temporary file, which is removed when the block ends."""
    with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
        path = Path(folder) / "audio"
        with path.open("wb") as file:
            for chunk in services.storage.open(upload.key):
                file.write(chunk)
        yield path
