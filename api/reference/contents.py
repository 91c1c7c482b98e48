"""Contents of the API reference: operations, webhooks, objects and errors of an OpenAPI document.

Everything is derived from the document, so a new route, field or error needs no change here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from api.problems import CONTENT_TYPE
from api.reference.examples import as_json, curl, example_of_content, is_file, resolver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Schema = Mapping[str, Any]

MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
PLACES = {"multipart/form-data": "form", "application/json": "JSON", "application/jsonl": "JSONL"}


@dataclass(frozen=True)
class Field:
    """A parameter, a field of a body, a member of an object, or a header of an answer."""

    name: str
    kind: Markup
    notes: tuple[str, ...]  # places, "required", default
    text: Markup


@dataclass(frozen=True)
class Answer:
    """A successful answer of an operation."""

    status: str
    text: Markup
    kind: Markup
    headers: tuple[Field, ...]
    example: str  # JSON; empty for files and empty bodies


@dataclass(frozen=True)
class Operation:
    """One method of one path, or one webhook, where `path` is its name."""

    anchor: str
    method: str
    path: str
    summary: str
    text: Markup
    body: str  # kinds of body, such as "form or JSON"
    inputs: tuple[Field, ...]
    answers: tuple[Answer, ...]
    errors: Mapping[str, tuple[str, ...]]  # codes by status
    command: str


@dataclass(frozen=True)
class Group:
    """Operations with the same tag."""

    name: str
    text: Markup
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class Entity:
    """A named schema: an object with members, or a choice of values."""

    name: str
    text: Markup
    members: tuple[Field, ...]
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Error:
    """A problem code: its status, and the sentence of an example."""

    code: str
    status: str
    text: Markup


@dataclass(frozen=True)
class Reference:
    """The whole reference."""

    title: str
    version: str
    summary: str
    text: Markup
    groups: tuple[Group, ...]
    webhooks: tuple[Operation, ...]
    entities: tuple[Entity, ...]
    errors: tuple[Error, ...]


def read_document(document: Mapping[str, Any]) -> Reference:
    """Return the contents of the reference of an OpenAPI document."""
    reader = _Reader(document)
    groups = reader.groups()
    webhooks = tuple(
        reader.operation(name, method, each)
        for name, methods in document.get("webhooks", {}).items()
        for method, each in methods.items()
    )
    info = document["info"]
    return Reference(
        title=info["title"],
        version=info["version"],
        summary=info.get("summary", ""),
        text=_paragraphs(info.get("description")),
        groups=groups,
        webhooks=webhooks,
        entities=tuple(reader.entities()),
        errors=tuple(sorted(reader.errors.values(), key=lambda error: (error.status, error.code))),
    )


def kind_of(schema: Schema, resolved: Callable[[Schema], Schema]) -> Markup:
    """Describe the type and the limits of a schema; names of objects are links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#{}">{}</a>').format(name, name)
    variants = schema.get("anyOf") or schema.get("oneOf")
    if variants:
        kinds = dict.fromkeys(kind_of(each, resolved) for each in variants)
        return Markup(" or ").join(kinds)
    if len(schema.get("allOf", ())) == 1:
        return kind_of(schema["allOf"][0], resolved)
    if "const" in schema:
        return escape(schema["const"])
    if schema.get("enum"):
        return escape(" | ".join(map(str, schema["enum"])))
    if schema.get("type") == "array":
        return Markup("list of {}").format(kind_of(schema.get("items", {}), resolved))
    if is_file(schema):
        return Markup("file")
    if schema.get("contentMediaType"):
        return Markup("JSON")
    if schema.get("contentEncoding"):
        return escape(schema["contentEncoding"])
    name = schema.get("format") or schema.get("type") or schema.get("title") or "any"
    return escape(f"{name}{_limits(schema)}")


def _limits(schema: Schema) -> str:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None and high is None:
        return ""
    return f" {'' if low is None else low}..{'' if high is None else high}"


class _Reader:
    """Reader of operations; it collects the named schemas and the errors that they use."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.errors: dict[str, Error] = {}
        self._document = document
        self._resolved = resolver(document)
        self._named: dict[str, None] = {}  # schemas that answers or bodies link to, in order

    def groups(self) -> tuple[Group, ...]:
        """Operations by their first tag, in the order of the document's tags."""
        texts = {each["name"]: each.get("description") for each in self._document.get("tags", ())}
        found: dict[str, list[Operation]] = {name: [] for name in texts}
        for path, methods in self._document["paths"].items():
            for method, each in methods.items():
                tag = (each.get("tags") or ["other"])[0]
                found.setdefault(tag, []).append(self.operation(path, method, each))
        return tuple(
            Group(name, _paragraphs(texts.get(name)), tuple(operations))
            for name, operations in found.items()
            if operations
        )

    def operation(self, path: str, method: str, operation: Mapping[str, Any]) -> Operation:
        """Read one operation; `path` is the name of a webhook, which has no leading slash."""
        hook = not path.startswith("/")
        name = operation.get("operationId") or f"webhook-{path}"
        return Operation(
            anchor=name.replace("_", "-").replace(".", "-"),
            method=method.upper(),
            path=path,
            summary=operation.get("summary", ""),
            text=_paragraphs(operation.get("description")),
            body=" or ".join(_places(operation)),
            inputs=tuple([*self._parameters(operation), *self._body(operation)]),
            answers=tuple(self._answers(operation)),
            errors=self._codes(operation),
            command="" if hook else curl(path, method, operation, self._resolved),
        )

    def entities(self) -> Iterator[Entity]:
        """Named schemas that were linked to, and those that they link to."""
        schemas = self._document.get("components", {}).get("schemas", {})
        done = set[str]()
        while names := [name for name in self._named if name not in done]:
            for name in names:
                done.add(name)
                schema = schemas[name]
                yield Entity(
                    name=name,
                    text=_paragraphs(schema.get("description")),
                    members=tuple(self._members(schema)),
                    choices=tuple(map(str, schema.get("enum", ()))),
                )

    def _parameters(self, operation: Mapping[str, Any]) -> Iterator[Field]:
        for each in map(self._resolved, operation.get("parameters", ())):
            schema = each.get("schema", {})
            text = each.get("description") or self._resolved(schema).get("description")
            notes = (each["in"], *_need(self._resolved(schema), required=each.get("required")))
            yield Field(each["name"], self._kind(_not_null(schema)), notes, _inline(text))

    def _body(self, operation: Mapping[str, Any]) -> list[Field]:
        """Fields of all kinds of body, each once; a note names its kinds if others lack it."""
        everywhere = _places(operation)
        rows: dict[str, tuple[list[str], dict[Markup, None], Schema, bool]] = {}
        for place, content in everywhere.items():
            schema = self._resolved(content.get("schema", {}))
            for name, each in schema.get("properties", {}).items():
                required = name in schema.get("required", ())
                row = rows.setdefault(name, ([], {}, self._resolved(each), required))
                row[0].append(place)
                row[1][self._kind(_not_null(each))] = None
        return [
            Field(
                name,
                Markup(" or ").join(kinds),
                (
                    *(() if len(places) == len(everywhere) else places),
                    *_need(schema, required=required),
                ),
                _inline(schema.get("description")),
            )
            for name, (places, kinds, schema, required) in rows.items()
        ]

    def _answers(self, operation: Mapping[str, Any]) -> Iterator[Answer]:
        for status, answer in operation["responses"].items():
            if status >= "4":
                continue
            contents = answer.get("content", {})
            kinds = dict.fromkeys(
                self._kind(content.get("schema", {})) if _is_json(media) else escape(media)
                for media, content in contents.items()
            )
            example = next(
                (
                    as_json(example_of_content(content, self._resolved))
                    for media, content in contents.items()
                    if _is_json(media)
                ),
                "",
            )
            headers = tuple(
                Field(name, self._kind(each.get("schema", {})), (), _inline(each["description"]))
                for name, each in answer.get("headers", {}).items()
                if "$ref" not in each  # shared headers belong to every answer
            )
            text = _inline(answer.get("description"))
            yield Answer(status, text, Markup(", ").join(kinds), headers, example)

    def _codes(self, operation: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        codes: dict[str, tuple[str, ...]] = {}
        for status, answer in operation["responses"].items():
            if status < "4":
                continue
            examples = answer.get("content", {}).get(CONTENT_TYPE, {}).get("examples", {})
            codes[status] = tuple(examples)
            for code, example in examples.items():
                sentence = self._resolved(example)["value"]["detail"]
                self.errors.setdefault(code, Error(code, status, _inline(sentence)))
        return dict(sorted(codes.items()))

    def _members(self, schema: Schema) -> Iterator[Field]:
        for name, each in schema.get("properties", {}).items():
            text = self._resolved(each).get("description") if "$ref" not in each else ""
            yield Field(name, self._kind(each), (), _inline(text))

    def _kind(self, schema: Schema) -> Markup:
        self._named |= dict.fromkeys(_names(schema))
        return kind_of(schema, self._resolved)


def _names(schema: Schema) -> Iterable[str]:
    """Names of the schemas that the description of a type links to."""
    if "$ref" in schema:
        return [schema["$ref"].rpartition("/")[2]]
    nested = [each for key in ("anyOf", "oneOf", "allOf") for each in schema.get(key, ())]
    if "items" in schema:
        nested.append(schema["items"])
    return [name for each in nested for name in _names(each)]


def _places(operation: Mapping[str, Any]) -> dict[str, Schema]:
    """Kinds of body, in words, and their contents."""
    contents: Mapping[str, Schema] = operation.get("requestBody", {}).get("content", {})
    return {PLACES.get(media, media): content for media, content in contents.items()}


def _not_null(schema: Schema) -> Schema:
    """Leave out null, which an input may be instead of absent."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    return dict(schema) | {"anyOf": kinds} if kinds else schema


def _need(schema: Schema, *, required: bool | None) -> tuple[str, ...]:
    if required:
        return ("required",)
    default = schema.get("default")
    if default is None:
        return ()
    plain = ", ".join(map(str, default)) if isinstance(default, list) else str(default)
    return (f"default {plain}",)


def _is_json(media: str) -> bool:
    return media.endswith("json")


def _inline(text: str | None) -> Markup:
    return Markup(MARKDOWN.renderInline(text or ""))


def _paragraphs(text: str | None) -> Markup:
    return Markup(MARKDOWN.render(text or ""))
