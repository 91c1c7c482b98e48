"""Exception handlers: each family of exceptions becomes a problem of api/problems.py.

Problem                 raised by routes                             its code
RequestValidationError  invalid fields                               invalid_request
HTTPException           unknown route, wrong method, invalid body    by its status
JobMissing              unknown job                                  job_not_found
KeyEnded                key revoked while its caller waited          key_invalid
BatchMissing            unknown batch                                batch_not_found
IdempotencyKeyReused    key of another request                       idempotency_key_reused
QuotaExceeded           quota of the tenant reached                  quota_jobs, _seconds, _bytes
MediaError              unusable audio file                          the code of the probe
ObjectMissing           deleted file                                 file_not_found
StorageError            storage unavailable                          storage_unavailable
OperationalError        database unavailable                         database_unavailable
DataError               a value that the database cannot store       invalid_request
OSError, and those two  no space left                                storage_full
anything else           logged and answered as an incident           internal_error
"""

from __future__ import annotations

import logging
import math
import re
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, OperationalError
from starlette.exceptions import HTTPException as StarletteHTTPException

from api.background.job_watch import KeyEnded
from api.problems import Problem, problem_response
from jobs.model import new_job_id
from jobs.sandbox.audio_formats import MediaError
from jobs.storage.disk_full import is_full
from jobs.storage.factory import ObjectMissing, StorageError, StorageFull
from jobs.store.batches import BatchMissing
from jobs.store.idempotency import IdempotencyKeyReused
from jobs.store.job_rows import JobMissing
from jobs.store.quotas import QuotaExceeded
from jobs.telemetry import outages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse

logger = logging.getLogger(__name__)

RETRY = {"Retry-After": "5"}
RETRY_FULL = {"Retry-After": "60"}
# Sentences for errors whose message in pydantic contains names of Python types.
TYPE_SENTENCES = {
    "model_type": "should be an object",
    "model_attributes_type": "should be an object",
    "dict_type": "should be an object",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "string_type": "should be text",
    "bytes_type": "should be text",
    "json_type": "should be JSON",
}
SUBJECT = re.compile("^(?:Input|Value|String|Tuple|List|Dictionary|Data) should ")


