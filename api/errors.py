"""Errors on the wire: RFC 9457 problem+json with a stable `code`. Routes raise `Problem`.

Problem                 what a route raises, with status, code and a sentence
RequestValidationError  fields that do not fit                  422 invalid_request
HTTPException           no such route, wrong method             404, 405, 400
JobMissing              no such job                             404 job_not_found
BatchMissing            no such batch                           404 batch_not_found
KeyReused               an Idempotency-Key of another request   409 idempotency_key_reused
QuotaExceeded           more than the tenant may have           429 quota_jobs, _seconds, _bytes
MediaError              a file that is no clip for us           415 or 422, the code of the probe
ObjectMissing           a file that is gone                     404 file_not_found
StorageError            storage does not answer                 503 storage_unavailable
OperationalError        the database does not answer            503 database_unavailable
OSError, and those two  no room left, wherever it is            507 storage_full
anything else           ours: logged, shown as an incident      500 internal_error
"""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException as StarletteHTTPException

from jobs.model import new_job_id
from jobs.sandbox.audio_probe import MediaError
from jobs.storage.disk_full import is_full
from jobs.storage.factory import ObjectMissing, StorageError, StorageFull
from jobs.store.batches import BatchMissing
from jobs.store.idempotency import IdempotencyKeyReused
from jobs.store.job_rows import JobMissing
from jobs.store.quotas import QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
REFERENCE = "#/components/schemas/{model}"  # in an OpenAPI document
RETRY_SECONDS = "5"
FULL_RETRY_SECONDS = "60"
CODES_OF_STATUS = {
    400: "malformed_body",
    404: "route_not_found",
    405: "method_not_allowed",
    416: "range_not_satisfiable",
}


class FieldError(BaseModel):
    """One field that does not fit."""

    field: str
    detail: str


class ProblemBody(BaseModel):
    """An error as RFC 9457 writes it."""

    type: str = Field(description="about:blank: `code` names the problem", examples=["about:blank"])
    title: str = Field(description="The words of the status.")
    status: int
    code: str = Field(description="Stable name of the problem, for programs.")
    detail: str = Field(description="What, which value, and what to do.")
    errors: list[FieldError] | None = Field(
        default=None, description="One entry for each field at fault."
    )
    incident: str | None = Field(default=None, description="Names an internal error in our log.")
    quota: dict[str, float] | None = Field(
        default=None, description="`limit`, `used`, and what was `asked` for beyond."
    )
    checks: dict[str, str] | None = Field(default=None, description="What was found by /readyz.")


class Problem(HTTPException):
    """An error with a stable code and a sentence: the only one that routes raise."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.code = code
        self.members = members


def answer(
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> JSONResponse:
    """The problem as a response."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    return JSONResponse(body | members, status, headers, CONTENT_TYPE)


def internal(error: BaseException) -> JSONResponse:
    """Our fault: the traceback goes to the log, the caller gets a number that finds it there."""
    incident = new_job_id()[-12:]
    logger.error("internal error", exc_info=error, extra={"incident": incident})
    return answer(
        500,
        "internal_error",
        f"Something went wrong here, not on your side. Report incident {incident}.",
        incident=incident,
    )


def install(app: FastAPI) -> None:
    """One handler for each family."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(JobMissing, _job_missing)
    app.add_exception_handler(BatchMissing, _batch_missing)
    app.add_exception_handler(IdempotencyKeyReused, _key_reused)
    app.add_exception_handler(QuotaExceeded, _quota)
    app.add_exception_handler(MediaError, _media)
    app.add_exception_handler(ObjectMissing, _object_missing)
    app.add_exception_handler(StorageError, _storage)
    app.add_exception_handler(OperationalError, _database)
    app.add_exception_handler(OSError, _os)


def documented(
    *problems: tuple[int, str, str], success: Mapping[int | str, dict[str, Any]] | None = None
) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: (status, code, an example of the sentence), several for a status."""
    found: dict[int | str, dict[str, Any]] = {**(success or {})}
    for status, code, detail in problems:
        description = HTTPStatus(status).phrase
        schema = {"$ref": REFERENCE.format(model="Problem")}
        entry = found.setdefault(
            status,
            {"description": description, "content": {CONTENT_TYPE: {"schema": schema}}},
        )
        example = {
            "type": "about:blank",
            "title": description,
            "status": status,
            "code": code,
            "detail": detail,
        }
        entry["content"][CONTENT_TYPE].setdefault("examples", {})[code] = {"value": example}
    return found


def told(problem: Problem) -> JSONResponse:
    """A problem as a response."""
    return answer(
        problem.status_code, problem.code, problem.detail, problem.headers, **problem.members
    )


def database_away(error: Exception) -> JSONResponse:
    """What is answered while the database is not, or has no room left."""
    if is_full(error):
        return no_room(error)
    logger.error("database does not answer", exc_info=error)
    sentence = "The database does not answer just now; nothing was accepted. Try again in a moment."
    return answer(503, "database_unavailable", sentence, {"Retry-After": RETRY_SECONDS})


