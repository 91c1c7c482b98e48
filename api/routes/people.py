"""GET /people: whom this service can show."""

from fastapi import APIRouter

from api.callers import CallerDep
from api.deps import ServicesDep
from api.views import People
from jobs.people import list_people

router = APIRouter(tags=["people"])


@router.get("/people", summary="Whom this service can show, with limits and defaults")
def people(services: ServicesDep, _caller: CallerDep) -> People:
    return People(people=list_people(services.settings.people))
