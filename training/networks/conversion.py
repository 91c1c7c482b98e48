"""Convert TOML tables to dataclasses, and describe invalid values.

Standard library only, because recipes are read on machines that have nothing but torch and numpy.
"""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

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
    key: str = "",
) -> Kind:
    """Convert a table, checking every key and type; integers are accepted as floats.

    tagged: for a union of dataclasses, the class for each value of the table's `kind`.
    chosen: for other unions, the class to use. key: the place of the table, for messages.
    Raises: ConversionError: on the first problem.
    """
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in table:
        if name not in known:
            raise ConversionError(
                f"{_inside(key, name)} is not known; known are {', '.join(known)}"
            )

    def value_of(kind: Any, value: Any, key: str) -> Any:
        kind = chosen.get(kind, kind)
        if kind in tagged:
            classes = tagged[kind]
            _require(isinstance(value, dict), key, value, "a table")
            tag = value.get(TAG)
            _require(tag in classes, _inside(key, TAG), tag, listed(tuple(classes)))
            table = {name: each for name, each in value.items() if name != TAG}
            return convert(table, classes[tag], tagged=tagged, chosen=chosen, key=key)
        if is_dataclass(kind) and isinstance(kind, type):
            _require(isinstance(value, dict), key, value, "a table")
            return convert(value, kind, tagged=tagged, chosen=chosen, key=key)
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):  # a value or None, which TOML expresses by absence
            return value_of(arguments[0], value, key)
        if origin is Literal:
            _require(value in arguments, key, value, listed(arguments))
            return value
        if origin is tuple:
            return items_of(arguments, value, key)
        _require(type(value) in ((int, float) if kind is float else (kind,)), key, value, kind)
        return kind(value)

    def items_of(kinds: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
        """Convert a list to a tuple of any length, or of the length of its type."""
        any_length = kinds[-1] is Ellipsis
        allowed = "a list" if any_length else f"a list of {len(kinds)}"
        _require(isinstance(value, list), key, value, allowed)
        _require(any_length or len(value) == len(kinds), key, value, allowed)
        each = [kinds[0]] * len(value) if any_length else kinds
        return tuple(
            value_of(kind, item, f"{key}[{place}]")
            for place, (kind, item) in enumerate(zip(each, value, strict=True))
        )

    values = {
        name: value_of(hints[name], value, _inside(key, name)) for name, value in table.items()
    }
    for field in fields(kind):  # type: ignore[arg-type]
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in values:
            raise ConversionError(f"{_inside(key, field.name)} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise ConversionError(f"{key or 'the recipe'}: {error}") from error


def listed(values: Sequence[Any]) -> str:
    """'a', 'b' or 'c'."""
    *others, last = map(repr, values)
    return f"{', '.join(others)} or {last}" if others else last


def _inside(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _require(valid: Any, key: str, value: Any, allowed: Any) -> None:
    if not valid:
        raise ConversionError(f"{key} is {value!r}; it must be {SCALARS.get(allowed, allowed)}")
