"""Liveness (/healthz) and readiness (/readyz) of the service."""

import sqlalchemy as sa
from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import Services, ServicesDep
from api.problems import Problem, problems
from api.schemas.jobs import Health, Readiness
from jobs.db.engine import reading
from jobs.db.tables import jobs
from jobs.queue.celery_app import reachable
from jobs.storage.factory import StorageError

router = APIRouter(tags=["health"])


@router.get(
    "/healthz",
    operation_id="get_health",
    response_description="The process answers.",
    summary="Liveness of the process",
)
async def healthz() -> Health:
    return Health(status="ok")


@router.get(
    "/readyz",
    operation_id="get_readiness",
    response_description="Everything answers.",
    summary="Readiness: database, broker and storage answer",
    responses=problems("not_ready"),
)
def readyz(services: ServicesDep) -> Readiness:
    checks = {
        "database": _database(services),
        "broker": _broker(services),
        "storage": _storage(services),
    }
    missing = [name for name, result in checks.items() if result != "ok"]
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


def _broker(services: Services) -> str:
    if not services.settings.broker_url:
        return "not set: set VISAVIS_BROKER_URL, or start with `visavis-server up`"
    return "ok" if reachable(services.queue) else "does not answer: check VISAVIS_BROKER_URL"


def _storage(services: Services) -> str:
    try:
        services.storage.check()
    except StorageError:
        return "does not answer: check VISAVIS_STORAGE_URL"
    return "ok"
