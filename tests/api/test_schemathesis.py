"""Requests generated from the OpenAPI document: the API behaves as documented.

VISAVIS_TEST_EXAMPLES sets the number of valid and of invalid requests for each operation, and
VISAVIS_TEST_DATABASE=postgresql the database; `make schemathesis` uses more, on both.
"""

import base64
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies

from api.app import create_app
from cli.local.embedded_redis import EmbeddedRedis
from jobs.db.engine import connect
from jobs.db.migrate import upgrade
from jobs.model import LOCAL
from jobs.settings import Settings
from jobs.store.api_keys import ApiKeyStore, Scope
from tests.api.rows import running, submit, succeeded
from tests.api.services.test_multipart_uploads import uploaded
from tests.api_server import Served, serving, write_person
from tests.postgresql import postgresql

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # warnings of its imports
    import schemathesis
    from schemathesis.checks import CHECKS, load_all_checks
    from schemathesis.config import SchemathesisConfig

# Files of text: schemathesis 4.32 cannot compare a request that contains bytes with its schema.
schemathesis.openapi.format("binary", strategies.text())

pytestmark = pytest.mark.services

POSTGRESQL = os.environ.get("VISAVIS_TEST_DATABASE") == "postgresql"
EXAMPLES = int(os.environ.get("VISAVIS_TEST_EXAMPLES", "8"))
load_all_checks()
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
# A GET without parameters has no negative cases.
DOCUMENT = create_app(Settings()).openapi()
OPERATIONS = sorted(
    (
        (f"{method.upper()} {path}", "parameters" in operation or "requestBody" in operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ),
    key=lambda each: (each[0].startswith("DELETE"), each[0]),  # DELETE removes the existing jobs
)
CASES = [
    pytest.param(label, mode, id=f"{label} {mode.value}")
    for label, has_fields in OPERATIONS
    for mode in schemathesis.GenerationMode
    if has_fields or mode is schemathesis.GenerationMode.POSITIVE
]


@dataclass(frozen=True)
class Existing:
    """A key, jobs in three states, and a link, which random values would never match."""

    key: str
    done: str
    failed: str
    waiting: str
    link: httpx.URL
    upload: str
    batch: str


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with all services, so that 503 is always wrong; every caller needs a key."""
    folder = tmp_path_factory.mktemp("whole")
    with ExitStack() as stack:
        redis = stack.enter_context(EmbeddedRedis())
        database = {"database_url": stack.enter_context(postgresql())} if POSTGRESQL else {}
        chosen = Settings(
            data=folder / "data",
            **database,
            people=write_person(folder / "people"),
            max_upload_bytes=200_000,
            broker_url=redis.url,
            access="keys",
            reads_per_minute=0,
            writes_per_minute=0,
        )
        upgrade(chosen.database_url)
        engine = connect(chosen.database_url)
        made = ApiKeyStore(engine).create(LOCAL, "a test", [Scope.READ, Scope.WRITE])
        engine.dispose()
        with serving(chosen) as served:
            served.http.headers["authorization"] = f"Bearer {made.token}"
            yield served


@pytest.fixture(scope="module")
def described(complete: Served) -> Any:
    config = SchemathesisConfig.from_dict({"seed": 1})
    address = str(complete.http.base_url).rstrip("/")
    return schemathesis.openapi.from_url(f"{address}/openapi.json", config=config, timeout=120)


@pytest.fixture(scope="module")
def existing(complete: Served, clip: bytes, tmp_path_factory: pytest.TempPathFactory) -> Existing:
    done = succeeded(complete, tmp_path_factory.mktemp("video"))
    link = httpx.URL(complete.http.get(f"/jobs/{done.id}").json()["outputs"][0]["url"])
    failed = running(complete)
    complete.services.database.attempts.fail(
        failed.id, failed.attempt, "audio_damaged", "The clip is damaged."
    )
    key = complete.http.headers["authorization"]
    upload = uploaded(complete, clip)["id"]
    batch = complete.http.post("/batches", json={"items": [{"upload_id": upload}]}).json()["id"]
    return Existing(key, done.id, failed.id, submit(complete).id, link, upload, batch)


@pytest.mark.parametrize(("label", "mode"), CASES)
def test_an_operation_behaves_as_documented(
    described: Any, existing: Existing, clip: bytes, label: str, mode: Any
) -> None:
    method, path = label.split()
    operation = described[path][method]
    # A stream of events is described as text; schemathesis would compare each event with it.
    skipped = {"response_schema_conformance"} if path.endswith("/events") else set()
    checks = [CHECKS.get_one(name) for name in CHECKED if name not in skipped]
    count = 0

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def exercise(case: Any) -> None:
        nonlocal count
        _use_existing(case, count, existing, clip)
        count += 1
        without_key = count % 8 == 0  # this response must be documented, too
        response = case.call(
            headers={} if without_key else {"Authorization": existing.key}, timeout=120
        )
        case.validate_response(response, checks=checks)

    exercise()


def _use_existing(case: Any, number: int, existing: Existing, clip: bytes) -> None:
    """Make every other request refer to existing jobs and files."""
    if number % 2 == 0:
        return
    path, method = case.operation.path, case.operation.method.upper()
    if path.endswith(("/cancel", "/retry")) or method == "DELETE":
        case.path_parameters["job_id"] = existing.failed if number % 4 == 1 else existing.waiting
    elif "job_id" in case.path_parameters:
        case.path_parameters["job_id"] = existing.done
    if "name" in case.path_parameters:
        case.path_parameters["name"] = "take-1.mp4"
    if "key" in case.path_parameters:
        case.path_parameters["key"] = existing.link.path.removeprefix("/files/")
        case.query.update(existing.link.params)
    for name, value in (("upload_id", existing.upload), ("batch_id", existing.batch)):
        if name in case.path_parameters:
            case.path_parameters[name] = value
    if isinstance(case.body, dict) and "audio" in case.body:
        as_json = case.media_type == "application/json"
        case.body["audio"] = base64.b64encode(clip).decode() if as_json else clip
        case.body.pop("upload_id", None)
    if isinstance(case.body, dict) and isinstance(case.body.get("items"), list):
        for item in case.body["items"]:
            if isinstance(item, dict):
                item["upload_id"] = existing.upload
