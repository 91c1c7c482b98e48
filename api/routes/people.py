"""GET /people: persons that this service can render."""

from fastapi import APIRouter

from api.dependencies import ServicesDep
from api.middleware.auth import CallerDep
from api.schemas.jobs import People
from jobs.persons import list_people

router = APIRouter(tags=["people"])


@router.get(
    "/people",
    operation_id="list_people",
    response_description="The persons.",
    summary="Persons that this service can render, with limits and defaults",
)
def people(services: ServicesDep, _caller: CallerDep) -> People:
    return People(people=list_people(services.settings.people))
