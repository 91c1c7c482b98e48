"""Public names and members, pinned; fields of the service; modules that an import loads."""

import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import httpx
import pytest
import typing_extensions

import visavis
import visavis.testing
from api.app import create_app
from jobs.request.declare import Group, declared_fields
from jobs.settings import Settings
from visavis import models, request, resources

USER_CODE = Path(__file__).with_name("user_code.py")
NAMES = frozenset(
    (
        "APIConnectionError",
        "APIError",
        "APIStatusError",
        "APITimeoutError",
        "AsyncClient",
        "AsyncJob",
        "AsyncOutput",
        "AsyncTake",
        "AuthenticationError",
        "BadRequestError",
        "Batch",
        "BatchEntry",
        "BatchError",
        "BatchInput",
        "BatchItem",
        "BatchOptions",
        "BatchProgress",
        "BatchReport",
        "BatchResult",
        "Client",
        "ClientOptions",
        "ClipWarning",
        "ConflictError",
        "Counts",
        "Delivery",
        "DownloadError",
        "Failure",
        "InvalidRequestError",
        "Job",
        "JobCanceled",
        "JobEnded",
        "JobError",
        "JobFailed",
        "JobFields",
        "JobFilter",
        "JobWarning",
        "NotFoundError",
        "Output",
        "OutputFields",
        "Part",
        "PermissionDeniedError",
        "Person",
        "PersonDefaults",
        "QuotaError",
        "RateLimitError",
        "RawResponse",
        "RenderFields",
        "RequestFields",
        "ServerError",
        "Stage",
        "State",
        "Take",
        "Try",
        "Upload",
        "UploadError",
        "VisavisError",
        "WaitTimeout",
        "WebhookEvent",
        "WebhookEventType",
        "WebhookVerificationError",
        "Webhooks",
    )
)
MEMBERS = {
    "Client": "base_url batch batches close generate jobs people uploads webhooks with_options "
    "with_raw_response",
    "Job": "attempt batch callback_url cancel cancel_after cancel_at clip_seconds consent "
    "created_at delete deliveries ended error expired expires_at filename finished_at id live "
    "max_attempts metadata outputs partner_consent position priority progress raw refresh render "
    "request retry seconds_left stage stages started_at state takes tenant usage wait warnings "
    "webhook_events",
    "Take": "download main number outputs partner_video preview video",
    "Output": "bytes content_type download name path url",
    "Jobs": "cancel delete deliveries get list redeliver render retry",
    "People": "list",
    "Uploads": "create get resume",
    "Batches": "cancel create get",
    "Webhooks": "unwrap",
    "BatchReport": "failed raise_for_failures results succeeded",
    "RawResponse": "answers headers parse request_id response status value",
    "APIStatusError": "body code detail errors hint incident request_id response retry_after "
    "status tries",
}
TWINS = ["Client", "Job", "Take", "Output", "Jobs", "People", "Uploads", "Batches"]
VIEWS = {  # schema of the service: record of the client
    "JobView": models.JobFields,
    "OutputView": models.OutputFields,
    "StageView": models.Stage,
    "WarningView": models.JobWarning,
    "ErrorView": models.Failure,
    "UsageView": models.Usage,
    "LiveView": models.LiveOutput,
    "PersonView": models.Person,
    "PersonDefaults": models.PersonDefaults,
    "UploadView": models.Upload,
    "PartView": models.Part,
    "BatchView": models.Batch,
    "ItemView": models.BatchItem,
    "Counts": models.Counts,
    "DeliveryView": models.Delivery,
    "TryView": models.Try,
}


def class_named(name: str) -> type[Any]:
    found: type[Any] = getattr(visavis, name, None) or getattr(resources, name)
    return found


def members(kind: type[Any]) -> set[str]:
    """Public members, those of instances included."""
    names = set(dir(kind)) | {
        name for each in kind.__mro__ for name in inspect.get_annotations(each)
    }
    if kind in (visavis.Client, visavis.AsyncClient):
        names |= set(vars(kind(transport=visavis.testing.FakeService())))
    if kind is visavis.APIStatusError:
        names |= set(vars(kind(httpx.Response(500))))
    return {name for name in names - set(dir(Exception)) if not name.startswith("_")}


def test_the_public_names_are_pinned() -> None:
    assert sorted(visavis.__all__) == sorted(NAMES)
    assert [name for name in NAMES if not hasattr(visavis, name)] == []


