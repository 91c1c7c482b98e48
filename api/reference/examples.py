"""Examples for the API reference: values of schemas, and a curl command for each operation."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Schema = Mapping[str, Any]

ADDRESS = "service-address"  # in commands; replaced by the address of the service
SAMPLE = "@conversation.wav"
BY_FORMAT: Mapping[str, str] = {
    "date-time": "2026-05-04T12:00:00Z",
    "uri": "https://example.com/hook",
    "binary": SAMPLE,
}
EMPTY: Mapping[str, Any] = {"string": "…", "boolean": False, "null": None}
DEEPEST = 8  # levels of an example; a schema may contain itself


def resolver(document: Mapping[str, Any]) -> Callable[[Schema], Schema]:
    """Return a function that follows the `$ref` of a schema within the document."""

    def resolved(schema: Schema) -> Schema:
        while "$ref" in schema:
            target: Any = document
            for name in schema["$ref"].split("/")[1:]:
                target = target[name]
            schema = target | {key: value for key, value in schema.items() if key != "$ref"}
        return schema

    return resolved


def example_of(schema: Schema, resolved: Callable[[Schema], Schema], depth: int = 0) -> Any:
    """Return a value of a schema: its example, default or first choice, else one of its type."""
    schema = resolved(schema)
    if "example" in schema:
        return schema["example"]
    if schema.get("examples"):
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("default") is not None:
        return schema["default"]
    variants = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if variants:
        return example_of(variants[0], resolved, depth)
    if depth > DEEPEST:
        return None
    if "properties" in schema:
        members: Mapping[str, Any] = schema["properties"]
        return {name: example_of(each, resolved, depth + 1) for name, each in members.items()}
    match schema.get("type"):
        case "array":
            return [example_of(schema["items"], resolved, depth + 1)] if "items" in schema else []
        case "object":
            return {}
        case "integer" | "number":
            return schema.get("minimum", 1)
        case kind:
            return BY_FORMAT.get(schema.get("format", ""), EMPTY.get(kind or "", "…"))


def example_of_content(content: Schema, resolved: Callable[[Schema], Schema]) -> Any:
    """Return the example of a media type of a body, or one made from its schema."""
    if "example" in content:
        return content["example"]
    for example in content.get("examples", {}).values():
        return resolved(example).get("value")
    return example_of(content.get("schema", {}), resolved)


def as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def curl(
    path: str, method: str, operation: Mapping[str, Any], resolved: Callable[[Schema], Schema]
) -> str:
    """Return a command that calls an operation; `$JOB_ID` and the like are the caller's."""
    given = [resolved(each) for each in operation.get("parameters", ())]
    query = "&".join(
        f"{each['name']}=${_variable(each['name'])}"
        for each in given
        if each["in"] == "query" and each.get("required")
    )
    address = re.sub(r"\{([^}]+)\}", lambda name: f"${_variable(name[1])}", path)
    address = f"{ADDRESS}{address}" + (f"?{query}" if query else "")
    words = ["curl", "-s", *_answer_options(operation), *_body_options(operation, resolved)]
    if method not in ("get", "put") and not _sends_body(words):
        words += ["-X", method.upper()]
    elif method == "put" and not _sends_body(words):
        words += ["-T", "part"]
    quoted = f'"{address}"' if "$" in address else address
    return " ".join([*(shlex.quote(word) for word in words), quoted])


def _variable(name: str) -> str:
    return re.sub(r"\W", "_", name).upper()


def _sends_body(words: list[str]) -> bool:
    return any(word in words for word in ("-F", "--json", "-T", "--data-binary"))


def _answer_options(operation: Mapping[str, Any]) -> list[str]:
    """Options for an answer that is a file or a stream."""
    answers = [each for status, each in operation["responses"].items() if status.startswith("2")]
    types = {kind for answer in answers for kind in answer.get("content", {})}
    if "text/event-stream" in types:
        return ["-N"]
    if types and not any(kind.endswith("json") for kind in types):
        return ["-LOJ"]
    return []


def _body_options(operation: Mapping[str, Any], resolved: Callable[[Schema], Schema]) -> list[str]:
    contents = operation.get("requestBody", {}).get("content", {})
    form, body = contents.get("multipart/form-data"), contents.get("application/json")
    if form is not None:
        fields = _form_fields(form, resolved)
        return [word for name, value in fields.items() for word in ("-F", f"{name}={value}")]
    if body is not None:
        return ["--json", json.dumps(_needed(body, resolved), ensure_ascii=False)]
    return []


def _form_fields(form: Schema, resolved: Callable[[Schema], Schema]) -> Mapping[str, Any]:
    """The example of a form; without one its required fields, or else its first file."""
    if "example" in form or form.get("examples"):
        return dict(example_of_content(form, resolved))
    schema = resolved(form["schema"])
    fields: Mapping[str, Schema] = schema.get("properties", {})
    required = (
        schema.get("required")
        or [name for name, each in fields.items() if is_file(resolved(each))][:1]
    )
    return {
        name: SAMPLE if is_file(each := resolved(fields[name])) else example_of(each, resolved)
        for name in required
    }


def _needed(body: Schema, resolved: Callable[[Schema], Schema]) -> Any:
    """The example of a JSON body; without one its required members."""
    if "example" in body or body.get("examples"):
        return example_of_content(body, resolved)
    schema = resolved(body["schema"])
    members = {name: schema["properties"][name] for name in schema.get("required", ())}
    return {name: example_of(each, resolved) for name, each in members.items()}


def is_file(schema: Schema) -> bool:
    """True for a field of a form that is sent as a file."""
    media = schema.get("contentMediaType", "application/json")
    return schema.get("format") == "binary" or media != "application/json"
