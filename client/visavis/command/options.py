"""Options of the request fields, from `fields.json`, which `make docs` writes from the service."""

from __future__ import annotations

import functools
import inspect
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.command.console import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TYPES: Mapping[str, Any] = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "list": str,
    "map": list[str],
}
METAVARS: Mapping[str, str] = {"list": "A,B", "map": "NAME=VALUE"}
PANELS: Mapping[str, str] = {"motion": "Motion", "look": "Look", "job": "Job"}


@dataclass(frozen=True)
class Field:
    """A request field. group: motion, look or job. limits: of a number, as "1..10"."""

    name: str
    group: str
    type: str
    help: str
    limits: str = ""
    choices: tuple[str, ...] = ()
    default: Any = None
    person_default: bool = False

    @property
    def option(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    def parsed(self, value: Any) -> Any:
        """Return the value of the request. Raises: CommandError: when it is not accepted."""
        if self.limits:
            low, high = (float(bound) for bound in self.limits.split(".."))
            if not low <= value <= high:
                raise CommandError(f"{self.option}: {value:g} is outside of {self.limits}")
        if self.type == "map":
            return dict(self._pair(each) for each in value)
        values = [word.strip() for word in value.split(",")] if self.type == "list" else [value]
        for each in values if self.choices else ():
            if each not in self.choices:
                known = ", ".join(self.choices)
                raise CommandError(f"{self.option}: unknown value {each!r}; use one of {known}")
        return values if self.type == "list" else value

    def _pair(self, text: str) -> tuple[str, str]:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise CommandError(f"{self.option}: {text!r} has no name and value; write name=value")
        return name, value


@dataclass(frozen=True)
class OutputKind:
    """A kind of file. name: value of `format`, or of `outputs` for every kind but video."""

    name: str
    kind: str
    suffix: str


_CONTENT = json.loads(files(__package__).joinpath("fields.json").read_text(encoding="utf-8"))
FIELDS = tuple(
    Field(**{**each, "choices": tuple(each.get("choices", ()))}) for each in _CONTENT["fields"]
)
OUTPUTS = tuple(OutputKind(**each) for each in _CONTENT["outputs"])


def request_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add an option for every request field; the command receives the request as `fields`."""
    own = inspect.signature(command, eval_str=True).parameters
    parameters = [each for each in own.values() if each.name != "fields"]
    parameters += [_parameter(each) for each in FIELDS]

    @functools.wraps(command)
    def with_fields(**values: Any) -> int:
        given = [(each, values.pop(each.name)) for each in FIELDS]
        fields = {
            each.name: each.parsed(value)
            for each, value in given
            if value is not None and value != []
        }
        return command(**values, fields=fields)

    with_fields.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    )
    with_fields.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_fields


def _parameter(field: Field) -> inspect.Parameter:
    metavar = METAVARS.get(field.type) or "|".join(field.choices) or None
    option = typer.Option(
        f"{field.option}/--no-{field.option[2:]}" if field.type == "bool" else field.option,
        help=_help(field),
        metavar=metavar,
        show_default=False,
        rich_help_panel=PANELS.get(field.group, "Request"),
    )
    kind: Any = TYPES[field.type] | None
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind, option],
    )


def _help(field: Field) -> str:
    """Return the help of the service in the words of the command."""
    text = field.help.replace("GET /people", "`visavis people`")
    text = text.partition(" In a form as JSON")[0]
    default = ",".join(field.default) if isinstance(field.default, list) else field.default
    if field.type == "bool":
        default = field.option if field.default else f"--no-{field.option[2:]}"
    limits = f" {field.limits}." if field.limits else ""
    if field.default is not None:
        return f"{text}{limits} Default: {default}."
    return f"{text}{limits}" + (" Default: the person's." if field.person_default else "")