@pytest.mark.parametrize("name", MEMBERS)
def test_the_public_members_are_pinned(name: str) -> None:
    assert " ".join(sorted(members(class_named(name)))) == MEMBERS[name]


@pytest.mark.parametrize("name", TWINS)
def test_both_clients_have_the_same_members_and_parameters(name: str) -> None:
    blocking, asynchronous = class_named(name), class_named(f"Async{name}")

    assert members(blocking) == members(asynchronous)
    for member in members(blocking):
        one, other = getattr(blocking, member, None), getattr(asynchronous, member, None)
        if inspect.isfunction(one):
            assert described(one) == described(other), member
            assert inspect.getdoc(other), member


def described(function: Any) -> list[tuple[str, Any, Any, str]]:
    return [
        (each.name, each.kind, each.default, str(each.annotation).replace("Async", ""))
        for each in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize("name", ["Jobs", "People", "Uploads", "Batches"])
def test_raw_answers_exist_for_every_call(name: str) -> None:
    """Except the iterator of jobs, which has many answers."""
    client = visavis.Client(transport=visavis.testing.FakeService())
    asynchronous = visavis.AsyncClient(transport=visavis.testing.FakeService())

    for each in (client, asynchronous):
        calls = vars(getattr(each.with_raw_response, name.lower()))
        assert set(calls) == members(class_named(name)) - ({"list"} if name == "Jobs" else set())


def test_every_public_member_is_documented() -> None:
    kinds = [class_named(name) for name in MEMBERS]
    missing = [
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name in members(kind)
        if inspect.isfunction(getattr(kind, name, None)) and not getattr(kind, name).__doc__
    ]

    assert missing == []


def hints(kind: type[Any]) -> dict[str, Any]:
    """Types of a TypedDict, whose module imports some names for type checkers only."""
    names = vars(typing_extensions) | vars(models)
    return get_type_hints(kind, localns={**names, "Mapping": Mapping, "Sequence": Sequence})


def scalars(kind: Any) -> set[Any]:
    """Scalar types of an annotation: those of items, and the values of a `Literal`."""
    if get_origin(kind) is Literal:
        return set(get_args(kind))
    if get_args(kind):
        return set().union(*(scalars(each) for each in get_args(kind)))
    return {kind}


@pytest.mark.parametrize("field", list(declared_fields()), ids=lambda field: field.name)
def test_every_request_field_of_the_service_is_an_argument_of_generate(field: Any) -> None:
    kind = hints(visavis.RequestFields)[field.name]
    accepted = scalars(kind)

    if field.choices and str not in accepted:
        assert set(field.choices) == accepted - {NoneType}
    else:
        wanted = str if field.choices or field.type in (tuple, dict) else field.type
        assert wanted in accepted
    is_list = any(get_origin(each) is Sequence for each in (kind, *get_args(kind)))
    assert is_list == (field.type is tuple)
    if field.info.default is None:
        assert NoneType in accepted


def test_there_are_no_other_arguments() -> None:
    names = {field.name for field in declared_fields()}

    assert set(hints(visavis.RequestFields)) == names
    look_and_job = {field.name for field in declared_fields(Group.LOOK, Group.JOB)}
    assert set(hints(visavis.RenderFields)) == look_and_job
    assert set(request.JobAttributes.__annotations__) == {
        field.name for field in declared_fields(Group.JOB)
    }


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    app = create_app(Settings(data=tmp_path_factory.mktemp("surface")))
    found: dict[str, Any] = app.openapi()["components"]["schemas"]
    return found


@pytest.mark.parametrize("name", VIEWS)
def test_records_have_the_members_of_the_answers(name: str, schemas: dict[str, Any]) -> None:
    record = VIEWS[name]
    own = {each.name for each in dataclasses.fields(record)}

    assert own | ({"outputs"} if name == "JobView" else set()) == set(schemas[name]["properties"])


def test_an_import_loads_httpx_and_nothing_of_the_command() -> None:
    code = (
        "import sys; before = set(sys.modules); import visavis, visavis.testing\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(done.stdout.split())
    assert "httpx" in loaded
    assert not loaded & {"typer", "rich", "pydantic", "requests", "click"}


def test_code_that_uses_the_client_passes_strict_type_checks() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10"]
    command += ["--config-file=", "--warn-unused-ignores", str(USER_CODE)]

    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout
