"""Submit a recording as a job, once, however often the request is repeated."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from visavis import errors
from visavis.core.retry import Config, post
from visavis.core.steps import Work
from visavis.files.audio import Audio, Recording, as_file, is_url, open_recording
from visavis.files.uploads import resume_recording, upload_recording
from visavis.models import Upload
from visavis.request import as_form, given

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from visavis.core.steps import Steps

SOURCES = {"audio": "upload_id", "partner": "partner_upload_id"}


@dataclass(frozen=True)
class SubmissionUploads:
    """Uploads of a submission that can go on after a kill.

    known: their ids, by "audio" and "partner". announced: called with such a name and a new upload.
    """

    known: Mapping[str, str]
    announced: Callable[[str, Upload], object]


def submit(
    config: Config,
    audio: Audio,
    partner: Audio | None,
    fields: Mapping[str, Any],
    key: str | None,
    uploads: SubmissionUploads | None = None,
) -> Steps[dict[str, Any]]:
    """Send a recording and return its job, as JSON.

    key: idempotency key; a new one by default. All tries of the request carry it. uploads: of a
    submission that was interrupted.
    """
    values = given(fields)
    recordings: dict[str, Recording] = {}
    headers = {"Idempotency-Key": key or str(uuid.uuid4())}
    try:
        for name, source in (("audio", audio), ("partner", partner)):
            if isinstance(source, Upload):
                values[SOURCES[name]] = source.id
            elif source is not None and is_url(source):
                values[f"{name}_url"] = source
            elif source is not None:
                recordings[name] = open_recording(source)
        if "partner_url" in values:
            raise ValueError("partner: the service cannot download it; send a file")
        if sum(each.bytes for each in recordings.values()) > config.inline_bytes:
            return (yield from _by_parts(config, recordings, values, headers, uploads))
        try:
            return (yield from _inline(config, recordings, values, headers))
        except errors.InvalidRequestError as error:
            if error.status != 413 or not recordings:
                raise
        return (yield from _by_parts(config, recordings, values, headers, uploads))
    finally:
        for recording in recordings.values():
            recording.close()


def _inline(
    config: Config,
    recordings: Mapping[str, Recording],
    values: Mapping[str, Any],
    headers: Mapping[str, str],
) -> Steps[dict[str, Any]]:
    """Send the recordings within the request."""
    body: dict[str, Any] = {"json": values}
    if recordings:
        files = yield Work(lambda: {name: as_file(each) for name, each in recordings.items()})
        body = {"data": as_form(values), "files": files}
    return (yield from post(config, "/generate", headers=headers, body=body))


def _by_parts(
    config: Config,
    recordings: Mapping[str, Recording],
    values: Mapping[str, Any],
    headers: Mapping[str, str],
    uploads: SubmissionUploads | None,
) -> Steps[dict[str, Any]]:
    """Send the recordings before the request."""
    uploaded = dict(values)
    for name, recording in recordings.items():
        upload = yield from _upload(config, recording, name, uploads)
        uploaded[SOURCES[name]] = upload.id
    return (yield from post(config, "/generate", headers=headers, body={"json": uploaded}))


def _upload(
    config: Config, recording: Recording, name: str, uploads: SubmissionUploads | None
) -> Steps[Upload]:
    if uploads is None:
        return (yield from upload_recording(config, recording, None, None))
    if name in uploads.known:
        try:
            return (yield from resume_recording(config, uploads.known[name], recording, None))
        except (errors.NotFoundError, errors.UploadError):
            pass  # it has expired
    announced = partial(uploads.announced, name)
    return (yield from upload_recording(config, recording, None, announced))
