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
from api.dependencies import open_services
from api.middleware.access_log import AccessLogMiddleware, security_headers
from api.middleware.auth import AuthMiddleware, document_authentication
from api.middleware.cross_origin import (
    EXPOSED_HEADERS,
    REQUEST_HEADERS,
    CrossOriginMiddleware,
    document_cross_origin,
)
from api.problems import REFERENCE, ProblemBody
from api.routes import (
    batches,
    deliveries,
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
from api.schemas.batches import BatchRequest
from api.schemas.generate import GenerateBody, GenerateForm
from api.services.upload_intake import UploadIntake, remove_leftovers
from contracts.stages import STAGES
from jobs.db.migrate import prepare
from jobs.request.declare import EXTENSION
from jobs.settings import Settings
from jobs.store.api_keys import require_keys
from jobs.telemetry import logging as logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pydantic import BaseModel

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
    health.router,
    page.router,
    docs.router,
)


# Models of bodies that routes parse themselves, so FastAPI does not find them.
OTHER_MODELS: Mapping[str, type[BaseModel]] = {
    "Problem": ProblemBody,
    "GenerateForm": GenerateForm,
    "GenerateBody": GenerateBody,
    "BatchRequest": BatchRequest,
}


class Api(FastAPI):
    """FastAPI whose OpenAPI document includes problems of middleware and hand-parsed bodies."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        schemas = document["components"]["schemas"]
        for name, model in OTHER_MODELS.items():
            schema = model.model_json_schema(ref_template=REFERENCE)
            schemas |= schema.pop("$defs", {}) | {name: schema | {"title": name}}
        _keep_form_inputs(schemas)
        for field in schemas["GenerateForm"]["properties"].values():
            _without_null(field)
        document[EXTENSION] = {"stages": {stage.name: stage.label for stage in STAGES}}
        document_cross_origin(document)
        document_authentication(document)
        return document


def _keep_form_inputs(schemas: dict[str, Any]) -> None:
    """Publish the inputs of the form, which the web page is built from, and no other member."""
    for name, schema in schemas.items():
        for field in schema.get("properties", {}).values():
            declared = field.pop(EXTENSION, {})
            if name == "GenerateForm" and "form" in declared:
                field[EXTENSION] = {"form": declared["form"]}


def _without_null(field: dict[str, Any]) -> None:
    """Remove null from a field: forms have no null and omit the field for its default."""
    if field.get("default", "") is None:
        del field["default"]
    kinds = [kind for kind in field.pop("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        field |= kinds[0]
    elif kinds:
        field["anyOf"] = kinds


def head_routes() -> APIRouter:
    """HEAD for every route that answers GET; the server sends status and headers only.

    These routes are not part of the OpenAPI document: HTTP defines HEAD by GET.
    """
    heads = APIRouter(include_in_schema=False)
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
        with open_services(settings) as services:
            app.state.services = services
            app.state.intake = UploadIntake(settings.uploads_at_once)
            await run_in_threadpool(remove_leftovers)
            async with (
                reaping(services),
                sending(services),
                watching(services.database.jobs.statuses) as watch,
            ):
                app.state.watch = watch
                with on_shutdown(watch.close):
                    yield

    app = Api(
        title="visavis",
        version=version("visavis-server"),
        summary="Turns audio of a conversation into video of the persons in it.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads scripts from a CDN; see api/routes/docs.py
        redoc_url=None,
    )
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(head_routes())
    errors.install(app)
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
    return app


def app_from_environment() -> FastAPI:
    """Create the app from environment variables and configure logging; the factory for uvicorn."""
    settings = Settings()
    logs.configure(settings)
    return create_app(settings)
