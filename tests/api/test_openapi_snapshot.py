"""The API described by /openapi.json is that of the stored snapshot."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from contracts.outputs import output_kinds
from jobs.settings import Settings
from tests.api.openapi_differences import contract, differences

SNAPSHOT = Path(__file__).parent / "openapi_before.json"
EXAMPLES = "/paths/{}/post/responses/422/content/application/problem+json/examples/{}: added"
BODY_OF = "/paths/{}/post/requestBody/content/{}/schema/properties/{}: added"
CLIP_CODES = ("audio_missing", "audio_sample_rate", "audio_unreadable")
OTHER_CODES = ("audio_channels", "audio_empty", "clip_too_short")  # of an upload when it is read
EXAMPLE = "/paths/{}/responses/{}/content/application/problem+json/examples/{}: added"
# Problems of bounded bodies and places.
BOUNDS = (
    EXAMPLE.format("/files/{key}/put", 404, "upload_not_found"),
    EXAMPLE.format("/files/{key}/put", 503, "uploads_busy"),
    EXAMPLE.format("/uploads/{upload_id}/complete/post", 503, "uploads_busy"),
    EXAMPLE.format("/files/{key}/put", 503, "database_unavailable"),
    EXAMPLE.format("/batches/post", 503, "storage_unavailable"),
    *(f"/paths//files/{{key}}/put/responses/{status}: added" for status in (409, 413)),
    *(f"/paths//jobs/{{job_id}}/render/post/responses/{status}: added" for status in (408, 413)),
    "/paths//uploads/post/responses/408: added",
)
# Intended additions, as `differences` reports them.
ADDED = frozenset(
    {
        "/paths//files/{key}/put/requestBody: added",
        "/paths//detect: added",
        *(
            EXAMPLES.format(path, code)
            for path in ("/generate", "/batches", "/jobs/{job_id}/render")
            for code in ("consent_refused", "watermark_refused")
        ),
        "/paths//people/{person}/{name}: added",
        BODY_OF.format("/uploads", "application/json", "filename"),
        "/paths//jobs/{job_id}/render/post/requestBody/content/application/json/schema/default/"
        "webhook_events: added",
        *(
            EXAMPLES.format("/generate", code)
            for code in (*CLIP_CODES, "audio_url_failed", "audio_url_refused")
        ),
        *BOUNDS,
        *(
            EXAMPLES.format(path, f"{kind}_unsupported")
            for path in ("/generate", "/batches", "/jobs/{job_id}/render")
            for kind in ("output", "sampler", "control", "shading")
        ),
        EXAMPLES.format("/generate", "partner_channels"),
        EXAMPLES.format("/batches", "audio_channels"),
        EXAMPLES.format("/batches", "partner_channels"),
        BODY_OF.format("/batches", "application/json", "items/items/properties/partner_upload_id"),
        *(
            BODY_OF.format("/generate", kind, name)
            for kind in ("application/json", "multipart/form-data")
            for name in ("partner", "partner_upload_id")
        ),
        *(
            EXAMPLES.format("/uploads/{upload_id}/complete", code)
            for code in (*CLIP_CODES, *OTHER_CODES)
        ),
    }
)
# Additions in many places: headers and kinds of files of answers, values of texts,
# fields of requests.
ADDED_EVERYWHERE = re.compile(
    r"/paths/.*/responses/\d+/(headers(/[\w-]+)?"
    r"|content/(application/octet-stream|application/zip|video/\w+)/schema"
    r"|content/(model/[\w-]+|application/c2pa|text/(plain|csv))"
    r"|content/application/problem\+json/schema/properties/code/enum"
    r"|content/application/json/schema/properties/state/enum): added"
    r"|/paths/.*/parameters/(path|query) \w+/schema(/anyOf/\w+)?/pattern: added"
    r"|/paths/.*/multipart/form-data/schema/properties/audio/format: added"
    r"|/paths/.*/outputs/(anyOf/0/)?items/enum: "
    r"\['video', 'motion'\] became \['video', 'motion', .*\]"
    r"|/paths/.*/properties/(quality|sampler|guidance_until|use|shading|watermark|consent"
    r"|both|partner_person|layout|expressiveness|gestures): added"
    r"|/paths/.*/format/(anyOf/0/)?enum: \['mp4', .*\] became \['mp4', 'fmp4', .*\]"
)
OPERATION_IDS = {
    "POST /generate": "generate",
    "GET /jobs": "list_jobs",
    "GET /jobs/{job_id}": "get_job",
    "DELETE /jobs/{job_id}": "delete_job",
    "POST /jobs/{job_id}/cancel": "cancel_job",
    "POST /jobs/{job_id}/retry": "retry_job",
    "POST /jobs/{job_id}/render": "render_job",
    "GET /jobs/{job_id}/events": "stream_job_events",
    "GET /jobs/{job_id}/outputs/{name}": "download_output",
    "GET /jobs/{job_id}/deliveries": "list_deliveries",
    "POST /jobs/{job_id}/deliveries/{delivery_id}/redeliver": "redeliver",
    "POST /uploads": "create_upload",
    "GET /uploads/{upload_id}": "get_upload",
    "POST /uploads/{upload_id}/complete": "complete_upload",
    "POST /batches": "create_batch",
    "GET /batches/{batch_id}": "get_batch",
    "POST /batches/{batch_id}/cancel": "cancel_batch",
    "GET /people": "list_people",
    "GET /people/{person}/{name}": "download_person_file",
    "GET /files/{key}": "download_file",
    "PUT /files/{key}": "upload_part",
    "POST /detect": "detect",
    "GET /healthz": "get_health",
    "GET /readyz": "get_readiness",
}
HEADERS = {
    "prefer": "Prefer",
    "if-none-match": "If-None-Match",
    "last-event-id": "Last-Event-ID",
}
WARNING = {
    "type": "object",
    "properties": {"code": {"type": "string"}, "detail": {"type": "string"}},
    "required": ["code", "detail"],
}

LIVE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "content_type": {"type": "string"},
        "bytes": {"type": "integer"},
        "path": {"type": "string"},
    },
    "required": ["name", "content_type", "bytes", "path"],
}
USAGE = {
    "type": "object",
    "properties": {
        "device": {"type": "string"},
        "device_seconds": {"type": "number"},
        "cost": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "currency": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["device", "device_seconds", "cost", "currency"],
}

SECONDS = {"type": "number", "minimum": 1, "maximum": 2592000}
EVENT_TYPES = ["job.succeeded", "job.failed", "job.canceled"]
EVENTS = {
    "type": "array",
    "items": {"type": "string", "enum": EVENT_TYPES},
    "minItems": 1,
    "maxItems": 8,
    "default": EVENT_TYPES,
}
JOB_FIELDS = {
    "cancel_after": {"anyOf": [SECONDS, {"type": "null"}], "default": None},
    "webhook_events": EVENTS,
}
ANIMATION_FIELDS: dict[str, dict[str, Any]] = {
    "frame": {"type": "integer", "minimum": 0, "maximum": 1000000, "default": 0},
    "mesh_rate": {"type": "number", "minimum": 0.1, "maximum": 30.0, "default": 10.0},
}

Document = dict[str, Any]


@pytest.fixture(scope="module")
def before() -> Document:
    document: Document = json.loads(SNAPSHOT.read_text())
    return document


def compared(before: Document, now: Document) -> list[str]:
    return list(differences(contract(before), contract(now)))


def changed(before: Document, change: Callable[[Document], object]) -> list[str]:
    """Differences after `change` was applied to a copy."""
    now = copy.deepcopy(before)
    change(now)
    return compared(before, now)


def add_members(document: Document) -> None:
    """Add the members of jobs and requests since version 0.2; they appear in many places."""
    channel = {"type": "string", "enum": ["left", "right"], "default": "left"}
    for name in ("GenerateForm", "GenerateBody", "BatchEntry", "JobRequest"):
        schema(document, name)["properties"]["person_channel"] = channel
        if name != "JobRequest":
            schema(document, name)["properties"] |= copy.deepcopy(JOB_FIELDS)
    # FastAPI writes limits of floats as such, and leaves out null as a default.
    seconds = {"type": "number", "minimum": 1.0, "maximum": 2592000.0}
    optional = {"cancel_after": {"anyOf": [seconds, {"type": "null"}]}}
    schema(document, "RenderAsked")["properties"] |= copy.deepcopy(JOB_FIELDS | optional)
    schema(document, "GenerateForm")["properties"]["cancel_after"] = SECONDS
    header = {"in": "header", "name": "Cancel-After", "required": False, "schema": SECONDS}
    for path in ("/generate", "/batches", "/jobs/{job_id}/render"):
        document["paths"][path]["post"]["parameters"].append(header)
    for name in ("GenerateForm", "GenerateBody", "BatchEntry", "JobRequest", "RenderAsked"):
        add_animation_fields(name, schema(document, name)["properties"])
    person = schema(document, "PersonSummary")
    for member in ("outputs", "samplers", "controls", "shadings"):
        person["properties"][member] = {"type": "array", "items": {"type": "string"}}
        person["required"].append(member)
    job = schema(document, "JobView")
    number, time = {"type": "number"}, {"type": "string", "format": "date-time"}
    for member, kind in (("cancel_after", number), ("cancel_at", time)):
        job["properties"][member] = {"anyOf": [kind, {"type": "null"}]}
    job["properties"]["webhook_events"] = {"type": "array", "items": EVENTS["items"]}
    job["required"] += ["cancel_after", "cancel_at", "webhook_events"]
    text = {"type": "string"}
    for member, kind in (("filename", text), ("seconds_left", number)):
        job["properties"][member] = {"anyOf": [kind, {"type": "null"}]}
        job["required"].append(member)
    agreement = {"type": "object", "additionalProperties": True}
    for member in ("consent", "partner_consent"):
        job["properties"][member] = {"anyOf": [agreement, {"type": "null"}]}
        job["required"].append(member)
    job["properties"]["live"] = {"type": "array", "items": LIVE}
    job["required"].append("live")
    job["properties"]["usage"] = {"anyOf": [USAGE, {"type": "null"}]}
    job["required"].append("usage")
    person = schema(document, "PersonSummary")
    for member in ("picture", "loop"):
        person["properties"][member] = {"anyOf": [text, {"type": "null"}]}
        person["required"].append(member)
    job["properties"]["warnings"] = {"type": "array", "items": WARNING}
    job["required"].append("warnings")


def add_animation_fields(model: str, properties: dict[str, Any]) -> None:
    """Add the outputs for animation tools, and the fields that two of them read."""
    outputs = properties["outputs"]
    for kind in outputs.get("anyOf", [outputs])[:1]:
        kind["items"]["enum"] = list(output_kinds())
        kind["maxItems"] = 16
    for name, limits in ANIMATION_FIELDS.items():
        if model in ("JobRequest", "RenderAsked"):  # FastAPI writes these limits as floats
            limits = limits | {bound: float(limits[bound]) for bound in ("minimum", "maximum")}
        if model == "RenderAsked":
            kind = {key: value for key, value in limits.items() if key != "default"}
            limits = {"anyOf": [kind, {"type": "null"}]}
        properties[name] = copy.deepcopy(limits)


def restate(document: Document) -> None:
    """Write facts that have not changed as they are written since version 0.2."""
    document["components"]["securitySchemes"] = {
        "bearer": document["components"]["securitySchemes"]["key"]
    }
    for path, methods in document["paths"].items():
        for operation in methods.values():
            # A key is optional where none is needed, and no use for signed links and for probes.
            optional = [{"bearer": []}, {}]
            operation["security"] = optional if operation.get("security") else []
            for parameter in operation.get("parameters", ()):
                _restate_parameter(parameter)
        if path.endswith("/events"):  # it is a text of events, and was described as one of them
            content = methods["get"]["responses"]["200"]["content"]
            content["text/event-stream"] = {"schema": {"type": "string"}}


def _restate_parameter(parameter: dict[str, Any]) -> None:
    """Headers and queries cannot be null, and case does not matter in names of headers."""
    kinds = parameter["schema"].pop("anyOf", [])
    parameter["schema"] |= next((kind for kind in kinds if kind != {"type": "null"}), {})
    if parameter["in"] == "header":
        parameter["name"] = HEADERS.get(parameter["name"], parameter["name"])


@pytest.fixture(scope="module")
def now() -> Document:
    document: Document = json.loads(json.dumps(create_app(Settings()).openapi()))
    return document


def test_the_api_is_described_as_before(before: Document, now: Document) -> None:
    extended = copy.deepcopy(before)
    restate(extended)
    add_members(extended)

    found = compared(extended, now)

    assert [f for f in found if f not in ADDED and not ADDED_EVERYWHERE.fullmatch(f)] == []
    assert ADDED - set(found) == set()


def test_operation_ids_are_those_that_generated_clients_use(now: Document) -> None:
    found = {
        f"{method.upper()} {path}": operation["operationId"]
        for path, methods in now["paths"].items()
        for method, operation in methods.items()
    }

    assert found == OPERATION_IDS


def generate(document: Document) -> Any:
    return document["paths"]["/generate"]["post"]


def schema(document: Document, name: str = "GenerateBody") -> Any:
    return document["components"]["schemas"][name]


def parameters(document: Document) -> Any:
    return document["paths"]["/jobs"]["get"]["parameters"]


def examples(document: Document) -> Any:
    return generate(document)["responses"]["422"]["content"]["application/problem+json"]["examples"]


BODY = "/paths//generate/post/requestBody/content/application/json/schema"
RESPONSES = "/paths//generate/post/responses"
LIMIT = "/paths//jobs/get/parameters/query limit"


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (lambda d: d["paths"].pop("/people"), "/paths//people: removed"),
        (lambda d: d["paths"]["/jobs/{job_id}"].pop("delete"), "/paths//jobs/{job_id}/delete: rem"),
        (lambda d: d["paths"].update({"/more": {}}), "/paths//more: added"),
        (lambda d: schema(d)["properties"].pop("takes"), f"{BODY}/properties/takes: removed"),
        (lambda d: schema(d)["properties"].update(more={}), f"{BODY}/properties/more: added"),
        (lambda d: schema(d)["properties"]["takes"].update(maximum=11), "maximum: 10 became 11"),
        (lambda d: schema(d)["properties"]["takes"].update(maximum=10.0), "10 became 10.0"),
        (lambda d: schema(d)["properties"]["takes"].pop("minimum"), "/takes/minimum: removed"),
        (lambda d: schema(d)["properties"]["takes"].update(default=2), "default: 1 became 2"),
        (lambda d: schema(d).update(required=["takes"]), f"{BODY}/required: added"),
        (lambda d: parameters(d).pop(), "/paths//jobs/get/parameters/query created_before: rem"),
        (lambda d: parameters(d)[0].update(name="most"), f"{LIMIT}: removed"),
        (lambda d: parameters(d)[0].update(required=True), f"{LIMIT}/required: False became True"),
        (lambda d: parameters(d)[0]["schema"].pop("maximum"), f"{LIMIT}/schema/maximum: removed"),
        (lambda d: examples(d).pop("view_unknown"), "/examples/view_unknown: removed"),
        (lambda d: examples(d).update(more={}), "/examples/more: added"),
        (lambda d: generate(d)["responses"].pop("507"), f"{RESPONSES}/507: removed"),
        (lambda d: schema(d, "JobView")["properties"].pop("stage"), "/properties/stage: removed"),
        (lambda d: schema(d, "Problem")["properties"].pop("title"), "/properties/title: removed"),
        (lambda d: schema(d, "State")["enum"].pop(), "schema/properties/state/enum: ["),
        (lambda d: d["components"].pop("securitySchemes"), "/security/key: removed"),
    ],
)
def test_a_change_that_clients_notice_is_reported(
    before: Document, change: Callable[[Document], object], reported: str
) -> None:
    found = changed(before, change)

    assert any(reported in each for each in found), found


def renamed(document: Document) -> None:
    text = json.dumps(document).replace("schemas/JobView", "schemas/JobResponse")
    document["paths"] = json.loads(text)["paths"]
    schemas = json.loads(text)["components"]["schemas"]
    schemas["JobResponse"] = schemas.pop("JobView")
    document["components"]["schemas"] = schemas


@pytest.mark.parametrize(
    "change",
    [
        lambda d: generate(d).update(summary="", description="other", operationId="other"),
        lambda d: schema(d)["properties"]["takes"].update(description="other", title="other"),
        lambda d: examples(d)["view_unknown"]["value"].update(detail="other"),
        lambda d: schema(d)["properties"]["takes"].update({"x-group": "motion"}),
        lambda d: parameters(d).reverse(),
        renamed,
    ],
)
def test_texts_component_names_and_extensions_are_not_reported(
    before: Document, change: Callable[[Document], object]
) -> None:
    assert changed(before, change) == []


def test_a_schema_that_contains_itself_is_compared_once() -> None:
    def tree(limit: int) -> Document:
        node = {"maximum": limit, "properties": {"below": {"$ref": "#/components/schemas/Tree"}}}
        return {
            "paths": {"/tree": {"$ref": "#/components/schemas/Tree"}},
            "components": {"schemas": {"Tree": node}},
        }

    assert compared(tree(1), tree(1)) == []
    assert compared(tree(1), tree(2)) == ["/paths//tree/maximum: 1 became 2"]
