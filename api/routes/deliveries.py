"""/jobs/{id}/deliveries: webhook deliveries of a job and their tries."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from api.bounds.declare import Bounds, bounded
from api.bounds.request import BoundedRoute
from api.dependencies import ServicesDep
from api.middleware.auth import CallerDep
from api.problems import Problem, problems
from api.schemas.parameters import STORABLE, JobId
from jobs.webhooks.outbox import Delivery, DeliveryMissing, DeliveryState

router = APIRouter(prefix="/jobs/{job_id}/deliveries", tags=["webhooks"], route_class=BoundedRoute)


class TryView(BaseModel):
    """One try to send a delivery."""

    at: datetime
    status: int | None = Field(description="Status of the answer; null without an answer.")
    milliseconds: float
    error: str | None = Field(description="Reason of a failed try; null after a success.")


class DeliveryView(BaseModel):
    """One event for one URL."""

    id: str = Field(description="The `webhook-id` header of every try.")
    type: str = Field(examples=["job.succeeded"])
    state: DeliveryState
    url: str
    created_at: datetime
    next_try_at: datetime | None = Field(description="null when no further try is planned.")
    tries: list[TryView] = Field(description="The latest tries, oldest first.")


class DeliveryList(BaseModel):
    """Deliveries of a job, oldest first."""

    deliveries: list[DeliveryView]


@router.get(
    "",
    operation_id="list_deliveries",
    response_description="The deliveries.",
    summary="Deliveries to the callback URL, and its answers",
    responses=problems("job_not_found", "invalid_request", "database_unavailable"),
)
def list_deliveries(job_id: JobId, services: ServicesDep, caller: CallerDep) -> DeliveryList:
    services.database.jobs.get(job_id, tenant=caller.sees)
    deliveries = services.database.outbox.of_job(job_id)
    return DeliveryList(deliveries=[_view(delivery) for delivery in deliveries])


@router.post(
    "/{delivery_id}/redeliver",
    operation_id="redeliver",
    response_description="The delivery is due now.",
    status_code=202,
    summary="Send a delivery again now",
    description="""Sends the same event with the same `webhook-id`, whatever the result of earlier
tries; it has as many tries as a new one.""",
    responses=problems(
        "job_not_found", "delivery_not_found", "invalid_request", "database_unavailable"
    ),
)
@bounded(Bounds())
def redeliver(
    job_id: JobId,
    delivery_id: Annotated[
        str, Path(description="From the list.", max_length=64, pattern=STORABLE)
    ],
    services: ServicesDep,
    caller: CallerDep,
) -> DeliveryView:
    services.database.jobs.get(job_id, tenant=caller.sees)
    try:
        return _view(services.database.outbox.redeliver(job_id, delivery_id))
    except DeliveryMissing as error:
        detail = f"Delivery {delivery_id!r} not found; see the deliveries of the job."
        raise Problem("delivery_not_found", detail) from error


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
