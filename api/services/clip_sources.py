"""Sources of a request's clips: the body, an earlier upload, or a URL."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from api.problems import Problem
from api.services.upload_intake import FOLDER, probed, saved
from contracts.files import plain_name, sha256_of
from jobs.outbound.http_client import OutboundError, UrlRefused, sentence_of
from jobs.sandbox.audio_formats import MediaError, MediaLimits
from jobs.sandbox.audio_probe import check_seconds
from jobs.sandbox.recording import check_channels, length_warnings, of_partner
from jobs.storage.factory import CONTENT_TYPES
from jobs.storage.keys import input_key, job_folder, partner_key
from jobs.store.uploads import UploadMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fastapi import UploadFile

    from api.dependencies import Services
    from api.schemas.generate import GenerateBody, GenerateForm
    from jobs.model import JobWarning
    from jobs.persons import PersonSummary
    from jobs.store.uploads import Upload

    KeyOf = Callable[[str], str]


@dataclass(frozen=True)
class Stored:
    """A clip in storage that a job can use."""

    key: str
    seconds: float
    channels: int | None  # None for an upload of version 0.1
    bytes: int  # stored for this job alone
    warnings: tuple[JobWarning, ...]


class Clip(Protocol):
    """A clip of a request."""

    @property
    def filename(self) -> str | None:
        """Name of its file, as sent."""

    @property
    def digest(self) -> str:
        """Digest of the audio, compared when an Idempotency-Key is repeated."""

    def stored(self, key_of: KeyOf, longest: float) -> Stored:
        """Probe the clip and store it. key_of: the storage key of a container.

        longest: seconds that the persons take.

        Raises:
            MediaError: when the persons' networks cannot use it.
        """


@dataclass(frozen=True)
class SentClip:
    """A file that came with the request."""

    path: Path
    tenant: str
    services: Services
    filename: str | None = None

    @property
    def digest(self) -> str:
        return sha256_of(self.path)

    def stored(self, key_of: KeyOf, longest: float) -> Stored:
        settings = self.services.settings
        most = min(longest, settings.max_clip_seconds)
        info = probed(self.path, settings, max_seconds=most, tenant=self.tenant)
        key = key_of(info.container)
        self.services.storage.put(key, self.path, CONTENT_TYPES[f".{info.container}"])
        size = self.path.stat().st_size
        return Stored(key, info.seconds, info.channels, size, info.warnings)


@dataclass(frozen=True)
class UploadedClip:
    """A file that an earlier request put into storage, for any number of jobs."""

    upload: Upload

    @property
    def filename(self) -> str | None:
        return self.upload.filename

    @property
    def digest(self) -> str:
        assert self.upload.sha256 is not None
        return self.upload.sha256

    def stored(self, key_of: KeyOf, longest: float) -> Stored:
        assert self.upload.seconds is not None
        check_seconds(self.upload.seconds, MediaLimits(max_seconds=longest))
        upload = self.upload
        return Stored(upload.key, self.upload.seconds, upload.channels, 0, upload.warnings)


@dataclass(frozen=True)
class RemoteClip:
    """A file at a URL; it is fetched only when the request is new."""

    url: str
    tenant: str
    services: Services

    @property
    def filename(self) -> str | None:
        return plain_name(unquote(urlsplit(self.url).path))

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.url.encode()).hexdigest()

    def stored(self, key_of: KeyOf, longest: float) -> Stored:
        with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
            path = Path(folder) / "audio"
            self._fetch(path)
            return SentClip(path, self.tenant, self.services).stored(key_of, longest)

    def _fetch(self, path: Path) -> None:
        settings, fetch = self.services.settings, self.services.outbound.fetch
        most, seconds = settings.max_upload_bytes, settings.audio_url_seconds
        try:
            asyncio.run(fetch(self.url, path, most_bytes=most, seconds=seconds))
        except UrlRefused as error:
            raise _url_problem("audio_url_refused", error) from error
        except OutboundError as error:
            raise _url_problem("audio_url_failed", error) from error


@dataclass(frozen=True)
class Recording:
    """The audio of a request: one clip, or one for each person."""

    clip: Clip
    partner: Clip | None

    @property
    def digest(self) -> str:
        """Digest of the audio, compared when an Idempotency-Key is repeated."""
        if self.partner is None:
            return self.clip.digest
        both = f"{self.clip.digest} {self.partner.digest}"
        return hashlib.sha256(both.encode()).hexdigest()

    def stored_for(
        self,
        job_id: str,
        person_channel: str,
        persons: Iterable[PersonSummary],
        services: Services,
    ) -> dict[str, Any]:
        """Probe and store the clips; return attributes of the job, by the names of `NewJob`.

        Raises:
            MediaError, Problem: when a clip is refused; nothing is stored.
        """
        try:
            longest = min(person.max_seconds for person in persons)
            return self._stored_for(job_id, person_channel, longest)
        except (MediaError, Problem):
            services.storage.delete(job_folder(job_id))
            raise

    def _stored_for(self, job_id: str, person_channel: str, longest: float) -> dict[str, Any]:
        audio = self.clip.stored(partial(input_key, job_id), longest)
        if self.partner is None:
            check_channels(person_channel, audio.channels, partner=False)
            return {
                "input_key": audio.key,
                "filename": self.clip.filename,
                "clip_seconds": audio.seconds,
                "input_bytes": audio.bytes,
                "warnings": audio.warnings,
            }
        partner = self._stored_partner(job_id, longest)
        check_channels(
            person_channel, audio.channels, partner=True, partner_channels=partner.channels
        )
        in_partner = of_partner(partner.warnings)
        lengths = length_warnings(audio.seconds, partner.seconds)
        return {
            "input_key": audio.key,
            "filename": self.clip.filename,
            "partner_key": partner.key,
            "clip_seconds": max(audio.seconds, partner.seconds),
            "input_bytes": audio.bytes + partner.bytes,
            "warnings": audio.warnings + in_partner + lengths,
        }

    def _stored_partner(self, job_id: str, longest: float) -> Stored:
        assert self.partner is not None
        try:
            return self.partner.stored(partial(partner_key, job_id), longest)
        except MediaError as error:
            detail = f"In partner: {error.detail}."
            fields = [{"field": "partner", "detail": error.detail}]
            raise Problem(error.code, detail, errors=fields) from error


@contextmanager
def recording_of(
    body: GenerateForm | GenerateBody, tenant: str, services: Services
) -> Iterator[Recording]:
    """The recording of a request; files of the body exist until the block ends."""
    with ExitStack() as stack:
        most = services.settings.max_upload_bytes

        def sent(file: UploadFile | bytes) -> Clip:
            source, name = (
                (io.BytesIO(file), None)
                if isinstance(file, bytes)
                else (file.file, plain_name(file.filename))
            )
            return SentClip(stack.enter_context(saved(source, most=most)), tenant, services, name)

        yield Recording(_clip(body, sent, tenant, services), _partner(body, sent, tenant, services))


def _clip(
    body: GenerateForm | GenerateBody,
    sent: Callable[[UploadFile | bytes], Clip],
    tenant: str,
    services: Services,
) -> Clip:
    if body.upload_id is not None:
        return UploadedClip(ready_upload(body.upload_id, tenant, services))
    if body.audio_url is not None:
        return RemoteClip(_checked(body.audio_url, services), tenant, services)
    assert body.audio is not None
    return sent(body.audio)


def _partner(
    body: GenerateForm | GenerateBody,
    sent: Callable[[UploadFile | bytes], Clip],
    tenant: str,
    services: Services,
) -> Clip | None:
    if (upload_id := body.partner_upload_id) is not None:
        return UploadedClip(ready_upload(upload_id, tenant, services, field="partner_upload_id"))
    return None if body.partner is None else sent(body.partner)


def ready_upload(
    upload_id: str, tenant: str, services: Services, *, field: str = "upload_id"
) -> Upload:
    """A complete upload of this tenant.

    Raises:
        Problem: when it is unknown, expired or not complete.
    """
    try:
        upload = services.database.uploads.get(tenant, upload_id)
    except UploadMissing as error:
        detail = f"Upload {upload_id!r} not found or expired; send the clip again."
        fields = [{"field": field, "detail": detail}]
        raise Problem("upload_unknown", detail, errors=fields) from error
    if not upload.ready:
        detail = (
            f"Upload {upload_id!r} is not complete; send its parts, then POST "
            f"/uploads/{upload_id}/complete."
        )
        fields = [{"field": field, "detail": detail}]
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
