"""Requests that are repeated after cut connections, rate limits and short outages."""

from __future__ import annotations

import logging
import math
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from visavis import errors
from visavis.core.steps import Open, Request, Send, Sleep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visavis.core.steps import Steps, Stream

logger = logging.getLogger("visavis")

REPEATED = frozenset((408, 429, 502, 503, 504))
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds
LONGEST_RETRY_AFTER = 120.0  # seconds; for more, the caller gets the error at once
# Other faults of httpx are caused by the request, and would come again.
TRANSIENT = (
    httpx.TimeoutException,
    httpx.NetworkError,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
)
STATUS_ERRORS: Mapping[int, type[errors.APIStatusError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    410: errors.NotFoundError,
    413: errors.InvalidRequestError,
    415: errors.InvalidRequestError,
    422: errors.InvalidRequestError,
    429: errors.RateLimitError,
}


@dataclass(frozen=True)
class Config:
    """Settings of a client. timeout: seconds. inline_bytes: larger files are sent in parts."""

    base_url: str
    api_key: str | None
    timeout: float
    max_retries: int
    inline_bytes: int
    user_agent: str
    outage_seconds: float = 0.0  # retries go on for at least this time
    deadline: float | None = None  # of time.monotonic: no retries after it

    def request(self, method: str, path: str, **given: Any) -> Request:
        """Return a request to the service, with the key."""
        headers = {"User-Agent": self.user_agent, **given.pop("headers", {})}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return Request(method, self.base_url + path, headers=headers, **given)


@dataclass
class Patience:
    """Retries that are left: `max_retries`, and more until `outage_seconds` have passed."""

    config: Config
    failures: int = 0
    began: float = field(default_factory=time.monotonic)

    def reset(self) -> None:
        """Count from the start again, after a success."""
        self.failures, self.began = 0, time.monotonic()

    def pause(self, error: errors.APIError) -> Sleep:
        """Return the pause before the next try. Raises: APIError: `error`, when none is left."""
        asked = getattr(error, "retry_after", None)
        lasted = time.monotonic() - self.began
        used_up = self.failures >= self.config.max_retries and lasted >= self.config.outage_seconds
        left = math.inf if self.config.deadline is None else self.config.deadline - time.monotonic()
        if used_up or left <= 0 or (asked or 0) > LONGEST_RETRY_AFTER:
            raise error
        longest = min(FIRST_PAUSE * 2 ** min(self.failures, 10), LONGEST_PAUSE)
        self.failures += 1
        seconds = longest * random.uniform(0.5, 1)
        if asked is not None:
            seconds = asked + random.uniform(0, min(0.5, longest))
        logger.info("try %d in %.1f s: %s", self.failures + 1, seconds, error)
        return Sleep(min(seconds, left))


def call(config: Config, request: Request) -> Steps[httpx.Response]:
    """Send a request until it is answered.

    Raises:
        APIConnectionError: when no answer came.
        APIStatusError: when the answer is an error.
    """
    response: httpx.Response = yield from _repeated(config, request, Send)
    return response


def open_stream(config: Config, request: Request) -> Steps[Stream]:
    """Send a request like `call`, and return its answer before the body."""
    stream: Stream = yield from _repeated(config, request, Open)
    return stream


def json_of(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of an answer. Raises: APIError: for anything else."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise errors.APIError(
            f"{response.request.url} answered {response.status_code} without a JSON object; "
            "check the address of the service"
        )
    return body


def get(config: Config, path: str, **given: Any) -> Steps[dict[str, Any]]:
    """GET a JSON object."""
    return json_of((yield from call(config, config.request("GET", path, **given))))


def post(config: Config, path: str, **given: Any) -> Steps[dict[str, Any]]:
    """POST, and return the JSON object of the answer."""
    return json_of((yield from call(config, config.request("POST", path, **given))))


def segment(text: str) -> str:
    """Return a text as one segment of a path."""
    return quote(text, safe="")


def connection_error(error: httpx.RequestError, request: Request) -> errors.APIConnectionError:
    """Return the error of a request without an answer."""
    kind = errors.APIConnectionError
    if isinstance(error, httpx.TimeoutException):
        kind = errors.APITimeoutError
    place = request.url.partition("?")[0]  # a query may contain a signature
    made = kind(f"{request.method} {place}: {type(error).__name__} {error}".rstrip())
    made.__cause__ = error
    return made


def status_error(response: httpx.Response) -> errors.APIStatusError:
    """Return the error of an answer."""
    status = response.status_code
    kind = STATUS_ERRORS.get(status, errors.ServerError if status >= 500 else errors.APIStatusError)
    made = kind(response)
    return errors.QuotaError(response) if made.code.startswith("quota_") else made


def _repeated(config: Config, request: Request, effect: type[Send] | type[Open]) -> Steps[Any]:
    patience = Patience(config)
    while True:
        error: errors.APIConnectionError | errors.APIStatusError
        try:
            answer = yield effect(request)
        except TRANSIENT as fault:
            error = connection_error(fault, request)
        except httpx.RequestError as fault:
            raise connection_error(fault, request) from fault
        else:
            response: httpx.Response = answer if effect is Send else answer.response
            if not response.is_error:
                return answer
            error = status_error(response)
            error.tries = patience.failures + 1
            if response.status_code not in REPEATED or not _passes(error):
                raise error
        yield patience.pause(error)


def _passes(error: errors.APIStatusError) -> bool:
    """Return whether waiting can help: a full quota of bytes, or of seconds a day, stays full."""
    if isinstance(error, errors.QuotaError):
        return error.code == "quota_jobs" or error.retry_after is not None
    return True
