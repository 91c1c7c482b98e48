"""The application: `uvicorn --factory api.main:app_from_environment`."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from api import errors
from api.access import Access, careful_headers
from api.callers import Door, guarded
from api.deps import opened
from api.errors import ProblemBody
from api.leaving import told_to_leave
from api.origins import EXPOSED, SENT, Origins, refusals_told
from api.reaper import reaping
from api.routes import deliveries, events, files, generate, health, jobs, page, people
from api.sender import sending
from api.uploads import Uploads, sweep_uploads
from api.watch import watching
from jobs import logs
from jobs.keys import require_keys
from jobs.schema import prepare
from jobs.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

logger = logging.getLogger(__name__)

ROUTERS = (
    generate.router,
    jobs.router,
    events.router,
    deliveries.router,
    people.router,
    files.router,
    health.router,
    page.router,
)


class Api(FastAPI):
    """FastAPI whose OpenAPI knows the problem that every route may answer with."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        schema = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document["components"]["schemas"]
        schemas |= schema.pop("$defs")
        schemas["Problem"] = schema | {"title": "Problem"}
        for field in schemas["GenerateForm"]["properties"].values():
            _without_null(field)
        refusals_told(document)
        guarded(document)
        return document


def _without_null(field: dict[str, Any]) -> None:
    """A form has no null: who wants the default leaves the field out."""
    kinds = [kind for kind in field.pop("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        field |= kinds[0]
    elif kinds:
        field["anyOf"] = kinds


def create_app(settings: Settings) -> FastAPI:
    """The app for `settings`; opens nothing before it is started."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await run_in_threadpool(prepare, settings.database_url, migrate=settings.migrate)
        except OperationalError:
            if settings.migrate:
                raise
            logger.warning("database away: its schema is not checked")
        await run_in_threadpool(require_keys, settings)
        await run_in_threadpool(sweep_uploads)
        with opened(settings) as services:
            app.state.services = services
            app.state.uploads = Uploads(settings.uploads_at_once)
            async with (
                reaping(services),
                sending(services),
                watching(services.store.standings) as watch,
            ):
                app.state.watch = watch
                with told_to_leave(watch.close):
                    yield

    app = Api(
        title="visavis",
        version=version("visavis-server"),
        summary="Turns the sound of a conversation into video of the people in it.",
        lifespan=lifespan,
        docs_url=None,  # ours loads nothing from elsewhere: api/routes/page.py
        redoc_url=None,
    )
    for router in ROUTERS:
        app.include_router(router)
    errors.install(app)
    app.add_middleware(Door)
    app.add_middleware(Origins, settings=settings)
    app.add_middleware(Access, headers=careful_headers(settings))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=SENT,
            expose_headers=EXPOSED,
        )
    return app


def app_from_environment() -> FastAPI:
    """What uvicorn calls: settings from the environment, logging configured."""
    settings = Settings()
    logs.configure(settings)
    return create_app(settings)
