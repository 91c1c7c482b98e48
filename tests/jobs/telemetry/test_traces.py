"""Spans: names of stable conventions, errors, and the absence of OpenTelemetry."""

import importlib
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jobs.settings import Settings
from jobs.telemetry import traces
from jobs.telemetry.trace_context import current_trace, in_trace
from jobs.telemetry.traces import TracesError, check_traces, make_provider, recording, span

PARENT = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}
STABLE = {
    "http_attributes": {
        "HTTP_REQUEST_METHOD": traces.METHOD,
        "HTTP_RESPONSE_STATUS_CODE": traces.STATUS,
        "HTTP_ROUTE": traces.ROUTE,
    },
    "url_attributes": {"URL_PATH": traces.PATH, "URL_SCHEME": traces.SCHEME},
    "server_attributes": {"SERVER_ADDRESS": traces.SERVER_ADDRESS},
    "error_attributes": {"ERROR_TYPE": traces.ERROR_TYPE},
}


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    found = InMemorySpanExporter()
    provider = make_provider("tests")
    provider.add_span_processor(SimpleSpanProcessor(found))
    with recording(provider):
        yield found
    provider.shutdown()


@pytest.mark.parametrize("module", STABLE)
def test_names_of_http_are_stable_conventions(module: str) -> None:
    """Conventions in development have another package, `opentelemetry.semconv._incubating`."""
    published = importlib.import_module(f"opentelemetry.semconv.attributes.{module}")

    assert {name: getattr(published, name) for name in STABLE[module]} == STABLE[module]


def test_without_a_recorder_the_trace_of_a_caller_is_passed_on() -> None:
    with span("anything", parent=PARENT) as unrecorded:
        assert current_trace() == unrecorded.trace == PARENT
    with span("anything") as unrecorded:
        assert unrecorded.trace is None


def test_a_span_inside_a_span_is_its_child(exporter: InMemorySpanExporter) -> None:
    with span("outer"), span("inner"):
        pass

    inner, outer = exporter.get_finished_spans()
    assert inner.parent is not None and outer.context is not None
    assert inner.parent.span_id == outer.context.span_id
    assert outer.parent is None


def test_an_error_that_leaves_a_span_is_its_status(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(LookupError), span("failing"):
        raise LookupError

    (failed,) = exporter.get_finished_spans()
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "LookupError"
    assert not failed.status.is_ok


def test_a_caller_decides_whether_its_trace_is_sampled(exporter: InMemorySpanExporter) -> None:
    with in_trace(PARENT), span("unsampled") as unsampled:
        assert unsampled.trace is not None
        assert unsampled.trace["traceparent"].split("-")[1] == PARENT["traceparent"].split("-")[1]

    assert exporter.get_finished_spans() == ()


def test_traces_without_their_packages_are_refused_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    check_traces(Settings())
    with pytest.raises(TracesError, match=r"VISAVIS_TRACES: .*visavis-server\[traces\]"):
        check_traces(Settings(traces="otlp"))
