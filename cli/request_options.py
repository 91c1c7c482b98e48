"""Command options derived from the declared request fields; their limits are those of the API."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from cli.console import MISUSED, fail, faults
from contracts.outputs import OUTPUTS, VIDEO, Output, output_of_suffix
from jobs.request.declare import Group, RequestField, declared_fields
from jobs.request.model import GenerateRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

NUMBERS = (bool, int, float)


def request_options(
    *groups: Group, omit: tuple[str, ...] = (), required: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option to a command for every request field of some groups.

    The command receives the values that the user gave as `fields`, by name.
    """
    declared = [field for field in declared_fields(*groups) if field.name not in omit]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters
        options = [_option(field, required=field.name in required) for field in declared]
        parameters = [each for each in own.values() if each.name != "fields"] + options

        @functools.wraps(command)
        def with_fields(**values: Any) -> None:
            fields = {field.name: values.pop(field.name) for field in declared}
            given = {name: value for name, value in fields.items() if value is not None}
            command(**values, fields=given)

        with_fields.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
        )
        with_fields.__annotations__ = {each.name: each.annotation for each in parameters}
        return with_fields

    return decorate


def request_of(fields: Mapping[str, Any], out: Path | None = None) -> GenerateRequest:
    """Return the request of some options; exit with a line for each invalid one.

    out: the file to write; its suffix selects format or outputs when no option does, and must not
    contradict them.
    """
    lists = {field.name for field in declared_fields() if field.type is tuple}
    values = {
        name: tuple(map(str.strip, value.split(","))) if name in lists else value
        for name, value in fields.items()
    }
    output = None if out is None else _output_of(out)
    if output is not None and output.kind == VIDEO:
        values.setdefault("format", output.name)
    elif output is not None and "format" not in values:
        values.setdefault("outputs", (output.kind,))
    try:
        request = GenerateRequest.model_validate(values).seeded()
    except ValidationError as error:
        names = {name: f"--{name.replace('_', '-')}" for name in GenerateRequest.model_fields}
        fail("\n".join(faults(error, names)), MISUSED)
    suffixes = [each.suffix for each in request.selected_outputs()]
    if output is not None and output.suffix not in suffixes:
        written = " and ".join(dict.fromkeys(suffixes))
        fail(
            f"--out: {out} contradicts --format or --outputs, which select {written}; change the "
            "suffix, or leave out these options",
            MISUSED,
        )
    return request


def _output_of(out: Path) -> Output:
    """Return the output that the suffix of a file selects; exit when the suffix is unknown."""
    output = output_of_suffix(out.suffix)
    if output is None:
        problem = f"has the unknown suffix {out.suffix!r}" if out.suffix else "has no suffix"
        suffixes = ", ".join(dict.fromkeys(each.suffix for each in OUTPUTS))
        fail(f"--out: {out} {problem}; write one of {suffixes}", MISUSED)
    return output


def _option(field: RequestField, *, required: bool) -> inspect.Parameter:
    kind: Any = field.type if field.type in NUMBERS else str
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else None,
        annotation=Annotated[kind if required else kind | None, typer.Option(help=_help(field))],
    )


def _help(field: RequestField) -> str:
    """Help text with the limits and the default."""
    limits = f" {field.limits}." if field.limits else ""
    default = field.info.default
    if isinstance(default, tuple):
        default = ",".join(default)
    if default is not None:
        return f"{field.help}{limits} Default: {default}."
    return f"{field.help}{limits}" + (" Default: the person's." if field.person_default else "")
