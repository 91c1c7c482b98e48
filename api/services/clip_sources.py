"""Sources of a request's clip: the body, an earlier upload, or a URL."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from api.problems import Problem
from api.services.upload_intake import FOLDER, probed, saved
from contracts.files import sha256_of
from jobs.outbound.http_client import OutboundError, UrlRefused, sentence_of
from jobs.sandbox.audio_formats import MediaLimits
from jobs.sandbox.audio_probe import check_seconds
from jobs.storage.factory import CONTENT_TYPES
from jobs.storage.keys import input_key
from jobs.store.uploads import UploadMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.dependencies import Services
    from api.schemas.generate import GenerateBody, GenerateForm
    from jobs.model import JobWarning
    from jobs.persons import PersonSummary
    from jobs.store.uploads import Upload


@dataclass(frozen=True)
class Stored:
    """A clip in storage that a job can use."""

    key: str
    seconds: float
    bytes: int  # stored for this job alone
    warnings: tuple[JobWarning, ...]


class Clip(Protocol):
    """The clip of a request."""

    @property
    def digest(self) -> str:
        """Digest of the audio, compared when an Idempotency-Key is repeated."""

    def stored(self, job_id: str, person: PersonSummary) -> Stored:
        """Probe the clip and store it for this job.

        Raises:
            MediaError: when the person's networks cannot use it.
        """


@dataclass(frozen=True)
class SentClip:
    """A file that came with the request."""

    path: Path
    services: Services

    @property
    def digest(self) -> str:
        return sha256_of(self.path)

    def stored(self, job_id: str, person: PersonSummary) -> Stored:
        settings = self.services.settings
        most = min(person.max_seconds, settings.max_clip_seconds)
        info = probed(self.path, settings, max_seconds=most)
        key = input_key(job_id, info.container)
        self.services.storage.put(key, self.path, CONTENT_TYPES[f".{info.container}"])
        return Stored(key, info.seconds, self.path.stat().st_size, info.warnings)


@dataclass(frozen=True)
class UploadedClip:
    """A file that an earlier request put into storage, for any number of jobs."""

    upload: Upload

    @property
    def digest(self) -> str:
        assert self.upload.sha256 is not None
        return self.upload.sha256

    def stored(self, job_id: str, person: PersonSummary) -> Stored:
        assert self.upload.seconds is not None
        check_seconds(self.upload.seconds, MediaLimits(max_seconds=person.max_seconds))
        return Stored(self.upload.key, self.upload.seconds, 0, self.upload.warnings)


@dataclass(frozen=True)
class RemoteClip:
    """A file at a URL; it is fetched only when the request is new."""

    url: str
    services: Services

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.url.encode()).hexdigest()

    def stored(self, job_id: str, person: PersonSummary) -> Stored:
        with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
            path = Path(folder) / "audio"
            self._fetch(path)
            return SentClip(path, self.services).stored(job_id, person)

    def _fetch(self, path: Path) -> None:
        settings, fetch = self.services.settings, self.services.outbound.fetch
        most, seconds = settings.max_upload_bytes, settings.audio_url_seconds
        try:
            asyncio.run(fetch(self.url, path, most_bytes=most, seconds=seconds))
        except UrlRefused as error:
            raise _url_problem("audio_url_refused", error) from error
        except OutboundError as error:
            raise _url_problem("audio_url_failed", error) from error


@contextmanager
def clip_of(body: GenerateForm | GenerateBody, tenant: str, services: Services) -> Iterator[Clip]:
    """The clip of a request; files of the body exist until the block ends."""
    if body.upload_id is not None:
        yield UploadedClip(ready_upload(body.upload_id, tenant, services))
        return
    if body.audio_url is not None:
        yield RemoteClip(_checked(body.audio_url, services), services)
        return
    assert body.audio is not None
    source = io.BytesIO(body.audio) if isinstance(body.audio, bytes) else body.audio.file
    with saved(source, most=services.settings.max_upload_bytes) as path:
        yield SentClip(path, services)


def ready_upload(upload_id: str, tenant: str, services: Services) -> Upload:
    """A complete upload of this tenant.

    Raises:
        Problem: when it is unknown, expired or not complete.
    """
    try:
        upload = services.database.uploads.get(tenant, upload_id)
    except UploadMissing as error:
        detail = f"Upload {upload_id!r} not found or expired; send the clip again."
        fields = [{"field": "upload_id", "detail": detail}]
        raise Problem("upload_unknown", detail, errors=fields) from error
    if not upload.ready:
        detail = (
            f"Upload {upload_id!r} is not complete; send its parts, then POST "
            f"/uploads/{upload_id}/complete."
        )
        fields = [{"field": "upload_id", "detail": detail}]
        raise Problem("upload_incomplete", detail, errors=fields)
    return upload


def _checked(url: str, services: Services) -> str:
    """The URL in normal form. Raises Problem when it must not be fetched."""
    if not services.settings.audio_urls:
        detail = "This service does not fetch audio_url; send the clip in audio."
        fields = [{"field": "audio_url", "detail": detail}]
        raise Problem("audio_url_refused", detail, errors=fields)
    try:
        return services.outbound.check_url(url)
    except UrlRefused as error:
        raise _url_problem("audio_url_refused", error) from error


def _url_problem(code: str, error: OutboundError) -> Problem:
    fields = [{"field": "audio_url", "detail": str(error)}]
    return Problem(code, sentence_of(error), errors=fields)
