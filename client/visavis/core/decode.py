"""JSON of the service to typed records."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from visavis.errors import APIError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


def parsed(kind: type[T], content: Mapping[str, Any]) -> T:
    """Build a record from JSON; members that it does not declare are ignored.

    Raises:
        APIError: when a member is missing, or has another type.
    """
    hints = _hints(kind)  # type: ignore[arg-type]
    try:
        values = {
            each.name: _value(hints[each.name], content[each.name])
            for each in fields(kind)  # type: ignore[arg-type]
            if each.name in content or not _has_default(each)
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise APIError(
            f"the answer is not a valid {kind.__name__} ({error!r}); check the address and the "
            "version of the service"
        ) from error
    return kind(**values)


def listed(kind: type[T], content: Mapping[str, Any], name: str) -> list[T]:
    """Build the records of a list in an answer. Raises: APIError: as `parsed`."""
    items = content.get(name)
    if not isinstance(items, list):
        raise APIError(f"the answer has no list {name}; check the version of the service")
    return [parsed(kind, each) for each in items]


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _has_default(declared: Any) -> bool:
    return declared.default is not MISSING or declared.default_factory is not MISSING


def _value(kind: Any, content: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        if content is None:
            return None
        kind = next(each for each in get_args(kind) if each is not NoneType)
    if kind is datetime:
        return datetime.fromisoformat(content.replace("Z", "+00:00"))
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        return [_value(item, each) for each in content]
    if is_dataclass(kind):
        return parsed(kind, content)  # type: ignore[arg-type]
    return content
