"""Parts of the API below a client: jobs, people, uploads, batches."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from visavis.core.decode import listed, parsed
from visavis.core.retry import Config, get, post, segment
from visavis.files import uploads
from visavis.jobs import requests
from visavis.jobs.handles import AsyncJob, Job
from visavis.models import Batch, Delivery, JobFields, Person, Upload
from visavis.request import given

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from typing_extensions import Unpack

    from visavis.core.drivers import AsyncDriver, Driver
    from visavis.core.steps import Steps
    from visavis.files.audio import Audio
    from visavis.files.uploads import Announced, SentBytes
    from visavis.request import BatchEntry, JobFilter, RenderFields

Deliveries = list[Delivery]  # `list` is a method in the classes below

PAGE = 100  # jobs, the most that the service returns at once


class Jobs:
    """Jobs of the tenant."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def get(self, job_id: str) -> Job:
        """Read a job. Raises: NotFoundError."""
        return Job(self._driver, self._driver.run(requests.read(self._driver.config, job_id)))

    def list(self, **only: Unpack[JobFilter]) -> Iterator[Job]:
        """Yield all jobs that match, newest first; pages are read when they are needed."""
        query: dict[str, Any] | None = _query(only)
        while query is not None:
            page, query = self._driver.run(_page(self._driver.config, query))
            yield from (Job(self._driver, content) for content in page)

    def cancel(self, job_id: str) -> Job:
        """Cancel a queued or running job. Raises: ConflictError: when it has ended otherwise."""
        return Job(self._driver, self._driver.run(requests.cancel(self._driver.config, job_id)))

    def retry(self, job_id: str) -> Job:
        """Run a failed or canceled job again. Raises: ConflictError: in another state."""
        return Job(self._driver, self._driver.run(requests.retry(self._driver.config, job_id)))

    def delete(self, job_id: str) -> None:
        """Delete a job with its recording and its files; a running job is stopped."""
        self._driver.run(requests.delete(self._driver.config, job_id))

    def render(
        self,
        job_id: str,
        *,
        takes: Sequence[int] | None = None,
        idempotency_key: str | None = None,
        **fields: Unpack[RenderFields],
    ) -> Job:
        """Render the motion of a job again, as a new job.

        takes: numbers from 1; default: all. Fields that are left out keep their values.
        """
        steps = requests.render(self._driver.config, job_id, takes, fields, idempotency_key)
        return Job(self._driver, self._driver.run(steps))

    def deliveries(self, job_id: str) -> Deliveries:
        """Return the webhook deliveries of a job, oldest first."""
        return self._driver.run(requests.deliveries(self._driver.config, job_id))

    def redeliver(self, job_id: str, delivery_id: str) -> Delivery:
        """Send a webhook delivery again."""
        return self._driver.run(requests.redeliver(self._driver.config, job_id, delivery_id))


class AsyncJobs:
    """Jobs of the tenant, with the members of `Jobs`."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def get(self, job_id: str) -> AsyncJob:
        """Read a job. Raises: NotFoundError."""
        content = await self._driver.run(requests.read(self._driver.config, job_id))
        return AsyncJob(self._driver, content)

    async def list(self, **only: Unpack[JobFilter]) -> AsyncIterator[AsyncJob]:
        """Yield all jobs that match, newest first; pages are read when they are needed."""
        query: dict[str, Any] | None = _query(only)
        while query is not None:
            page, query = await self._driver.run(_page(self._driver.config, query))
            for content in page:
                yield AsyncJob(self._driver, content)

    async def cancel(self, job_id: str) -> AsyncJob:
        """Cancel a queued or running job. Raises: ConflictError: when it has ended otherwise."""
        content = await self._driver.run(requests.cancel(self._driver.config, job_id))
        return AsyncJob(self._driver, content)

    async def retry(self, job_id: str) -> AsyncJob:
        """Run a failed or canceled job again. Raises: ConflictError: in another state."""
        content = await self._driver.run(requests.retry(self._driver.config, job_id))
        return AsyncJob(self._driver, content)

    async def delete(self, job_id: str) -> None:
        """Delete a job with its recording and its files; a running job is stopped."""
        await self._driver.run(requests.delete(self._driver.config, job_id))

    async def render(
        self,
        job_id: str,
        *,
        takes: Sequence[int] | None = None,
        idempotency_key: str | None = None,
        **fields: Unpack[RenderFields],
    ) -> AsyncJob:
        """Render the motion of a job again, as `Jobs.render`."""
        steps = requests.render(self._driver.config, job_id, takes, fields, idempotency_key)
        return AsyncJob(self._driver, await self._driver.run(steps))

    async def deliveries(self, job_id: str) -> Deliveries:
        """Return the webhook deliveries of a job, oldest first."""
        return await self._driver.run(requests.deliveries(self._driver.config, job_id))

    async def redeliver(self, job_id: str, delivery_id: str) -> Delivery:
        """Send a webhook delivery again."""
        return await self._driver.run(requests.redeliver(self._driver.config, job_id, delivery_id))


class People:
    """Persons that the service can show."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def list(self) -> list[Person]:
        """Return every person, by name."""
        return self._driver.run(_people(self._driver.config))


