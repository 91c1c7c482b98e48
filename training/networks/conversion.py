"""Convert TOML tables to dataclasses with cattrs, and describe invalid values.

Imported only when a recipe is read: everything else in `training` runs without cattrs.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

from cattrs import (
    AttributeValidationNote,
    BaseValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.strategies import configure_tagged_union

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Table = dict[str, Any]
Kind = TypeVar("Kind")

TAG = "kind"  # names the class of a table whose field may have one of several
SCALARS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


class ConversionError(ValueError):
    """An invalid table: one sentence with key, value and allowed values."""


def convert(
    table: Table,
    kind: type[Kind],
    *,
    tagged: Mapping[Any, Mapping[str, type]],
    chosen: Mapping[Any, type],
) -> Kind:
    """Convert a table, checking every key and type; integers are accepted as floats.

    tagged: for a union of dataclasses, the class for each value of the table's `kind`.
    chosen: for other unions, the class to use.
    Raises: ConversionError: on the first problem.
    """
    converter = Converter(forbid_extra_keys=True)
    for scalar in SCALARS:
        converter.register_structure_hook(scalar, _scalar)
    for union, names in tagged.items():
        by_class = {member: name for name, member in names.items()}
        configure_tagged_union(union, converter, by_class.__getitem__, tag_name=TAG)
    for union, member in chosen.items():
        converter.register_structure_hook(
            union, partial(lambda made, value, _: converter.structure(value, made), member)
        )
    try:
        return converter.structure(table, kind)
    except BaseValidationError as error:
        raise ConversionError(_problem(error, table, "", tagged)) from error


def listed(values: Sequence[Any]) -> str:
    """'a', 'b' or 'c'."""
    *others, last = map(repr, values)
    return f"{', '.join(others)} or {last}" if others else last


def _scalar(value: Any, kind: type) -> Any:
    if type(value) is not kind and (kind, type(value)) != (float, int):
        raise TypeError(kind)
    return kind(value)


def _problem(
    error: BaseValidationError, value: Any, key: str, tagged: Mapping[Any, Mapping[str, type]]
) -> str:
    """The first problem: follow the notes of cattrs from the table to the invalid value."""
    cause = error.exceptions[0]
    if isinstance(cause, ForbiddenExtraKeysError):
        known = ", ".join(field.name for field in fields(cause.cl))
        return f"{_inside(key, min(cause.extra_fields))} is not known; known are {known}"
    notes = [
        note
        for note in getattr(cause, "__notes__", ())
        if isinstance(note, AttributeValidationNote | IterableValidationNote)
    ]
    if not notes:
        if isinstance(error, IterableValidationError):
            return _invalid(key, value, error.cl)
        return f"{key or 'the recipe'}: {cause}"  # the dataclass refused its values
    place = notes[0].name if isinstance(notes[0], AttributeValidationNote) else notes[0].index
    key = _inside(key, place)
    if isinstance(place, str) and place not in value:
        return f"{key} is missing"
    value, kind = value[place], notes[0].type
    if isinstance(cause, BaseValidationError):
        return _problem(cause, value, key, tagged)
    if kind in tagged and isinstance(value, dict):
        return _invalid(_inside(key, TAG), value.get(TAG), Literal[tuple(tagged[kind])])
    return _invalid(key, value, kind)


def _inside(key: str, place: str | int) -> str:
    if isinstance(place, int):
        return f"{key}[{place}]"
    return f"{key}.{place}" if key else place


def _invalid(key: str, value: Any, kind: Any) -> str:
    return f"{key} is {value!r}; it must be {_expected(kind)}"


def _expected(kind: Any) -> str:
    """The values that a field of this type accepts."""
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return listed(arguments)
    if get_origin(kind) is tuple:
        return "a list" if arguments[-1] is Ellipsis else f"a list of {len(arguments)}"
    if arguments:  # a union; TOML has no null, so its other member counts
        return _expected(arguments[0])
    return "a table" if is_dataclass(kind) else SCALARS[kind]
