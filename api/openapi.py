"""OpenAPI document: what FastAPI derives from the routes, and everything that it cannot know.

`visavis-server openapi` prints it. Clients are generated from it, and the pages of the service are
built from it, so operation ids, names of components and of members are part of the API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.middleware.access_log import document_request_ids
from api.middleware.auth import document_authentication
from api.middleware.cross_origin import document_cross_origin
from api.problems import REFERENCE, ProblemBody
from api.schemas.batches import BatchRequest
from api.schemas.example import REQUEST_EXAMPLES, response_examples
from api.schemas.generate import FILES, JSON, GenerateBody, GenerateForm
from api.schemas.webhooks import JobEvent, described_webhooks
from contracts.stages import STAGES
from jobs.request.declare import EXTENSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

    from jobs.settings import Settings

LICENCE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
DESCRIPTION = """Send a recording by `POST /generate`, read the job at `Location` until its `state`
is final, and download its `outputs`. Errors are problems (RFC 9457) with a stable `code`;
`Retry-After` says when to send a request again. With an `Idempotency-Key`, a repeated request makes
no second job."""
TAGS = [
    {"name": "jobs", "description": "Submit recordings; follow, cancel, retry and delete jobs."},
    {"name": "uploads", "description": "Send large clips in parts before the jobs that use them."},
    {"name": "batches", "description": "Submit and cancel many jobs in one request."},
    {"name": "people", "description": "Persons that the service can render."},
    {"name": "files", "description": "Signed links of outputs and of parts of uploads."},
    {"name": "provenance", "description": "Origin of a file: manifest, watermark, job."},
    {"name": "webhooks", "description": "Events of ended jobs, sent to a `callback_url`."},
    {"name": "health", "description": "Liveness and readiness, for probes."},
]
# Models of bodies that routes parse themselves, so FastAPI does not find them.
OTHER_MODELS: Mapping[str, type[BaseModel]] = {
    "Problem": ProblemBody,
    "GenerateForm": GenerateForm,
    "GenerateBody": GenerateBody,
    "BatchRequest": BatchRequest,
    "JobEvent": JobEvent,
}


def complete(document: dict[str, Any], settings: Settings) -> None:
    """Add to FastAPI's document everything that it does not derive from the routes."""
    schemas = document["components"]["schemas"]
    for name, model in OTHER_MODELS.items():
        schema = model.model_json_schema(ref_template=REFERENCE)
        schemas |= schema.pop("$defs", {}) | schemas | {name: schema | {"title": name}}
    _keep_form_inputs(schemas)
    _describe_form(schemas["GenerateForm"])
    document[EXTENSION] = {"stages": {stage.name: stage.label for stage in STAGES}}
    document["servers"] = [{"url": settings.public_url.rstrip("/") or "/"}]
    document["webhooks"] = described_webhooks()
    for operation in _operations(document):
        for parameter in operation.get("parameters", ()):
            _without_null(parameter["schema"])
            parameter["schema"].pop("description", None)  # repeats that of the parameter
        _add_examples(operation)
    document_cross_origin(document)
    document_authentication(document, keys_needed=settings.keys_needed)
    document_request_ids(document)


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


def _add_examples(operation: dict[str, Any]) -> None:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if (name := _model(content)) in REQUEST_EXAMPLES:
            content["example"] = REQUEST_EXAMPLES[name]
    for status, response in operation["responses"].items():
        content = response.get("content", {}).get(JSON, {})
        if name := _model(content):
            content["example"] = response_examples(operation["operationId"], status)[name]


def _model(content: Mapping[str, Any]) -> str:
    return str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]


def _keep_form_inputs(schemas: dict[str, Any]) -> None:
    """Publish the inputs of the form, which the web page is built from, and no other member."""
    for name, schema in schemas.items():
        for field in schema.get("properties", {}).values():
            declared = field.pop(EXTENSION, {})
            if name == "GenerateForm" and "form" in declared:
                field[EXTENSION] = {"form": declared["form"]}


def _describe_form(schema: dict[str, Any]) -> None:
    """Name the files as OpenAPI 3.0 does, too: generators of clients take only that for files."""
    for name, field in schema["properties"].items():
        _without_null(field)
        if name in FILES:
            field["format"] = "binary"


def _without_null(field: dict[str, Any]) -> None:
    """Remove null: forms, headers and queries have none and omit the field for its default."""
    if field.get("default", "") is None:
        del field["default"]
    kinds = [kind for kind in field.pop("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        field |= kinds[0]
    elif kinds:
        field["anyOf"] = kinds
