"""Headers of W3C Trace Context: validity, log fields, new jobs."""

import pytest
import structlog

from jobs.model import NewJob, new_job_id
from jobs.request.model import GenerateRequest
from jobs.telemetry.trace_context import current_trace, in_trace, received_trace, trace_ids

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_valid_headers_are_kept() -> None:
    headers = {"traceparent": PARENT, "tracestate": "vendor=1", "other": "x"}

    assert received_trace(headers) == {"traceparent": PARENT, "tracestate": "vendor=1"}


@pytest.mark.parametrize(
    "parent",
    [
        "",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\nx",
    ],
)
def test_an_invalid_parent_is_ignored(parent: str) -> None:
    assert received_trace({"traceparent": parent}) is None


def test_a_long_tracestate_is_left_out() -> None:
    headers = {"traceparent": PARENT, "tracestate": "v=" + "1" * 600}

    assert received_trace(headers) == {"traceparent": PARENT}


def test_a_new_job_and_log_lines_have_the_current_trace() -> None:
    with in_trace({"traceparent": PARENT}):
        job = NewJob(new_job_id(), GenerateRequest(), "key", 1.0)
        bound = structlog.contextvars.get_contextvars()

    assert job.trace == {"traceparent": PARENT}
    assert (bound["trace_id"], bound["span_id"]) == (TRACE, SPAN)
    assert (current_trace(), trace_ids(None)) == (None, {})
