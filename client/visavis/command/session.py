"""Service and output of one run of a command, and the options that every command has for them."""

from __future__ import annotations

import functools
import inspect
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

import visavis
from visavis.command.console import Output, command_error, interrupted
from visavis.command.credentials import KEY_VARIABLE, URL_VARIABLE, Server, server_of

if TYPE_CHECKING:
    from collections.abc import Callable

PANEL = "Service and output"

Url = Annotated[
    str | None,
    typer.Option(
        help=f"Address of the service. Default: {URL_VARIABLE}, that of `visavis login`, "
        "or this machine.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        help=f"API key, which other users of this machine can see here. Default: {KEY_VARIABLE}, "
        "or the key of `visavis login`.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="Write a line of JSON for each result, nothing else.", rich_help_panel=PANEL
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show no progress.", rich_help_panel=PANEL)
]


@dataclass(frozen=True)
class Session:
    """Service and output of one run of a command. given_key: that of --key."""

    server: Server
    output: Output
    given_key: str | None = field(default=None, repr=False)

    def client(self) -> visavis.Client:
        """Return a client of the service."""
        return make_client(self.server)


def make_client(server: Server) -> visavis.Client:
    """Return a client of a service."""
    return visavis.Client(server.url, api_key=server.key or "")


def with_session(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of service and output; the command receives them as `session`.

    Expected errors are printed, and their exit status is returned.
    """
    own = inspect.signature(command, eval_str=True).parameters
    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in own.values()
        if each.name != "session"
    ]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, kind, default in (
            ("url", Url, None),
            ("key", Key, None),
            ("as_json", AsJson, False),
            ("quiet", Quiet, False),
        )
    ]

    @functools.wraps(command)
    def with_options(**values: Any) -> int:
        url, key = values.pop("url"), values.pop("key")
        output = Output(as_json=values.pop("as_json"), quiet=values.pop("quiet"))
        try:
            show_retries(output)
            return command(**values, session=Session(server_of(url, key), output, key))
        except KeyboardInterrupt:
            expected = interrupted("stopped")
        except Exception as error:
            found = command_error(error)
            if found is None:
                raise
            expected = found
        output.error(expected)
        return expected.status

    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


def show_retries(output: Output) -> None:
    """Show what the library logs: requests that are sent again, with the reason."""
    handler = _Notes(output)
    logger = logging.getLogger("visavis")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


class _Notes(logging.Handler):
    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        self._output.note(record.getMessage())
