"""Compare two OpenAPI documents by what clients depend on; texts and component names may differ."""

from collections.abc import Iterator, Mapping
from typing import Any

TEXTS = {"description", "summary", "title", "operationId", "detail", "example"}
NAMED_BY_CLIENTS = {"properties", "headers", "examples"}  # their keys are names, not keywords


def contract(document: Mapping[str, Any]) -> dict[str, Any]:
    """Paths and security schemes, with references resolved and texts removed."""
    parts = {
        "paths": document["paths"],
        "security": document["components"].get("securitySchemes", {}),
    }
    resolved: dict[str, Any] = _resolved(parts, document, ())
    return resolved


def differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Paths of members that were removed, added or changed; added `x-` members are ignored."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            here = f"{path}/{name}"
            if name not in now:
                yield f"{here}: removed"
            elif name not in before:
                if not name.startswith("x-"):
                    yield f"{here}: added"
            else:
                yield from differences(before[name], now[name], here)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from differences(old, new, f"{path}/{number}")
    elif type(before) is not type(now) or before != now:
        yield f"{path}: {before!r} became {now!r}"


def _resolved(
    node: Any, document: Mapping[str, Any], references: tuple[str, ...], *, names: bool = False
) -> Any:
    """references: those being resolved. names: whether the keys of `node` are names."""
    if isinstance(node, list):
        return [_resolved(each, document, references) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node and not names:
        reference = node["$ref"]
        if reference in references:
            return {"$ref": "recursive"}
        target = _target(reference, document) | {k: v for k, v in node.items() if k != "$ref"}
        return _resolved(target, document, (*references, reference))
    resolved = {
        key: _resolved(value, document, references, names=not names and key in NAMED_BY_CLIENTS)
        for key, value in node.items()
        if names or key not in TEXTS
    }
    if names:
        return resolved
    if isinstance(resolved.get("required"), list):
        resolved["required"] = sorted(resolved["required"])
    if "parameters" in resolved:
        resolved["parameters"] = {f"{p['in']} {p['name']}": p for p in resolved["parameters"]}
    return resolved


def _target(reference: str, document: Mapping[str, Any]) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found
