"""FastAPI application: `uvicorn --factory api.app:app_from_environment`."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from api import errors
from api.background.job_watch import watching
from api.background.reaper import reaping
from api.background.shutdown import on_shutdown
from api.background.webhook_sender import sending
from api.bounds.gates import Gates
from api.bounds.places import Places
from api.bounds.request import THREADS_AT_ONCE, BoundedRoute
from api.dependencies import open_services
from api.middleware.access_log import AccessLogMiddleware, security_headers
from api.middleware.auth import AuthMiddleware
from api.middleware.compression import CompressionMiddleware
from api.middleware.cross_origin import (
    EXPOSED_HEADERS,
    REQUEST_HEADERS,
    CrossOriginMiddleware,
)
from api.middleware.telemetry import TelemetryMiddleware
from api.openapi import DESCRIPTION, LICENCE, TAGS, complete
from api.routes import (
    batches,
    deliveries,
    detect,
    docs,
    events,
    files,
    generate,
    health,
    jobs,
    page,
    people,
    render,
    uploads,
)
from api.services.shared_reads import SharedReads
from api.services.upload_intake import UploadIntake, remove_leftovers
from jobs.db.clock import clock_of
from jobs.db.migrate import prepare
from jobs.settings import Settings
from jobs.store.api_keys import require_keys
from jobs.telemetry import logging as logs
from jobs.telemetry.job_counts import JobCounts
from jobs.telemetry.metrics import Process
from jobs.telemetry.prometheus import serving_metrics
from jobs.telemetry.traces import tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

logger = logging.getLogger(__name__)

ROUTERS = (
    generate.router,
    uploads.router,
    batches.router,
    jobs.router,
    render.router,
    events.router,
    deliveries.router,
    people.router,
    files.router,
    detect.router,
    health.router,
    page.router,
    docs.router,
)


class Api(FastAPI):
    """FastAPI with the whole OpenAPI document: see api/openapi.py."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        super().__init__(**options)
        self._settings = settings

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            complete(super().openapi(), self._settings)
        assert self.openapi_schema is not None
        return self.openapi_schema


def head_routes() -> APIRouter:
    """HEAD for every route that answers GET; the server sends status and headers only.

    These routes are not part of the OpenAPI document: HTTP defines HEAD by GET.
    """
    heads = APIRouter(include_in_schema=False, route_class=BoundedRoute)
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
                heads.add_api_route(
                    route.path,
                    route.endpoint,
                    methods=["HEAD"],
                    response_model=route.response_model,
                    response_class=route.response_class,
                )
    return heads


def create_app(settings: Settings) -> FastAPI:
    """Create the app; it opens connections when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await run_in_threadpool(prepare, settings.database_url, migrate=settings.migrate)
        except OperationalError:
            if settings.migrate:
                raise
            logger.warning("database away: its schema is not checked")
        await run_in_threadpool(require_keys, settings)
        with tracing(settings, "visavis-api"), open_services(settings) as services:
            app.state.services = services
            app.state.places = Places(settings)
            app.state.threads = Gates(THREADS_AT_ONCE)
            app.state.shared_reads = SharedReads()
            app.state.intake = UploadIntake(settings.uploads_at_once)
            await run_in_threadpool(remove_leftovers)
            engine = services.database.engine
            counts = JobCounts(engine, clock_of(engine))
            async with (
                reaping(services),
                sending(services),
                watching(
                    services.database.jobs.statuses, services.database.api_keys.active_of
                ) as watch,
            ):
                app.state.watch = watch
                with on_shutdown(watch.close), serving_metrics(settings, Process.API, counts):
                    yield

    app = Api(
        settings,
        title="visavis",
        version=version("visavis-server"),
        summary="Turns audio of a conversation into video of the persons in it.",
        description=DESCRIPTION,
        license_info=LICENCE,
        openapi_tags=TAGS,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads scripts from a CDN; see api/routes/docs.py
        redoc_url=None,
    )
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(head_routes())
    errors.install(app)
    app.add_middleware(CompressionMiddleware)
    app.add_middleware(AuthMiddleware)
    app.add_middleware(CrossOriginMiddleware, settings=settings)
    app.add_middleware(AccessLogMiddleware, headers=security_headers(settings))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "HEAD", "POST", "PUT", "DELETE"),
            allow_headers=REQUEST_HEADERS,
            expose_headers=EXPOSED_HEADERS,
        )
    app.add_middleware(TelemetryMiddleware)
    return app


def app_from_environment() -> FastAPI:
    """Create the app from environment variables and configure logging; the factory for uvicorn."""
    settings = Settings()
    logs.configure(settings)
    return create_app(settings)
