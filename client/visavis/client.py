"""Clients of the service, blocking and asynchronous."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import httpx

from visavis.batch.items import CONCURRENCY, open_batch
from visavis.batch.report import BatchReport
from visavis.core.drivers import AsyncDriver, Driver
from visavis.core.retry import Config
from visavis.jobs.handles import AsyncJob, Job
from visavis.jobs.submit import submit
from visavis.raw import (
    AsyncRawBatches,
    AsyncRawJobs,
    AsyncRawPeople,
    AsyncRawUploads,
    RawBatches,
    RawJobs,
    RawPeople,
    RawUploads,
    async_raw,
    raw,
)
from visavis.resources import (
    AsyncBatches,
    AsyncJobs,
    AsyncPeople,
    AsyncUploads,
    Batches,
    Jobs,
    People,
    Uploads,
)
from visavis.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self, Unpack

    from visavis.batch.items import BatchOptions
    from visavis.batch.plan import BatchInput
    from visavis.files.audio import Audio
    from visavis.request import RequestFields

LOCAL = "http://127.0.0.1:8000"
TIMEOUT = 60.0  # seconds
MAX_RETRIES = 5
INLINE_BYTES = 2**24  # larger recordings are sent in parts
UNLIMITED = httpx.Limits(max_connections=None, max_keepalive_connections=20)


class ClientOptions(TypedDict, total=False):
    """Options of a client.

    api_key: by default VISAVIS_API_KEY. timeout: seconds to connect, and to wait for the next
    bytes, by default 60. max_retries: of a request that was not answered, or answered with 408,
    429, 502, 503 or 504; by default 5.
    """

    api_key: str | None
    timeout: float
    max_retries: int


class _Connected:
    """Members that both clients share."""

    _driver: Driver | AsyncDriver
    webhooks = Webhooks()

    @property
    def base_url(self) -> str:
        """Address of the service, without a slash at the end."""
        return self._driver.config.base_url


class Client(_Connected):
    """Client of a service.

    base_url: by default VISAVIS_BASE_URL, else a service on this machine. transport, http_client:
    of httpx, instead of its defaults; a given client is not closed. options: see `ClientOptions`.

    Members may be called from several threads.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        http_client: httpx.Client | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self._owned = http_client is None
        self._http = http_client or httpx.Client(transport=transport, limits=UNLIMITED)
        self._use(Driver(_config(base_url, options), self._http))

    def _use(self, driver: Driver) -> None:
        self._driver: Driver = driver
        self.jobs = Jobs(driver)
        self.people = People(driver)
        self.uploads = Uploads(driver)
        self.batches = Batches(driver)

    @cached_property
    def with_raw_response(self) -> RawCalls:
        """The same calls; they return the answer with its headers, and `parse()` the result."""
        return RawCalls(self)

    def with_options(self, **options: Unpack[ClientOptions]) -> Client:
        """Return a client with other options and the same connections."""
        made = Client(http_client=self._http)
        made._use(Driver(replace(self._driver.config, **options), self._http))
        return made

    def generate(
        self,
        audio: Audio,
        *,
        partner: Audio | None = None,
        idempotency_key: str | None = None,
        **fields: Unpack[RequestFields],
    ) -> Job:
        """Submit a recording, and return its job at once.

        audio: a path, bytes, a binary file, a URL that the service downloads, or an `Upload`.
        partner: the other person, if each person has a file of one channel.
        idempotency_key: by default a new one. Every try carries it, so a request whose answer was
        lost makes no second job. fields: see `RequestFields` and `docs/api.md`.

        Raises:
            InvalidRequestError: for a field or a recording that is not accepted.
            QuotaError, RateLimitError: when waiting did not help.
            UploadError: when a large file could not be sent.
            APIConnectionError: when the service was not reached.
            OSError: when a file cannot be read.
        """
        steps = submit(self._driver.config, audio, partner, fields, idempotency_key)
        return Job(self._driver, self._driver.run(steps))

    def batch(
        self,
        audio: Iterable[str | os.PathLike[str] | BatchInput],
        *,
        out: str | os.PathLike[str],
        **options: Unpack[BatchOptions],
    ) -> BatchReport:
        """Make videos of many recordings; a batch that was stopped goes on where it was.

        audio: paths, or `BatchInput` for a partner or other fields. out: folder of the files, named
        after the recordings. options: see `BatchOptions`, and the request fields of `generate`.

        A batch may be killed at any moment: called again with the same journal, it submits nothing
        twice and forgets nothing. Recordings that have changed are sent again, and so are all with
        other fields than before. Ctrl-C leaves the jobs running, for the next run.

        Raises:
            BatchError: when another process uses the journal, or it is damaged.
            APIConnectionError, AuthenticationError, QuotaError ...: for faults that are not those
                of one recording; call it again later.
        """
        concurrency = options.get("concurrency", CONCURRENCY)
        with open_batch(self._driver.config, audio, Path(out), options) as steps:
            return BatchReport(tuple(self._driver.run_all(steps, concurrency)))

    def close(self) -> None:
        """Close the connections, unless they belong to a given `http_client`."""
        if self._owned:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class AsyncClient(_Connected):
    """Asynchronous client of a service, for asyncio, with the members of `Client`."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        http_client: httpx.AsyncClient | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self._owned = http_client is None
        self._http = http_client or httpx.AsyncClient(transport=transport, limits=UNLIMITED)
        self._use(AsyncDriver(_config(base_url, options), self._http))

    def _use(self, driver: AsyncDriver) -> None:
        self._driver: AsyncDriver = driver
        self.jobs = AsyncJobs(driver)
        self.people = AsyncPeople(driver)
        self.uploads = AsyncUploads(driver)
        self.batches = AsyncBatches(driver)

    @cached_property
    def with_raw_response(self) -> AsyncRawCalls:
        """The same calls; they return the answer with its headers, and `parse()` the result."""
        return AsyncRawCalls(self)

    def with_options(self, **options: Unpack[ClientOptions]) -> AsyncClient:
        """Return a client with other options and the same connections."""
        made = AsyncClient(http_client=self._http)
        made._use(AsyncDriver(replace(self._driver.config, **options), self._http))
        return made

    async def generate(
        self,
        audio: Audio,
        *,
        partner: Audio | None = None,
        idempotency_key: str | None = None,
        **fields: Unpack[RequestFields],
    ) -> AsyncJob:
        """Submit a recording, and return its job at once, as `Client.generate`."""
        steps = submit(self._driver.config, audio, partner, fields, idempotency_key)
        return AsyncJob(self._driver, await self._driver.run(steps))

    async def batch(
        self,
        audio: Iterable[str | os.PathLike[str] | BatchInput],
        *,
        out: str | os.PathLike[str],
        **options: Unpack[BatchOptions],
    ) -> BatchReport:
        """Make videos of many recordings, as `Client.batch`."""
        concurrency = options.get("concurrency", CONCURRENCY)
        with open_batch(self._driver.config, audio, Path(out), options) as steps:
            return BatchReport(tuple(await self._driver.run_all(steps, concurrency)))

    async def close(self) -> None:
        """Close the connections, unless they belong to a given `http_client`."""
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()


class RawCalls:
    """Calls of `Client` that return a `RawResponse`."""

    def __init__(self, client: Client) -> None:
        self.generate = raw(client.generate)
        self.jobs = RawJobs(client.jobs)
        self.people = RawPeople(client.people)
        self.uploads = RawUploads(client.uploads)
        self.batches = RawBatches(client.batches)


class AsyncRawCalls:
    """Calls of `AsyncClient` that return a `RawResponse`."""

    def __init__(self, client: AsyncClient) -> None:
        self.generate = async_raw(client.generate)
        self.jobs = AsyncRawJobs(client.jobs)
        self.people = AsyncRawPeople(client.people)
        self.uploads = AsyncRawUploads(client.uploads)
        self.batches = AsyncRawBatches(client.batches)


def _config(base_url: str | None, options: ClientOptions) -> Config:
    """Return the settings. Raises: TypeError: for an option that does not exist."""
    if unknown := options.keys() - ClientOptions.__annotations__.keys():
        raise TypeError(f"unknown options of a client: {', '.join(sorted(unknown))}")
    address = base_url or os.environ.get("VISAVIS_BASE_URL") or LOCAL
    api_key = options.get("api_key")
    return Config(
        base_url=address.rstrip("/"),
        api_key=os.environ.get("VISAVIS_API_KEY") if api_key is None else api_key,
        timeout=options.get("timeout", TIMEOUT),
        max_retries=options.get("max_retries", MAX_RETRIES),
        inline_bytes=INLINE_BYTES,
        user_agent=f"visavis-python/{version('visavis')}",
    )