def install(app: FastAPI) -> None:
    """Register one handler for each family of exceptions."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(JobMissing, _job_missing)
    app.add_exception_handler(KeyEnded, _key_ended)
    app.add_exception_handler(BatchMissing, _batch_missing)
    app.add_exception_handler(IdempotencyKeyReused, _key_reused)
    app.add_exception_handler(QuotaExceeded, _quota)
    app.add_exception_handler(MediaError, _media)
    app.add_exception_handler(ObjectMissing, _object_missing)
    app.add_exception_handler(StorageError, _storage)
    app.add_exception_handler(OperationalError, _database)
    app.add_exception_handler(DataError, _unstorable)
    app.add_exception_handler(OSError, _os)


def internal_error(error: BaseException) -> JSONResponse:
    """500: log the traceback under an incident number that the caller can report."""
    incident = new_job_id()[-12:]
    logger.error("internal error", exc_info=error, extra={"incident": incident})
    detail = f"Internal error, not caused by your request; report incident {incident}."
    return problem_response("internal_error", detail, incident=incident)


def database_unavailable(error: Exception) -> JSONResponse:
    """503: the database does not answer. 507 when it is full."""
    if is_full(error):
        return storage_full(error)
    outages.report(error, "database does not answer")
    return problem_response("database_unavailable", headers=RETRY)


def storage_full(error: BaseException) -> JSONResponse:
    """507: no space left in storage, on disk or in the database."""
    logger.error("no room left", exc_info=error)
    return problem_response("storage_full", headers=RETRY_FULL)


def problem_of_item(item: str, error: Problem | MediaError) -> Problem:
    """The same problem for one item of several; detail and fields start with its name."""
    problem = _media_problem(error) if isinstance(error, MediaError) else error
    fields = [
        {"field": f"{item}.{each['field']}", "detail": each["detail"]}
        for each in problem.members.get("errors", [])
    ]
    members = problem.members | {"errors": fields}
    return Problem(problem.code, f"{item}: {problem.detail}", **members)


def _problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return error.response()


def _validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = {_top(entry): entry for entry in reversed(error.errors())}  # one for each field
    fields = [_field(entry) for entry in reversed(first.values())]
    detail = "; ".join(f"{each['field']}: {each['detail']}" for each in fields)
    return problem_response("invalid_request", f"{detail}.", errors=fields)


def _top(entry: Mapping[str, Any]) -> str:
    return str(entry["loc"][min(1, len(entry["loc"]) - 1)])


def _field(entry: Mapping[str, Any]) -> dict[str, str]:
    location: Sequence[Any] = entry["loc"]
    name = ".".join(str(part) for part in location[1:]) or str(location[0])
    if entry["type"] == "extra_forbidden":
        return {"field": name, "detail": "unknown field; see /docs for the known ones"}
    if entry["type"] == "missing":
        return {"field": name, "detail": "is missing; send it"}
    message = TYPE_SENTENCES.get(entry["type"], str(entry["msg"]).removeprefix("Value error, "))
    message = SUBJECT.sub("should ", message)
    value = entry.get("input")
    has_fix = ";" in message
    if isinstance(value, str | int | float) and not has_fix and str(value) not in message:
        message += f", not {str(value)[:80]!r}"
    return {"field": name, "detail": message}


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    if is_full(error):  # while the body was read
        return storage_full(error)
    path = request.url.path
    match error.status_code:
        case 400:
            return problem_response("malformed_body", headers=error.headers)
        case 404:
            detail = f"Nothing found at {path}; see /docs."
            return problem_response("route_not_found", detail, error.headers)
        case 405:
            detail = f"{request.method} is not allowed on {path}; see /docs."
            return problem_response("method_not_allowed", detail, error.headers)
    raise error


def _job_missing(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, JobMissing)
    return problem_response("job_not_found", f"Job {error.job_id[:64]!r} not found.")


def _key_ended(_request: Request, _error: Exception) -> JSONResponse:
    return problem_response("key_invalid")


def _batch_missing(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BatchMissing)
    return problem_response("batch_not_found", f"Batch {error.batch_id[:64]!r} not found.")


def _key_reused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, IdempotencyKeyReused)
    detail = (
        f"The Idempotency-Key {error.key!r} was sent with another request before; send a new key, "
        "or the same fields and audio."
    )
    return problem_response("idempotency_key_reused", detail)


def _quota(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, QuotaExceeded)
    limit, used, requested = error.limit, error.used, error.requested
    wait = None if error.again_in is None else math.ceil(error.again_in.total_seconds())
    if error.what == "jobs_in_flight":
        code = "quota_jobs"
        reason = f"Job quota reached: {used:g} of {limit:g} queued or running"
        fix = "retry after one finishes"
    elif error.what == "seconds_a_day":
        code = "quota_seconds"
        reason = (
            f"Daily audio quota reached: {used:.1f} of {limit:g} s used, and the clip has "
            f"{requested:.1f} s"
        )
        fix = "send a shorter clip" if wait is None else "retry after midnight UTC"
    else:
        code = "quota_bytes"
        reason = (
            f"Storage quota reached: {used:g} of {limit:g} bytes stored, and this needs "
            f"{requested:g}"
        )
        fix = "delete jobs first"
    headers = {} if wait is None else {"Retry-After": str(wait)}
    numbers = {"limit": limit, "used": used, "asked": requested}
    return problem_response(code, f"{reason}; {fix}.", headers, quota=numbers)


def _media(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MediaError)
    return _media_problem(error).response()


def _media_problem(error: MediaError) -> Problem:
    detail = error.detail[0].upper() + error.detail[1:] + "."
    return Problem(error.code, detail, errors=[{"field": "audio", "detail": error.detail}])


def _object_missing(_request: Request, _error: Exception) -> JSONResponse:
    return problem_response("file_not_found")


def _os(_request: Request, error: Exception) -> JSONResponse:
    if not is_full(error):
        raise error
    return storage_full(error)


def _storage(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, StorageFull):
        return storage_full(error)
    outages.report(error, "storage does not answer")
    return problem_response("storage_unavailable", headers=RETRY)


def _unstorable(_request: Request, _error: Exception) -> JSONResponse:
    detail = "A value contains characters that cannot be stored, such as NUL; send plain text."
    return problem_response("invalid_request", detail)


def _database(_request: Request, error: Exception) -> JSONResponse:
    return database_unavailable(error)
