"""Requests about one job, as steps that return its JSON."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from visavis import errors
from visavis.core.decode import listed, parsed
from visavis.core.retry import Config, call, get, post, segment
from visavis.models import Delivery
from visavis.request import given

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from visavis.core.steps import Steps

    Content = dict[str, Any]


def path_of(job_id: str) -> str:
    """Return the path of a job."""
    return f"/jobs/{segment(job_id)}"


def read(config: Config, job_id: str) -> Steps[Content]:
    """Read a job."""
    return (yield from get(config, path_of(job_id)))


def cancel(config: Config, job_id: str) -> Steps[Content]:
    """Cancel a queued or running job."""
    return (yield from post(config, f"{path_of(job_id)}/cancel"))


def retry(config: Config, job_id: str) -> Steps[Content]:
    """Run a failed or canceled job again; a repeated request accepts that it was queued before."""
    try:
        return (yield from post(config, f"{path_of(job_id)}/retry"))
    except errors.ConflictError as error:
        if error.code == "job_not_retryable" and error.tries > 1:
            return (yield from read(config, job_id))
        raise


def delete(config: Config, job_id: str) -> Steps[None]:
    """Delete a job; a repeated request accepts that it was deleted before."""
    try:
        yield from call(config, config.request("DELETE", path_of(job_id)))
    except errors.NotFoundError as error:
        if error.tries == 1:
            raise


def render(
    config: Config,
    job_id: str,
    takes: Sequence[int] | None,
    fields: Mapping[str, Any],
    key: str | None,
) -> Steps[Content]:
    """Render the motion of a job again, as a new job."""
    body = given({**fields, "takes": takes})
    headers = {"Idempotency-Key": key or str(uuid.uuid4())}
    path = f"{path_of(job_id)}/render"
    return (yield from post(config, path, headers=headers, body={"json": body}))


def deliveries(config: Config, job_id: str) -> Steps[list[Delivery]]:
    """Read the webhook deliveries of a job, oldest first."""
    content = yield from get(config, f"{path_of(job_id)}/deliveries")
    return listed(Delivery, content, "deliveries")


def redeliver(config: Config, job_id: str, delivery_id: str) -> Steps[Delivery]:
    """Send a webhook delivery again."""
    path = f"{path_of(job_id)}/deliveries/{segment(delivery_id)}/redeliver"
    return parsed(Delivery, (yield from post(config, path)))
