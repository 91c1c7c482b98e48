"""Trace context of the current request or attempt: the headers of W3C Trace Context.

It needs no library, so a trace id that a caller sends reaches the logs, the job and its webhook
also where no spans are recorded.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
STATE_CHARACTERS = 512  # of tracestate that the specification asks to pass on

_current: ContextVar[Mapping[str, str] | None] = ContextVar("trace", default=None)


def current_trace() -> Mapping[str, str] | None:
    """Return the headers of the current trace, or None outside of one."""
    return _current.get()


def received_trace(headers: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return the trace headers of a request; None without a valid `traceparent`."""
    parent = headers.get(TRACEPARENT, "").strip()
    if FORM.fullmatch(parent) is None:
        return None
    state = headers.get(TRACESTATE, "").strip()
    kept = {TRACESTATE: state} if 0 < len(state) <= STATE_CHARACTERS and state.isascii() else {}
    return {TRACEPARENT: parent, **kept}


def trace_ids(trace: Mapping[str, str] | None) -> dict[str, str]:
    """Return `trace_id` and `span_id` for log lines; nothing without a trace."""
    match = FORM.fullmatch(trace.get(TRACEPARENT, "")) if trace else None
    return {} if match is None else {"trace_id": match[1], "span_id": match[2]}


@contextmanager
def in_trace(trace: Mapping[str, str] | None) -> Iterator[None]:
    """Make the trace current during the block, for new jobs and for log lines."""
    import structlog  # the child of each upload imports this module, and this takes 0.1 s

    token = _current.set(trace)
    try:
        with structlog.contextvars.bound_contextvars(**trace_ids(trace)):
            yield
    finally:
        _current.reset(token)
