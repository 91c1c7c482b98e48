"""The clip of a request, wherever it comes from: sent with it, sent before, or lying elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from api.errors import Problem
from api.services.upload_intake import FOLDER, inspected, kept
from jobs.outbound.http_client import OutboundError, UrlRefused, sentence_of
from jobs.sandbox.audio_probe import MediaLimits, check_seconds
from jobs.storage.factory import CONTENT_TYPES
from jobs.storage.keys import input_key
from jobs.store.uploads import UploadMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.dependencies import Services
    from api.schemas.generate import GenerateBody, GenerateForm
    from jobs.persons import PersonSummary
    from jobs.store.uploads import Upload


@dataclass(frozen=True)
class Stored:
    """A clip that a job can use."""

    key: str
    seconds: float
    bytes: int  # that are stored for this job alone


class Clip(Protocol):
    """A clip that may become a job's."""

    @property
    def digest(self) -> str:
        """Names what is heard, for the Idempotency-Key."""

    def stored(self, job_id: str, person: PersonSummary) -> Stored:
        """Look at it and keep it for this job. MediaError where it is none for this person."""


@dataclass(frozen=True)
class SentClip:
    """A file that came with the request."""

    path: Path
    services: Services

    @property
    def digest(self) -> str:
        return file_digest(self.path)

    def stored(self, job_id: str, person: PersonSummary) -> Stored:
        settings = self.services.settings
        most = min(person.max_seconds, settings.max_clip_seconds)
        found = inspected(self.path, settings, max_seconds=most)
        key = input_key(job_id, found.container)
        self.services.storage.put(key, self.path, CONTENT_TYPES[f".{found.container}"])
        return Stored(key, found.seconds, self.path.stat().st_size)


@dataclass(frozen=True)
class UploadedClip:
    """A file that lies in the storage since an earlier request, for any number of jobs."""

    upload: Upload

    @property
    def digest(self) -> str:
        assert self.upload.sha256 is not None
        return self.upload.sha256

    def stored(self, job_id: str, person: PersonSummary) -> Stored:
        assert self.upload.seconds is not None
        check_seconds(self.upload.seconds, MediaLimits(max_seconds=person.max_seconds))
        return Stored(self.upload.key, self.upload.seconds, 0)


@dataclass(frozen=True)
class ClipElsewhere:
    """A file that has yet to be fetched: not for a request that was sent before."""

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
        except OutboundError as error:
            code = "audio_url_refused" if isinstance(error, UrlRefused) else "audio_url_failed"
            fields = [{"field": "audio_url", "detail": str(error)}]
            raise Problem(422, code, sentence_of(error), errors=fields) from error


@contextmanager
def clip_of(asked: GenerateForm | GenerateBody, tenant: str, services: Services) -> Iterator[Clip]:
    """The clip that is asked for, for as long as the block lasts."""
    if asked.upload_id is not None:
        yield UploadedClip(usable(asked.upload_id, tenant, services))
        return
    if asked.audio_url is not None:
        yield ClipElsewhere(_checked(asked.audio_url, services), services)
        return
    assert asked.audio is not None
    source = io.BytesIO(asked.audio) if isinstance(asked.audio, bytes) else asked.audio.file
    with kept(source, most=services.settings.max_upload_bytes) as path:
        yield SentClip(path, services)


def _checked(url: str, services: Services) -> str:
    """The URL as it will be asked for. Problem where we would not."""
    if not services.settings.audio_urls:
        sentence = "This service fetches nothing by audio_url; send the clip in audio."
        fields = [{"field": "audio_url", "detail": sentence}]
        raise Problem(422, "audio_url_refused", sentence, errors=fields)
    try:
        return services.outbound.check_url(url)
    except UrlRefused as error:
        fields = [{"field": "audio_url", "detail": str(error)}]
        raise Problem(422, "audio_url_refused", sentence_of(error), errors=fields) from error


def usable(upload_id: str, tenant: str, services: Services) -> Upload:
    """An upload that jobs of this tenant may use."""
    try:
        upload = services.database.uploads.get(tenant, upload_id)
    except UploadMissing as error:
        sentence = f"There is no upload {upload_id!r}, or it has expired; send the clip again."
        raise _unusable("upload_unknown", sentence) from error
    if not upload.ready:
        sentence = (
            f"The upload {upload_id!r} is not complete; send its parts, then POST "
            f"/uploads/{upload_id}/complete."
        )
        raise _unusable("upload_incomplete", sentence)
    return upload


def _unusable(code: str, sentence: str) -> Problem:
    return Problem(422, code, sentence, errors=[{"field": "upload_id", "detail": sentence}])


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
