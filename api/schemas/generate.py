"""What a body of POST /generate says, as a form or as JSON."""

import binascii
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypeVar

from fastapi import Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile as ReceivedFile

from api.problems import REFERENCE, Problem
from jobs.request import GenerateRequest, JobRequest, Metadata, Priority

Body = TypeVar("Body", bound=BaseModel)

FORM, JSON = "multipart/form-data", "application/json"
PLAIN_FORM = "application/x-www-form-urlencoded"  # what `curl -d` sends; carries no file
SOURCES = ("audio", "upload_id", "audio_url")
OF_A_LIST = ("outputs", "views")  # "a,b" and twice the field mean the same
BESIDE_THE_REQUEST = (*SOURCES, "priority", "metadata", "callback_url")


def _decoded(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return b64decode(given.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("should be the file in base64") from error


def _split(given: Any) -> Any:
    if isinstance(given, list | tuple):
        return tuple(word.strip() for each in given for word in str(each).split(","))
    return given


UploadId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Inline = Annotated[
    bytes,
    BeforeValidator(_decoded),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


class GenerateBase(GenerateRequest):
    """What to make, of what, and what the owner says about it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    priority: Priority = Field(
        default=0, description="-10 to 10: higher ones are done first, equal ones by their age."
    )

    callback_url: str | None = Field(
        default=None, description="https, on the public internet: is told when the job has ended."
    )

    def request(self) -> JobRequest:
        return JobRequest(**self.model_dump(exclude=set(BESIDE_THE_REQUEST)))

    def facts(self) -> dict[str, Any]:
        """Everything but the clip, and but what is left to its default."""
        return self.model_dump(exclude=set(SOURCES), exclude_defaults=True)


class GenerateOne(GenerateBase):
    """The clip of POST /generate: one of several ways to name it. `audio` is that of the body."""

    upload_id: UploadId | None = Field(
        default=None, description="A clip that was sent before: see POST /uploads."
    )
    audio_url: str | None = Field(
        default=None,
        max_length=2048,
        description="Where the clip lies: https, on the public internet. Where the operator "
        "allows it.",
    )

    @field_validator("audio", check_fields=False)  # of those below; the others are known by then
    @classmethod
    def _one_source(cls, given: Any, info: ValidationInfo) -> Any:
        named = [name for name in SOURCES if info.data.get(name) is not None]
        if given is None and not named:
            raise ValueError("is missing; send it, or upload_id of a clip that was sent before")
        if len(named) + (given is not None) > 1:
            raise ValueError(f"came with {' and '.join(named)}; send one of them")
        return given


class GenerateForm(GenerateOne):
    """The form of POST /generate."""

    audio: UploadFile | None = Field(
        default=None, validate_default=True, description="The recording, one or two channels."
    )
    metadata: Json[Metadata] = Field(
        default={},
        description='Your own words about it, as JSON: {"order": "17"}. Up to 16 strings of up to '
        "256 characters; kept and given back.",
        json_schema_extra={"default": "{}"},
    )

    @field_validator(*OF_A_LIST, mode="before")
    @classmethod
    def _split_words(cls, given: Any) -> Any:
        return _split(given)


class GenerateBody(GenerateOne):
    """The JSON of POST /generate."""

    audio: Inline | None = Field(
        default=None, validate_default=True, description="The recording, in base64."
    )
    metadata: Metadata = Field(
        default={},
        description="Your own words about it: up to 16 strings of up to 256 characters.",
    )


class BatchEntry(GenerateBase):
    """One item of POST /batches."""

    upload_id: UploadId = Field(description="A clip that was sent before: see POST /uploads.")
    metadata: Metadata = Field(
        default={},
        description="Your own words about it: up to 16 strings of up to 256 characters.",
    )


async def request_body(request: Request) -> AsyncIterator[GenerateForm | GenerateBody]:
    """The body, whichever kind it is; what does not fit is told for each field."""
    kind = kind_of(request)
    try:
        if kind == JSON:
            body = await request.body()
            yield await run_in_threadpool(lambda: fitting(GenerateBody, json_of(body)))
        elif kind in (FORM, PLAIN_FORM):
            yield fitting(GenerateForm, await _fields(request))
        else:
            raise _no_kind_of_ours(kind)
    finally:
        await request.close()  # files of the form


def kind_of(request: Request) -> str:
    """The type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def body_of(form: type[BaseModel], body: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of a route that takes either."""
    content = {
        kind: {"schema": {"$ref": REFERENCE.format(model=model.__name__)}}
        for kind, model in ((FORM, form), (JSON, body))
    }
    return {"requestBody": {"required": True, "content": content}}


def _no_kind_of_ours(kind: str) -> Problem:
    return Problem(
        "body_type_unsupported",
        f"The body is {kind[:80] or 'of no type'}; send {FORM} with the file in the field "
        f"`audio`, or {JSON}.",
    )


def json_of(body: bytes) -> Any:
    """The body as JSON. 400 where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(
            "malformed_body", "The body is no well-formed JSON; look at how it was made."
        ) from error


def fitting(model: type[Body], given: Any, *where: str | int) -> Body:
    """`given` as `model`, whose faults are told as those of a body."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        told = [{**each, "loc": ("body", *where, *each["loc"])} for each in error.errors()]
        raise RequestValidationError(told) from error


async def _fields(request: Request) -> dict[str, Any]:
    """A field that is empty means its default, so it counts as left out."""
    form = await request.form()
    fields: dict[str, Any] = {}
    for name in form:
        given = [value for value in form.getlist(name) if not _is_blank(value)]
        if given:
            fields[name] = given if name in OF_A_LIST else _received(given[-1])
    return fields


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def _received(value: Any) -> Any:
    if isinstance(value, ReceivedFile):
        return UploadFile(value.file, size=value.size, filename=value.filename)
    return value
