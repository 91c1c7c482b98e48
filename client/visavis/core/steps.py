"""Effects: the inputs and outputs that a step may ask its driver for.

Everything that the client does is a generator of effects, `Steps`, which a driver performs with
blocking or with asynchronous calls. The logic exists once and does not touch the network.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One HTTP request. timeout: seconds for each read; None: that of the client."""

    method: str
    url: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)  # `json`, or `data` and `files`, of httpx
    stream: Any = None  # body as a byte stream of httpx; its length is in the headers
    timeout: float | None = None


@dataclass(frozen=True)
class Send:
    """Send a request and read its answer; the result is a `httpx.Response`."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send a request and read only the head of its answer; the result is a `Stream`."""

    request: Request


@dataclass
class Stream:
    """An answer whose body is read piece by piece."""

    response: httpx.Response
    pieces: Any  # iterator of bytes


@dataclass(frozen=True)
class Read:
    """Read the next piece of a stream; the result is bytes, or None at its end."""

    stream: Stream


@dataclass(frozen=True)
class Close:
    """Close a stream."""

    stream: Stream


@dataclass(frozen=True)
class Sleep:
    """Wait some seconds."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Call a function that may block for long; the result is its value.

    It must not return an open file: a canceled task would lose it.
    """

    function: Callable[[], Any]


Effect = Send | Open | Read | Close | Sleep | Work
Steps = Generator[Effect, Any, T]


def closing(stream: Stream, steps: Steps[T]) -> Steps[T]:
    """Perform steps and close a stream after them, also after an error."""
    try:
        result: T = yield from steps
    except GeneratorExit:  # no driver performs anything any more
        raise
    except BaseException:
        yield Close(stream)
        raise
    yield Close(stream)
    return result