class AsyncPeople:
    """Persons that the service can show."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def list(self) -> list[Person]:
        """Return every person, by name."""
        return await self._driver.run(_people(self._driver.config))


class Uploads:
    """Large recordings, sent in parts before the requests that use them."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def create(
        self,
        audio: Audio,
        *,
        progress: SentBytes | None = None,
        announced: Announced | None = None,
    ) -> Upload:
        """Send a recording; `generate` takes the result as `audio`, for any number of jobs.

        progress: called with the number of bytes that were sent, and of all bytes. announced:
        called with the upload before its first part; store its id to continue after a kill.

        Raises:
            UploadError: when a part could not be sent; its `upload_id` is for `resume`.
            InvalidRequestError: when the file is too large or not a recording.
        """
        config = self._driver.config
        return self._driver.run(uploads.upload_audio(config, audio, progress, announced=announced))

    def resume(self, upload_id: str, audio: Audio, *, progress: SentBytes | None = None) -> Upload:
        """Send the missing parts of an upload that was interrupted. Raises: as `create`."""
        config = self._driver.config
        steps = uploads.upload_audio(config, audio, progress, upload_id=upload_id)
        return self._driver.run(steps)

    def get(self, upload_id: str) -> Upload:
        """Read an upload. Raises: NotFoundError: when it is unknown or has expired."""
        return self._driver.run(uploads.read_upload(self._driver.config, upload_id))


class AsyncUploads:
    """Large recordings, sent in parts before the requests that use them."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def create(
        self,
        audio: Audio,
        *,
        progress: SentBytes | None = None,
        announced: Announced | None = None,
    ) -> Upload:
        """Send a recording, as `Uploads.create`."""
        config = self._driver.config
        return await self._driver.run(
            uploads.upload_audio(config, audio, progress, announced=announced)
        )

    async def resume(
        self, upload_id: str, audio: Audio, *, progress: SentBytes | None = None
    ) -> Upload:
        """Send the missing parts of an upload that was interrupted. Raises: as `create`."""
        config = self._driver.config
        steps = uploads.upload_audio(config, audio, progress, upload_id=upload_id)
        return await self._driver.run(steps)

    async def get(self, upload_id: str) -> Upload:
        """Read an upload. Raises: NotFoundError: when it is unknown or has expired."""
        return await self._driver.run(uploads.read_upload(self._driver.config, upload_id))


class Batches:
    """Jobs that are accepted together, or not at all."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def create(self, items: Sequence[BatchEntry], *, idempotency_key: str | None = None) -> Batch:
        """Submit up to 1000 requests for recordings that were sent by `uploads.create`.

        Raises:
            InvalidRequestError: its `errors` name each invalid item; none is accepted.
        """
        return self._driver.run(_create_batch(self._driver.config, items, idempotency_key))

    def get(self, batch_id: str) -> Batch:
        """Read a batch: counts of each state, and its jobs."""
        return self._driver.run(_batch(self._driver.config, batch_id))

    def cancel(self, batch_id: str) -> Batch:
        """Cancel all of its jobs that are queued or running."""
        return self._driver.run(_cancel_batch(self._driver.config, batch_id))


class AsyncBatches:
    """Jobs that are accepted together, or not at all."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def create(
        self, items: Sequence[BatchEntry], *, idempotency_key: str | None = None
    ) -> Batch:
        """Submit up to 1000 requests, as `Batches.create`."""
        return await self._driver.run(_create_batch(self._driver.config, items, idempotency_key))

    async def get(self, batch_id: str) -> Batch:
        """Read a batch: counts of each state, and its jobs."""
        return await self._driver.run(_batch(self._driver.config, batch_id))

    async def cancel(self, batch_id: str) -> Batch:
        """Cancel all of its jobs that are queued or running."""
        return await self._driver.run(_cancel_batch(self._driver.config, batch_id))


def _query(only: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a list of jobs; times need a time zone."""
    query: dict[str, Any] = {"limit": PAGE}
    for name, value in only.items():
        if value is not None:
            query[name] = value.isoformat() if name.startswith("created") else value
    return query


def _page(
    config: Config, query: dict[str, Any]
) -> Steps[tuple[list[dict[str, Any]], dict[str, Any] | None]]:
    """Read a page of jobs; return it with the parameters of the next one."""
    content = yield from get(config, "/jobs", params=query)
    listed(JobFields, content, "jobs")  # raises APIError
    cursor = content.get("next")
    return content["jobs"], None if cursor is None else {**query, "cursor": cursor}


def _people(config: Config) -> Steps[list[Person]]:
    return listed(Person, (yield from get(config, "/people")), "people")


def _create_batch(
    config: Config, items: Sequence[Mapping[str, Any]], key: str | None
) -> Steps[Batch]:
    headers = {"Idempotency-Key": key or str(uuid.uuid4())}
    body = {"json": {"items": [given(item) for item in items]}}
    return parsed(Batch, (yield from post(config, "/batches", headers=headers, body=body)))


def _batch(config: Config, batch_id: str) -> Steps[Batch]:
    return parsed(Batch, (yield from get(config, f"/batches/{segment(batch_id)}")))


def _cancel_batch(config: Config, batch_id: str) -> Steps[Batch]:
    return parsed(Batch, (yield from post(config, f"/batches/{segment(batch_id)}/cancel")))
