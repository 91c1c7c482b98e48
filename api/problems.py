"""Catalogue of API problems (RFC 9457): each code has one status and an example sentence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER = {
    "description": "Seconds after which the request may be sent again.",
    "schema": {"type": "integer"},
}
REFERENCE = "#/components/schemas/{model}"  # in an OpenAPI document


@dataclass(frozen=True)
class ProblemType:
    """The status of a code, and a sentence: `detail` where it is constant, else an example."""

    status: int
    sentence: str


CATALOGUE: Mapping[str, ProblemType] = {
    "malformed_body": ProblemType(
        400, "The request body could not be read; send a well-formed form or JSON."
    ),
    "part_incomplete": ProblemType(
        400, "The part has 512 bytes but should have 1024; PUT it again."
    ),
    "key_missing": ProblemType(401, "API key missing; send it as `Authorization: Bearer vv_…`."),
    "key_invalid": ProblemType(
        401, "The API key is unknown, revoked or expired; ask the operator for another."
    ),
    "host_unknown": ProblemType(
        403,
        "Unknown host 'evil.example': this service answers to localhost; set VISAVIS_PUBLIC_URL "
        "to the address that callers use.",
    ),
    "origin_not_allowed": ProblemType(
        403,
        "Pages of 'https://evil.example' must not write to this service; add the origin to "
        "VISAVIS_CORS_ORIGINS to allow it.",
    ),
    "scope_missing": ProblemType(
        403, "Key 'a1b2c3d4e5f6' has read access; this request needs write access."
    ),
    "link_invalid": ProblemType(
        403, "The link was altered or has expired; GET the job for a new one."
    ),
    "route_not_found": ProblemType(404, "Nothing found at /nowhere; see /docs."),
    "job_not_found": ProblemType(404, "Job '0198c0ffee' not found."),
    "output_not_found": ProblemType(404, "Output 'take-9.mp4' not found; the job has: take-1.mp4."),
    "file_not_found": ProblemType(404, "The file no longer exists."),
    "delivery_not_found": ProblemType(
        404, "Delivery '0198c0ffee' not found; see the deliveries of the job."
    ),
    "upload_not_found": ProblemType(
        404, "Upload '0198c0ffee' not found or expired; send the clip again."
    ),
    "batch_not_found": ProblemType(404, "Batch '0198c0ffee' not found."),
    "method_not_allowed": ProblemType(405, "DELETE is not allowed on /jobs; see /docs."),
    "upload_too_slow": ProblemType(
        408,
        "The upload did not arrive within 600 s; send a smaller format such as flac, mp3 or ogg.",
    ),
    "job_not_finished": ProblemType(
        409, "The job is running; it has outputs only after it has succeeded."
    ),
    "job_without_outputs": ProblemType(
        409, "The job is failed; it has outputs only after it has succeeded."
    ),
    "idempotency_key_reused": ProblemType(
        409,
        "The Idempotency-Key 'order-17' was sent with another request before; send a new key, or "
        "the same fields and audio.",
    ),
    "part_missing": ProblemType(409, "Part 2 is missing; PUT it, then complete the upload."),
    "upload_complete": ProblemType(
        409, "Upload '0198c0ffee' is complete; send its id as upload_id."
    ),
    "motion_missing": ProblemType(409, "The job has no motion yet; wait until it renders."),
    "motion_outdated": ProblemType(
        409, "The person 'demo' has changed since; send the recording again."
    ),
    "job_has_ended": ProblemType(
        409, "The job has failed; only queued or running jobs can be canceled."
    ),
    "job_not_retryable": ProblemType(
        409, "The job is running; only failed or canceled jobs can be retried."
    ),
    "output_expired": ProblemType(
        410, "The files of this job were kept until 2026-05-04; send the recording again."
    ),
    "input_expired": ProblemType(
        410, "The recording was kept until 2026-05-04; send it again as a new job."
    ),
    "upload_too_large": ProblemType(
        413,
        "The upload is larger than 104857600 bytes; send a shorter clip or a smaller format such "
        "as flac, mp3 or ogg, or send it by POST /uploads.",
    ),
    "body_type_unsupported": ProblemType(
        415, "Unsupported body type text/plain; send multipart/form-data or application/json."
    ),
    "audio_type_unsupported": ProblemType(415, "The file has no supported audio format; send wav."),
    "range_not_satisfiable": ProblemType(
        416, "The file does not have this range; request less, or the whole file without Range."
    ),
    "invalid_request": ProblemType(422, "takes: should be less than or equal to 10, not '11'."),
    "audio_url_refused": ProblemType(
        422, "This service does not fetch audio_url; send the clip in audio."
    ),
    "audio_url_failed": ProblemType(422, "The response has status 404, not 200."),
    "upload_unknown": ProblemType(
        422, "Upload '0198c0ffee' not found or expired; send the clip again."
    ),
    "upload_incomplete": ProblemType(
        422,
        "Upload '0198c0ffee' is not complete; send its parts, then POST "
        "/uploads/0198c0ffee/complete.",
    ),
    "take_unknown": ProblemType(422, "Take 5 not found; the job has takes 1 to 2."),
    "person_unknown": ProblemType(422, "Person 'ada' not found; available: demo."),
    "consent_refused": ProblemType(
        422,
        "use: the licence of 'ada', CC BY-NC 4.0, does not cover commercial use; choose another "
        "person.",
    ),
    "watermark_refused": ProblemType(
        422, "watermark: this service marks all of its outputs; leave the field out."
    ),
    "file_not_examined": ProblemType(
        422,
        "file: could not be examined within the limits of time and memory; send a shorter part.",
    ),
    "view_unknown": ProblemType(422, "View 'back' of 'demo' not found; available: front, wide."),
    "size_unsupported": ProblemType(
        422,
        "3 views of 2048x2048 make a picture 6144 pixels wide, more than 4096; ask for a size at "
        "most 1364 wide, or for fewer views.",
    ),
    "output_unsupported": ProblemType(
        422,
        "outputs: 'ada' has no csv, which needs a face with units; choose from video, motion, bvh.",
    ),
    "sampler_unsupported": ProblemType(
        422,
        "sampler: 'ada' has no student; make one with `python -m training distill`, or choose from "
        "ddim, dpm-solver, unipc.",
    ),
    "control_unsupported": ProblemType(422, "gestures: 'ada' does not support it; leave it out."),
    "shading_unsupported": ProblemType(
        422,
        "shading: 'ada' has only fast, because this person's picture is learned; "
        "leave shading out.",
    ),
    "callback_url_refused": ProblemType(
        422,
        "The URL does not begin with https://. Send a callback_url like https://example.com/hook.",
    ),
    "clip_too_long": ProblemType(422, "The clip is 31.50 s, and the limit is 20 s; cut it."),
    "clip_too_short": ProblemType(422, "The clip is 0.020 s long; send 0.1 s or more."),
    "audio_empty": ProblemType(422, "The audio file is empty; send a recording."),
    "audio_missing": ProblemType(422, "The file contains no audio; send a recording."),
    "audio_damaged": ProblemType(
        422, "The file begins like flac but cannot be decoded; export it again."
    ),
    "audio_unreadable": ProblemType(
        422,
        "The audio could not be read within the time and memory limits of an upload; convert it to "
        "wav and send it again.",
    ),
    "partner_channels": ProblemType(
        422,
        "Audio has 2 channels and partner 1 channel; send two mono files, or one file of two "
        "channels without partner.",
    ),
    "audio_channels": ProblemType(
        422,
        "The audio has 3 channels; send 2 (left: the person, right: the partner) or 1 (the "
        "person).",
    ),
    "audio_sample_rate": ProblemType(
        422, "The audio has 2000 samples per second; send 4000 to 192000, preferably 48000."
    ),
    "rate_limited": ProblemType(
        429,
        "Rate limit of key 'a1b2c3d4e5f6' reached: 120 write requests a minute; retry in 12 s.",
    ),
    "quota_jobs": ProblemType(
        429, "Job quota reached: 5 of 5 queued or running; retry after one finishes."
    ),
    "quota_seconds": ProblemType(
        429,
        "Daily audio quota reached: 580.0 of 600 s used, and the clip has 31.5 s; retry after "
        "midnight UTC.",
    ),
    "quota_bytes": ProblemType(
        429,
        "Storage quota reached: 990000 of 1000000 bytes stored, and this needs 48000; delete "
        "jobs first.",
    ),
    "internal_error": ProblemType(
        500, "Internal error, not caused by your request; report incident 0198c0ffee12."
    ),
    "uploads_busy": ProblemType(
        503, "All 64 places for uploads are in use; send the request again."
    ),
    "server_busy": ProblemType(
        503, "All 1000 places for waiting requests are in use; send the request again."
    ),
    "storage_unavailable": ProblemType(
        503, "The storage is unavailable; nothing was accepted. Try again in a moment."
    ),
    "database_unavailable": ProblemType(
        503, "The database is unavailable; nothing was accepted. Try again in a moment."
    ),
    "not_ready": ProblemType(503, "Not ready: broker; see `checks`."),
    "storage_full": ProblemType(
        507, "No space left to store the request; nothing was accepted. Try again later."
    ),
}
if TYPE_CHECKING:
    ProblemCode = str
else:
    ProblemCode = StrEnum("ProblemCode", {code: code for code in CATALOGUE}, module=__name__)
    ProblemCode.__doc__ = "Stable identifier of a problem, for programs."

# Statuses after which the same request may succeed; their answers say when.
TEMPORARY = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.INSUFFICIENT_STORAGE,
)
# Codes that no route lists: every route may answer with them.
GENERAL = frozenset({"internal_error", "method_not_allowed", "server_busy"})
# Codes of an invalid clip, for every route that checks one.
CLIP_PROBLEMS = (
    "audio_type_unsupported",
    "clip_too_long",
    "clip_too_short",
    "audio_empty",
    "audio_missing",
    "audio_damaged",
    "audio_unreadable",
    "audio_channels",
    "audio_sample_rate",
)


class FieldError(BaseModel):
    """One invalid field."""

    field: str
    detail: str


class ProblemBody(BaseModel):
    """An error in the format of RFC 9457."""

    type: str = Field(
        description="about:blank: `code` identifies the problem", examples=["about:blank"]
    )
    title: str = Field(description="Reason phrase of the status.")
    status: int
    code: ProblemCode
    detail: str = Field(description="The problem, the value, and the fix.")
    errors: list[FieldError] | None = Field(
        default=None, description="One entry for each invalid field."
    )
    incident: str | None = Field(
        default=None, description="Identifies an internal error in the server's log."
    )
    quota: dict[str, float] | None = Field(
        default=None, description="`limit`, `used`, and the amount `asked` for beyond."
    )
    checks: dict[str, str] | None = Field(default=None, description="Results of /readyz.")


class Problem(HTTPException):
    """An error with a code of the catalogue: the only exception that routes raise on purpose."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        """detail: by default the sentence of the catalogue. members: more members of the body."""
        kind = CATALOGUE[code]
        super().__init__(kind.status, detail or kind.sentence, dict(headers or {}))
        self.code = code
        self.members = members

    def response(self) -> JSONResponse:
        """The problem as a response."""
        body = _body(self.code, str(self.detail)) | self.members
        return JSONResponse(body, self.status_code, self.headers, CONTENT_TYPE)


def problem_response(
    code: str,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> JSONResponse:
    """A problem that is answered without being raised."""
    return Problem(code, detail, headers=headers, **members).response()


def problems(
    *codes: str, success: Mapping[int | str, dict[str, Any]] | None = None
) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: the codes it may answer with, and its successful responses."""
    responses: dict[int | str, dict[str, Any]] = {**(success or {})}
    schema = {"$ref": REFERENCE.format(model="Problem")}
    for code in codes:
        status, sentence = CATALOGUE[code].status, CATALOGUE[code].sentence
        content = {CONTENT_TYPE: {"schema": schema, "examples": {}}}
        entry = responses.setdefault(
            status, {"description": HTTPStatus(status).phrase, "content": content}
        )
        entry["content"][CONTENT_TYPE]["examples"][code] = {"value": _body(code, sentence)}
        if status in TEMPORARY:
            entry["headers"] = {"Retry-After": RETRY_AFTER}
    return responses


def document_problems(operation: dict[str, Any], *codes: str) -> None:
    """Add problems to an operation of an OpenAPI document."""
    for status, response in problems(*codes).items():
        documented = operation["responses"].setdefault(str(status), response)
        examples = documented["content"][CONTENT_TYPE]["examples"]
        examples |= response["content"][CONTENT_TYPE]["examples"]


def _body(code: str, detail: str) -> dict[str, Any]:
    status = CATALOGUE[code].status
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
