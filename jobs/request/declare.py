"""Declaration of request fields: limits, help and form input of a field in one place.

A set of fields is a pydantic model in a module of `jobs.request.fields`. The digest of motion, the
bodies of POST /generate and POST /jobs/{id}/render, the options of commands, the form of the web
page, the defaults of a person and the table in docs/api.md are derived from these sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field

from contracts.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

EXTENSION = "x-visavis"  # key of the declaration in JSON schemas


class Group(StrEnum):
    """Group of a field: the part of a job that depends on it."""

    MOTION = "motion"  # the motion, and with it the digest
    LOOK = "look"  # the files made of the motion; may change when a job is rendered again
    JOB = "job"  # the job itself; not part of the stored request


@dataclass(frozen=True)
class FieldSet:
    """Request fields of one group, declared as a pydantic model."""

    name: str
    group: Group
    model: type[BaseModel]
    order: int = 100


@dataclass(frozen=True)
class FormInput:
    """The input of a field in a form: its type and limits come from the schema of the field."""

    label: str
    main: bool = False  # shown at once; else among further options
    placeholder: str = ""
    step: float | None = None
    choices: tuple[str, ...] = ()  # of a text field: common values
    labels: Mapping[str, str] | None = None  # of an enumeration: label of each value
    person_values: str = ""  # member of a person in GET /people: the values to choose from
    colour: bool = False  # a colour picker beside the text
    people: bool = False  # of a text field: the values are the persons in GET /people
    needs: str = ""  # name of a field without whose tick the input is hidden


def request_field(
    default: Any,
    help: str,
    *,
    form: FormInput | None = None,
    values: str = "",
    person_default: bool = False,
    always_in_digest: bool = False,
    **limits: Any,
) -> Any:
    """Declare a field.

    help: one or two sentences, shown in every place. form: None leaves it out of forms.
    values: the values in words, for docs; derived from the limits when empty.
    person_default: person.json may hold a default for it.
    always_in_digest: part of the digest of motion even at its default. Only fields of the first
    release are; a later field with its default keeps the digests of stored motion valid.
    limits: arguments of `pydantic.Field`, such as `ge` and `le`.
    """
    declared: dict[str, Any] = {}
    if form is not None:
        declared["form"] = {name: value for name, value in vars(form).items() if value}
    if values:
        declared["values"] = values
    if person_default:
        declared["person_default"] = True
    if always_in_digest:
        declared["always_in_digest"] = True
    return Field(
        default=default, description=help, json_schema_extra={EXTENSION: declared}, **limits
    )


@dataclass(frozen=True)
class RequestField:
    """One declared field."""

    name: str
    group: Group
    info: FieldInfo

    @property
    def declared(self) -> Mapping[str, Any]:
        """The members of the declaration that pydantic has no place for."""
        extra = self.info.json_schema_extra
        assert isinstance(extra, dict), f"declare {self.name} with request_field"
        declared: Any = extra[EXTENSION]
        return dict(declared)

    @property
    def help(self) -> str:
        return self.info.description or ""

    @property
    def person_default(self) -> bool:
        return bool(self.declared.get("person_default"))

    @property
    def limits(self) -> str:
        """Return the limits of a number as "0..10", else an empty string."""
        bounds = {
            name: getattr(each, name)
            for each in self.info.metadata
            for name in ("ge", "le")
            if hasattr(each, name)
        }
        return f"{bounds['ge']}..{bounds['le']}" if len(bounds) == 2 else ""

    @property
    def type(self) -> Any:
        """Return the plain type without None, limits and validators: int, str, tuple ..."""
        return plain_type(self.info.annotation)

    @property
    def choices(self) -> tuple[Any, ...]:
        """Return the values of an enumeration, or those of the items of a list; else empty."""
        annotation = _without_none(self.info.annotation)
        if self.type is tuple:
            annotation = next(iter(get_args(annotation)), None)
        return get_args(annotation) if get_origin(annotation) is Literal else ()

    @property
    def annotation(self) -> Any:
        """Return the type with limits and validators, for another model with the same field."""
        if not self.info.metadata:
            return self.info.annotation
        return Annotated[self.info.annotation, *self.info.metadata]

    @property
    def optional_annotation(self) -> Any:
        """Return `annotation`, with None allowed."""
        return self.annotation if _allows_none(self.info.annotation) else self.annotation | None


FIELD_SETS: Registry[FieldSet] = Registry("set of request fields", "jobs.request.fields", "FIELDS")


def declared_fields(*groups: Group) -> Iterator[RequestField]:
    """Yield the declared fields of some groups, of all groups when none is given."""
    for fields in FIELD_SETS:
        if not groups or fields.group in groups:
            for name, info in fields.model.model_fields.items():
                yield RequestField(name, fields.group, info)


def _allows_none(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation)


def _without_none(annotation: Any) -> Any:
    """Return the first kind of an annotation that is not None."""
    if not _allows_none(annotation):
        return annotation
    return next(each for each in get_args(annotation) if each is not NoneType)


def plain_type(annotation: Any) -> Any:
    """Strip None, Annotated and type parameters from an annotation."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return plain_type(get_args(annotation)[0])
    if origin in (Union, UnionType):
        kinds = [each for each in get_args(annotation) if each is not NoneType]
        return plain_type(kinds[0])
    return origin or annotation
