"""Request bodies of POST /generate, as a form or as JSON, and of a batch item."""

import binascii
import json
import re
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
from jobs.request.declare import declared_fields
from jobs.request.fields.job import JobFields
from jobs.request.model import GenerateRequest, JobRequest
from jobs.request.values import Metadata

Body = TypeVar("Body", bound=BaseModel)

FORM, JSON = "multipart/form-data", "application/json"
PLAIN_FORM = "application/x-www-form-urlencoded"  # what `curl -d` sends; carries no file
SOURCES = ("audio", "upload_id", "audio_url")
PARTNER_SOURCES = ("partner", "partner_upload_id")
FILES = ("audio", "partner")  # fields of the form that are files
BLANKS = b" \t\r\n"  # in base64, which many encoders break into lines
# In a form, "a,b" and a repeated field mean the same.
LIST_FIELDS = tuple(field.name for field in declared_fields() if field.type is tuple)


def _decoded(given: Any) -> bytes:
    """Decode base64, with or without line breaks and the prefix of a data URL."""
    if not isinstance(given, str):
        raise ValueError("should be the file in base64")
    encoded = re.sub("^data:[^,]*;base64,", "", given)
    try:
        return b64decode(encoded.encode("ascii").translate(None, BLANKS), validate=True)
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


class GenerateBase(JobFields, GenerateRequest):
    """Fields of a request that names one clip, without the clip itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partner_upload_id: UploadId | None = Field(
        default=None,
        description="Id of the partner's clip from POST /uploads, if each person has a file.",
    )

    def request(self) -> JobRequest:
        """Return the part that is stored with the job."""
        return JobRequest(**self.model_dump(include=set(JobRequest.model_fields)))

    def facts(self) -> dict[str, Any]:
        """Return all fields but the clip that differ from their defaults."""
        return self.model_dump(exclude={*SOURCES, *PARTNER_SOURCES}, exclude_defaults=True)


class GenerateOne(GenerateBase):
    """POST /generate: exactly one of `audio`, `upload_id` and `audio_url` names the clip."""

    upload_id: UploadId | None = Field(default=None, description="Id of a clip from POST /uploads.")
    audio_url: str | None = Field(
        default=None,
        max_length=2048,
        description="URL of the clip: https, on the public internet; if the operator allows it.",
    )

    @field_validator("audio", check_fields=False)  # declared by subclasses, validated last
    @classmethod
    def _one_source(cls, given: Any, info: ValidationInfo) -> Any:
        named = [name for name in SOURCES if info.data.get(name) is not None]
        if given is None and not named:
            raise ValueError("is missing; send it, or upload_id of a clip from POST /uploads")
        if len(named) + (given is not None) > 1:
            raise ValueError(f"came with {' and '.join(named)}; send one of them")
        return given

    @field_validator("partner", check_fields=False)
    @classmethod
    def _one_partner(cls, given: Any, info: ValidationInfo) -> Any:
        if given is not None and info.data.get("partner_upload_id") is not None:
            raise ValueError("came with partner_upload_id; send one of them")
        return given


class GenerateForm(GenerateOne):
    """Form body of POST /generate."""

    audio: UploadFile | None = Field(
        default=None, validate_default=True, description="The recording, one or two channels."
    )
    partner: UploadFile | None = Field(
        default=None, description="The partner, if each person has a file of one channel."
    )
    metadata: Json[Metadata] = Field(
        default={},
        description=JobFields.model_fields["metadata"].description,
        json_schema_extra={"default": "{}"},
    )

    @field_validator(*FILES, mode="before")
    @classmethod
    def _is_file(cls, given: Any, info: ValidationInfo) -> Any:
        if isinstance(given, str):
            name = info.field_name
            raise ValueError(f"must be a file; with curl write {name}=@FILE")
        return given

    @field_validator(*LIST_FIELDS, mode="before")
    @classmethod
    def _split_words(cls, given: Any) -> Any:
        return _split(given)


TEXT_FIELDS = frozenset(GenerateForm.model_fields) - set(FILES)


class GenerateBody(GenerateOne):
    """JSON body of POST /generate."""

    audio: Inline | None = Field(
        default=None, validate_default=True, description="The recording, in base64."
    )
    partner: Inline | None = Field(
        default=None,
        description="The partner in base64, if each person has a file of one channel.",
    )


class BatchEntry(GenerateBase):
    """One item of POST /batches."""

    upload_id: UploadId = Field(description="Id of a clip from POST /uploads.")


async def request_body(request: Request) -> AsyncIterator[GenerateForm | GenerateBody]:
    """Yield the validated body of either type. Raises: RequestValidationError: for each field."""
    kind = kind_of(request)
    try:
        if kind == JSON:
            body = await request.body()
            yield await run_in_threadpool(lambda: fitting(GenerateBody, json_of(body)))
        elif kind in (FORM, PLAIN_FORM):
            yield fitting(GenerateForm, await _fields(request))
        else:
            raise _unsupported_type(kind)
    finally:
        await request.close()  # files of the form


def kind_of(request: Request) -> str:
    """Return the media type of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def body_of(form: type[BaseModel], body: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI request body of a route that accepts both types."""
    content = {
        kind: {"schema": {"$ref": REFERENCE.format(model=model.__name__)}}
        for kind, model in ((FORM, form), (JSON, body))
    }
    return {"requestBody": {"required": True, "content": content}}


def _unsupported_type(kind: str) -> Problem:
    return Problem(
        "body_type_unsupported",
        f"The body is {kind[:80] or 'without a type'}; send {FORM} with the file in the field "
        f"`audio`, or {JSON}.",
    )


def json_of(body: bytes) -> Any:
    """Parse the body. Raises: Problem: 400 malformed_body."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(
            "malformed_body", "The body is not valid JSON; check how it was made."
        ) from error


def fitting(model: type[Body], given: Any, *where: str | int) -> Body:
    """Validate `given` as `model`. Raises: RequestValidationError: with places in the body."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        errors = [{**each, "loc": ("body", *where, *each["loc"])} for each in error.errors()]
        raise RequestValidationError(errors) from error


async def _fields(request: Request) -> dict[str, Any]:
    """Read a form; an empty field counts as left out.

    Raises: RequestValidationError: for a field that came several times or as a file.
    """
    form = await request.form()
    fields: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for name in form:
        given = [value for value in form.getlist(name) if not _is_blank(value)]
        is_list = name in LIST_FIELDS
        if len(given) > 1 and not is_list:
            faults[name] = f"came {len(given)} times; send it once"
        elif name in TEXT_FIELDS and any(isinstance(value, ReceivedFile) for value in given):
            faults[name] = f"must be text and not a file; with curl write {name}=VALUE"
        elif given:
            fields[name] = given if is_list else _received(given[0])
    if faults:
        raise RequestValidationError(
            [
                {"type": "value_error", "loc": ("body", name), "msg": fault}
                for name, fault in faults.items()
            ]
        )
    return fields


def _is_blank(value: Any) -> bool:
    """Return whether a field is empty; a browser sends a file input without a file like this."""
    if isinstance(value, ReceivedFile):
        return not value.filename and not value.size
    return isinstance(value, str) and not value.strip()


def _received(value: Any) -> Any:
    if isinstance(value, ReceivedFile):
        return UploadFile(value.file, size=value.size, filename=value.filename)
    return value