def _problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return told(error)


def _validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    firsts = {_top(entry): entry for entry in reversed(error.errors())}  # one for each field
    fields = [_field(entry) for entry in reversed(firsts.values())]
    told = "; ".join(f"{each['field']}: {each['detail']}" for each in fields)
    return answer(422, "invalid_request", f"{told}.", errors=fields)


def _top(entry: Mapping[str, Any]) -> str:
    return str(entry["loc"][min(1, len(entry["loc"]) - 1)])


def _field(entry: Mapping[str, Any]) -> dict[str, str]:
    where: Sequence[Any] = entry["loc"]
    name = ".".join(str(part) for part in where[1:]) or str(where[0])
    if entry["type"] == "extra_forbidden":
        return {"field": name, "detail": "no such field; see /docs for those there are"}
    if entry["type"] == "missing":
        return {"field": name, "detail": "is missing; send it"}
    told = str(entry["msg"]).removeprefix("Value error, ").replace("Input should", "should")
    value = entry.get("input")
    plain = isinstance(value, str | int | float) and str(value) not in told
    return {"field": name, "detail": f"{told}, not {str(value)[:80]!r}" if plain else told}


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    if is_full(error):  # while the body was read
        return no_room(error)
    status = error.status_code
    sentences = {
        400: "The body of the request could not be read; send a well-formed form, or JSON.",
        404: f"There is nothing at {request.url.path}; see /docs.",
        405: f"{request.method} does not go with {request.url.path}; see /docs.",
    }
    return answer(
        status,
        CODES_OF_STATUS.get(status, "refused"),
        sentences.get(status, str(error.detail)),
        error.headers,
    )


def _job_missing(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, JobMissing)
    return answer(404, "job_not_found", f"There is no job {error.job_id[:64]!r}.")


def _batch_missing(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BatchMissing)
    return answer(404, "batch_not_found", f"There is no batch {error.batch_id[:64]!r}.")


def _key_reused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, IdempotencyKeyReused)
    return answer(
        409,
        "idempotency_key_reused",
        f"The Idempotency-Key {error.key!r} came with another request before; send a new key, or "
        "the same fields and audio.",
    )


def _quota(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, QuotaExceeded)
    code, sentence = {
        "jobs_in_flight": (
            "quota_jobs",
            "Of {limit:g} jobs {used:g} are queued or running; send this when one has ended.",
        ),
        "seconds_a_day": (
            "quota_seconds",
            "Of {limit:g} s a day {used:.1f} are used, and the clip has {asked:.1f} s; {again}.",
        ),
        "stored_bytes": (
            "quota_bytes",
            "Of {limit:g} bytes {used:g} are stored, and this is {asked:g}; delete jobs first.",
        ),
    }[error.what]
    seconds = None if error.again_in is None else math.ceil(error.again_in.total_seconds())
    again = "this is too long for any day" if seconds is None else "send it after midnight, UTC"
    told = sentence.format(used=error.used, limit=error.limit, asked=error.asked, again=again)
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    numbers = {"limit": error.limit, "used": error.used, "asked": error.asked}
    return answer(429, code, told, headers, quota=numbers)


def _media(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MediaError)
    return told(_media_problem(error))


def _media_problem(error: MediaError) -> Problem:
    status = 415 if error.code == "audio_type_unsupported" else 422
    sentence = error.detail[0].upper() + error.detail[1:] + "."
    fields = [{"field": "audio", "detail": error.detail}]
    return Problem(status, error.code, sentence, errors=fields)


def at_place(place: str, error: Problem | MediaError) -> Problem:
    """The same problem, of one item of several."""
    problem = _media_problem(error) if isinstance(error, MediaError) else error
    fields = [
        {"field": f"{place}.{each['field']}", "detail": each["detail"]}
        for each in problem.members.get("errors", [])
    ]
    members = problem.members | {"errors": fields}
    return Problem(problem.status_code, problem.code, f"{place}: {problem.detail}", **members)


def _object_missing(_request: Request, _error: Exception) -> JSONResponse:
    return answer(404, "file_not_found", "The file is no longer there.")


def no_room(error: BaseException) -> JSONResponse:
    """What is to be kept finds no room: only the operator can help."""
    logger.error("no room left", exc_info=error)
    sentence = "There is no room left to keep it; nothing was accepted. Try again later."
    return answer(507, "storage_full", sentence, {"Retry-After": FULL_RETRY_SECONDS})


def _os(_request: Request, error: Exception) -> JSONResponse:
    if not is_full(error):
        raise error
    return no_room(error)


def _storage(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, StorageFull):
        return no_room(error)
    logger.error("storage does not answer", exc_info=error)
    sentence = "The storage does not answer just now; nothing was accepted. Try again in a moment."
    return answer(503, "storage_unavailable", sentence, {"Retry-After": RETRY_SECONDS})


def _database(_request: Request, error: Exception) -> JSONResponse:
    return database_away(error)
