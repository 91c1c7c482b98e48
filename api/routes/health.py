"""Liveness (/healthz) and readiness (/readyz) of the service."""

import sqlalchemy as sa
from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError

from api.bounds.declare import Bounds, Pool, bounded
from api.bounds.request import BoundedRoute
from api.dependencies import Services, ServicesDep
from api.problems import Problem, problems
from api.schemas.jobs import Health, Readiness
from jobs.db.engine import reading
from jobs.db.tables import jobs
from jobs.maintenance.storage_root import check_owner
from jobs.persons import PeopleMissing, require_people
from jobs.queue.celery_app import reachable
from jobs.storage.factory import StorageError

router = APIRouter(tags=["health"], route_class=BoundedRoute)


@router.get(
    "/healthz",
    operation_id="get_health",
    response_description="The process answers.",
    summary="Liveness of the process",
)
@bounded(Bounds(pool=Pool.HEALTH))
async def healthz() -> Health:
    return Health(status="ok")


@router.get(
    "/readyz",
    operation_id="get_readiness",
    response_description="Everything answers.",
    summary="Readiness: database, storage and people are there",
    responses=problems("not_ready"),
)
@bounded(Bounds(pool=Pool.HEALTH))
def readyz(services: ServicesDep) -> Readiness:
    checks = {
        "database": _database(services),
        "broker": _broker(services),
        "storage": _storage(services),
        "people": _people(services),
    }
    if paused := _paused(services):
        checks["claims"] = paused
    # Without a broker, workers find jobs by polling: removing all APIs would cost more.
    missing = [
        name for name, result in checks.items() if result not in ("ok", paused) and name != "broker"
    ]
    if missing:
        raise Problem(
            "not_ready",
            f"Not ready: {', '.join(missing)}; see `checks`.",
            headers={"Retry-After": "5"},
            checks=checks,
        )
    return Readiness(status="ready", checks=checks)


def _database(services: Services) -> str:
    try:
        with reading(services.database.engine) as connection:
            connection.execute(sa.select(jobs.c.id).limit(1))
    except SQLAlchemyError as error:
        return f"does not answer: {type(error).__name__}; check VISAVIS_DATABASE_URL"
    return "ok"


def _paused(services: Services) -> str | None:
    """Return that an operator has paused claims, or None; requests are accepted all the same."""
    try:
        count = len(services.database.pauses.all())
    except SQLAlchemyError:
        return None
    pauses = "1 pause" if count == 1 else f"{count} pauses"
    return f"paused: {pauses}; see `visavis-server admin pause --list`" if count else None


def _broker(services: Services) -> str:
    if not services.settings.broker_url:
        return "not set: workers look for jobs themselves"
    if reachable(services.queue):
        return "ok"
    return "does not answer, workers look for jobs themselves: check VISAVIS_BROKER_URL"


def _storage(services: Services) -> str:
    try:
        check_owner(services.database.engine, services.storage)
        services.storage.check()
    except (StorageError, SQLAlchemyError):
        return "does not answer: check VISAVIS_STORAGE_URL and its disk or bucket"
    return "ok"


def _people(services: Services) -> str:
    try:
        require_people(services.settings.people)
    except PeopleMissing:
        return "no valid person: check VISAVIS_PEOPLE and its disk"
    return "ok"
