"""Answers with their headers: the calls below `client.with_raw_response`."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from visavis.core.drivers import collected

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    import httpx

    from visavis import resources

P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:
    AsyncCall = Callable[P, Coroutine[Any, Any, T]]


@dataclass(frozen=True)
class RawResponse(Generic[T]):
    """The last answer of a call. answers: all of it, those of repeated requests included."""

    value: T
    answers: tuple[httpx.Response, ...]

    def parse(self) -> T:
        """Return the result that the call has without `with_raw_response`."""
        return self.value

    @property
    def response(self) -> httpx.Response:
        """The last answer."""
        return self.answers[-1]

    @property
    def status(self) -> int:
        """Status of the last answer."""
        return self.response.status_code

    @property
    def headers(self) -> httpx.Headers:
        """Headers of the last answer."""
        return self.response.headers

    @property
    def request_id(self) -> str | None:
        """Id of the last request, for the operator."""
        request_id: str | None = self.headers.get("x-request-id")
        return request_id


class RawJobs:
    """Calls of `Jobs` that return a `RawResponse`."""

    def __init__(self, jobs: resources.Jobs) -> None:
        self.get = raw(jobs.get)
        self.cancel = raw(jobs.cancel)
        self.retry = raw(jobs.retry)
        self.delete = raw(jobs.delete)
        self.render = raw(jobs.render)
        self.deliveries = raw(jobs.deliveries)
        self.redeliver = raw(jobs.redeliver)


class RawPeople:
    """Calls of `People` that return a `RawResponse`."""

    def __init__(self, people: resources.People) -> None:
        self.list = raw(people.list)


class RawUploads:
    """Calls of `Uploads` that return a `RawResponse`."""

    def __init__(self, uploads: resources.Uploads) -> None:
        self.create = raw(uploads.create)
        self.resume = raw(uploads.resume)
        self.get = raw(uploads.get)


class RawBatches:
    """Calls of `Batches` that return a `RawResponse`."""

    def __init__(self, batches: resources.Batches) -> None:
        self.create = raw(batches.create)
        self.get = raw(batches.get)
        self.cancel = raw(batches.cancel)


class AsyncRawJobs:
    """Calls of `AsyncJobs` that return a `RawResponse`."""

    def __init__(self, jobs: resources.AsyncJobs) -> None:
        self.get = async_raw(jobs.get)
        self.cancel = async_raw(jobs.cancel)
        self.retry = async_raw(jobs.retry)
        self.delete = async_raw(jobs.delete)
        self.render = async_raw(jobs.render)
        self.deliveries = async_raw(jobs.deliveries)
        self.redeliver = async_raw(jobs.redeliver)


class AsyncRawPeople:
    """Calls of `AsyncPeople` that return a `RawResponse`."""

    def __init__(self, people: resources.AsyncPeople) -> None:
        self.list = async_raw(people.list)


class AsyncRawUploads:
    """Calls of `AsyncUploads` that return a `RawResponse`."""

    def __init__(self, uploads: resources.AsyncUploads) -> None:
        self.create = async_raw(uploads.create)
        self.resume = async_raw(uploads.resume)
        self.get = async_raw(uploads.get)


class AsyncRawBatches:
    """Calls of `AsyncBatches` that return a `RawResponse`."""

    def __init__(self, batches: resources.AsyncBatches) -> None:
        self.create = async_raw(batches.create)
        self.get = async_raw(batches.get)
        self.cancel = async_raw(batches.cancel)


def raw(call: Callable[P, T]) -> Callable[P, RawResponse[T]]:
    """Return the call with all of its answers."""

    def calling(*args: P.args, **kwargs: P.kwargs) -> RawResponse[T]:
        with _collecting() as answers:
            value = call(*args, **kwargs)
        return RawResponse(value, tuple(answers))

    return calling


def async_raw(call: AsyncCall[P, T]) -> AsyncCall[P, RawResponse[T]]:
    """Return the call with all of its answers."""

    async def calling(*args: P.args, **kwargs: P.kwargs) -> RawResponse[T]:
        with _collecting() as answers:
            value = await call(*args, **kwargs)
        return RawResponse(value, tuple(answers))

    return calling


@contextmanager
def _collecting() -> Iterator[list[httpx.Response]]:
    answers: list[httpx.Response] = []
    token = collected.set(answers)
    try:
        yield answers
    finally:
        collected.reset(token)
