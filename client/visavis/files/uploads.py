"""Large files, sent in parts that are repeated one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from visavis import errors
from visavis.core.decode import parsed
from visavis.core.retry import Config, call, get, json_of, post, segment
from visavis.core.steps import Request
from visavis.files.audio import Audio, PartStream, Recording, open_recording
from visavis.models import Part, Upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from visavis.core.steps import Steps

    SentBytes = Callable[[int, int], object]  # called with the bytes that were sent, and all
    Announced = Callable[[Upload], object]  # called with an upload before its first part

COMPLETE_SECONDS = 600.0  # the service joins and probes a file of gigabytes before it answers
LONGEST_NAME = 255  # characters of the name of a file
MISSING = "parts."  # prefix of the field that names a missing part


def upload_audio(
    config: Config,
    audio: Audio,
    progress: SentBytes | None,
    *,
    upload_id: str | None = None,
    announced: Announced | None = None,
) -> Steps[Upload]:
    """Announce a file and send it; with `upload_id`, send what is missing of an earlier one."""
    recording = open_recording(audio)
    try:
        if upload_id is not None:
            return (yield from resume_recording(config, upload_id, recording, progress))
        return (yield from upload_recording(config, recording, progress, announced))
    finally:
        recording.close()


def upload_recording(
    config: Config,
    recording: Recording,
    progress: SentBytes | None,
    announced: Announced | None,
) -> Steps[Upload]:
    """Announce a file and send it. Raises: UploadError: with the id to continue from."""
    announcement = {"bytes": recording.bytes, "filename": recording.name[-LONGEST_NAME:]}
    content = yield from post(config, "/uploads", body={"json": announcement})
    upload = parsed(Upload, content)
    if announced is not None:
        announced(upload)
    for part in upload.parts:
        yield from _put(config, upload, part, recording)
        if progress is not None:
            progress(part.first + part.bytes, upload.bytes)
    return (yield from _completed(config, upload, recording, progress))


def resume_recording(
    config: Config, upload_id: str, recording: Recording, progress: SentBytes | None
) -> Steps[Upload]:
    """Send the parts of an announced file that have not arrived."""
    upload = yield from read_upload(config, upload_id)
    if recording.bytes != upload.bytes:
        raise errors.UploadError(
            f"upload {upload_id} was announced with {upload.bytes} bytes, and the file has "
            f"{recording.bytes}; send it as a new upload",
            upload_id,
        )
    return (yield from _completed(config, upload, recording, progress))


def read_upload(config: Config, upload_id: str) -> Steps[Upload]:
    """Read an upload, with fresh addresses of its parts."""
    return parsed(Upload, (yield from get(config, f"/uploads/{segment(upload_id)}")))


def _completed(
    config: Config, upload: Upload, recording: Recording, progress: SentBytes | None
) -> Steps[Upload]:
    """Complete an upload, after sending the parts that the service still misses."""
    patient = replace(config, timeout=max(config.timeout, COMPLETE_SECONDS))
    request = patient.request(
        "POST", f"/uploads/{segment(upload.id)}/complete", timeout=patient.timeout
    )
    sent = set[int]()
    while True:
        try:
            done = parsed(Upload, json_of((yield from call(patient, request))))
        except errors.ConflictError as error:
            missing = [part for part in upload.parts if part.number in _missing(error)]
            if error.code != "part_missing" or not missing or sent & {p.number for p in missing}:
                raise errors.UploadError(f"upload {upload.id}: {error}", upload.id) from error
            for part in missing:
                yield from _put(config, upload, part, recording)
                sent.add(part.number)
            continue
        except errors.APIConnectionError as error:
            raise errors.UploadError(f"upload {upload.id}: {error}", upload.id) from error
        if progress is not None:
            progress(upload.bytes, upload.bytes)
        return done


def _missing(error: errors.APIStatusError) -> set[int]:
    """Numbers of the missing parts that a problem names."""
    fields = [str(each.get("field", "")) for each in error.errors]
    return {
        int(field.removeprefix(MISSING))
        for field in fields
        if field.startswith(MISSING) and field.removeprefix(MISSING).isdigit()
    }


def _put(config: Config, upload: Upload, part: Part, recording: Recording) -> Steps[None]:
    """Send one part; its address is renewed once, because it expires.

    Addresses are signed and may lead to a bucket, so the requests carry no key.
    """
    url = part.url
    for renewed in (False, True):
        stream = PartStream(recording, part.first, part.bytes)
        headers = {"User-Agent": config.user_agent, "Content-Length": str(part.bytes)}
        try:
            yield from call(config, Request("PUT", url, headers=headers, stream=stream))
        except (errors.PermissionDeniedError, errors.NotFoundError) as error:
            if renewed:
                raise errors.UploadError(f"upload {upload.id}: {error}", upload.id) from error
            fresh = yield from read_upload(config, upload.id)
            url = next((each.url for each in fresh.parts if each.number == part.number), url)
        except errors.APIError as error:
            raise errors.UploadError(f"upload {upload.id}: {error}", upload.id) from error
        else:
            return
