"""/jobs/{id}/deliveries: what callback URLs were told of a job, and what they answered."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from api.dependencies import ServicesDep
from api.errors import Problem, documented
from api.middleware.auth import CallerDep
from api.routes.jobs import MISSING, NO_DATABASE, NO_ID, JobId
from jobs.webhooks.outbox import Delivery, DeliveryMissing, DeliveryState

router = APIRouter(prefix="/jobs/{job_id}/deliveries", tags=["webhooks"])


class TryView(BaseModel):
    """One sending."""

    at: datetime
    status: int | None = Field(description="Of the answer; null where there was none.")
    milliseconds: float
    error: str | None = Field(description="Why it counts as failed; null where it does not.")


class DeliveryView(BaseModel):
    """One event for one URL."""

    id: str = Field(description="The `webhook-id` of every try.")
    type: str = Field(examples=["job.succeeded"])
    state: DeliveryState
    url: str
    created_at: datetime
    next_try_at: datetime | None = Field(description="null when there will be none.")
    tries: list[TryView] = Field(description="The latest, oldest first.")


class DeliveryList(BaseModel):
    """All of a job, oldest first."""

    deliveries: list[DeliveryView]


@router.get(
    "",
    summary="What the callback URL was told, and what it answered",
    responses=documented(MISSING, NO_ID, NO_DATABASE),
)
def several(job_id: JobId, services: ServicesDep, caller: CallerDep) -> DeliveryList:
    services.database.jobs.get(job_id, tenant=caller.sees)
    found = services.database.outbox.of_job(job_id)
    return DeliveryList(deliveries=[_view(delivery) for delivery in found])


@router.post(
    "/{delivery_id}/redeliver",
    status_code=202,
    summary="Send it again now",
    description="""The same event with the same `webhook-id`, whatever became of it before; it has
as many tries as a new one.""",
    responses=documented(
        MISSING,
        (404, "delivery_not_found", "The job has no delivery '0198c0ffee'; see its deliveries."),
        NO_ID,
        NO_DATABASE,
    ),
)
def redeliver(
    job_id: JobId,
    delivery_id: Annotated[str, Path(description="From the list.", max_length=64)],
    services: ServicesDep,
    caller: CallerDep,
) -> DeliveryView:
    services.database.jobs.get(job_id, tenant=caller.sees)
    try:
        return _view(services.database.outbox.redeliver(job_id, delivery_id))
    except DeliveryMissing as error:
        sentence = f"The job has no delivery {delivery_id!r}; see its deliveries."
        raise Problem(404, "delivery_not_found", sentence) from error


def _view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        type=delivery.type,
        state=delivery.state,
        url=delivery.url,
        created_at=delivery.created_at,
        next_try_at=delivery.due_at,
        tries=[TryView.model_validate(entry) for entry in delivery.log],
    )
