"""Spans of requests, attempts and webhooks, recorded by OpenTelemetry with the extra `traces`.

Without it, or with `VISAVIS_TRACES=off`, spans are not recorded, and the trace headers of a caller
are passed on unchanged. Attributes of HTTP are stable semantic conventions; conventions for queues
are still in development, so jobs have names that begin with `visavis.`. All names are here.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import version
from typing import TYPE_CHECKING

from contracts.errors import InputError
from jobs.telemetry.trace_context import current_trace, in_trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as RecordedSpan

    from jobs.settings import Settings

    Trace = Mapping[str, str]

# Stable semantic conventions.
METHOD = "http.request.method"
STATUS = "http.response.status_code"
ROUTE = "http.route"
PATH = "url.path"
SCHEME = "url.scheme"
SERVER_ADDRESS = "server.address"
ERROR_TYPE = "error.type"
# Names of this service.
JOB = "visavis.job"
TENANT = "visavis.tenant"
PERSON = "visavis.person"
ATTEMPT = "visavis.attempt"
WORKER = "visavis.worker"
STAGE = "visavis.stage"
OUTCOME = "visavis.outcome"
DELIVERY = "visavis.delivery"
ATTEMPT_SPAN = "attempt"
STAGE_SPAN = "stage"  # with the name of the stage: "stage render"

Value = str | int | float | bool  # of an attribute

FLUSH_SECONDS = 3.0  # for the last spans, when a process ends


class Kind(StrEnum):
    """Kinds of spans, as OpenTelemetry names them."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    CONSUMER = "CONSUMER"


class TracesError(InputError):
    """Traces are on, and their packages are not installed."""


class Span:
    """A span that nobody records; `trace` are the headers for its children."""

    def __init__(self, trace: Trace | None) -> None:
        self.trace = trace

    def rename(self, name: str) -> None:
        """Change the name."""

    def put(self, name: str, value: Value) -> None:
        """Set an attribute."""

    def fail(self, error_type: str) -> None:
        """Mark the span as failed."""

    def end(self, at: int | None = None) -> None:
        """End the span, now or at a time in nanoseconds since 1970."""


class _Recorder:
    """Source of spans."""

    def start(
        self, name: str, kind: Kind, parent: Trace | None, attributes: Mapping[str, Value]
    ) -> Span:
        return Span(parent)


_recorder = _Recorder()


def start_span(
    name: str,
    kind: Kind = Kind.INTERNAL,
    *,
    parent: Trace | None = None,
    attributes: Mapping[str, Value] | None = None,
) -> Span:
    """Start a span, which the caller ends. parent: headers; None: the current trace."""
    return _recorder.start(name, kind, parent or current_trace(), attributes or {})


@contextmanager
def span(
    name: str,
    kind: Kind = Kind.INTERNAL,
    *,
    parent: Trace | None = None,
    attributes: Mapping[str, Value] | None = None,
) -> Iterator[Span]:
    """Record the block as a span; inside, it is the current trace, also of log lines."""
    started = start_span(name, kind, parent=parent, attributes=attributes)
    try:
        with in_trace(started.trace):
            yield started
    except BaseException as error:
        started.fail(type(error).__name__)
        raise
    finally:
        started.end()


def check_traces(settings: Settings) -> None:
    """Check that the packages are there if traces are on. Raises: TracesError."""
    if settings.traces == "otlp":
        try:
            import opentelemetry.exporter.otlp.proto.http.trace_exporter
            import opentelemetry.sdk.trace  # noqa: F401
        except ModuleNotFoundError as error:
            raise TracesError(
                f"VISAVIS_TRACES: otlp needs OpenTelemetry ({error.name} is not installed); run "
                "`pip install 'visavis-server[traces]'`, or unset VISAVIS_TRACES"
            ) from error


@contextmanager
def tracing(settings: Settings, service: str) -> Iterator[None]:
    """Record spans during the block if the settings ask for it, and send the last ones.

    Raises: TracesError: when the packages are not installed.
    """
    check_traces(settings)
    if settings.traces == "off":
        yield
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider, exporter = make_provider(service), OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        with recording(provider):
            yield
    finally:
        give_up = threading.Timer(FLUSH_SECONDS, exporter.shutdown)  # the receiver may be away
        give_up.daemon = True
        give_up.start()
        provider.shutdown()
        give_up.cancel()


def make_provider(service: str) -> TracerProvider:
    """Create the provider of a process; OTEL_SERVICE_NAME replaces the name of the service."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    name = os.environ.get("OTEL_SERVICE_NAME") or service
    attributes = {"service.name": name, "service.version": version("visavis-server")}
    return TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)


@contextmanager
def recording(provider: TracerProvider) -> Iterator[None]:
    """Record the spans of this process with the provider, during the block."""
    global _recorder
    before, _recorder = _recorder, _OpenTelemetry(provider)
    try:
        yield
    finally:
        _recorder = before


class _OpenTelemetry(_Recorder):
    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("visavis", version("visavis-server"))
        self._headers = TraceContextTextMapPropagator()

    def start(
        self, name: str, kind: Kind, parent: Trace | None, attributes: Mapping[str, Value]
    ) -> Span:
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, set_span_in_context

        context = self._headers.extract(dict(parent or {}), context=Context())
        recorded = self._tracer.start_span(
            name, context=context, kind=SpanKind[kind], attributes=dict(attributes)
        )
        headers: dict[str, str] = {}
        self._headers.inject(headers, context=set_span_in_context(recorded, Context()))
        return _RecordedSpan(recorded, headers)


class _RecordedSpan(Span):
    def __init__(self, recorded: RecordedSpan, trace: Trace) -> None:
        super().__init__(trace)
        self._recorded = recorded

    def rename(self, name: str) -> None:
        self._recorded.update_name(name)

    def put(self, name: str, value: Value) -> None:
        self._recorded.set_attribute(name, value)

    def fail(self, error_type: str) -> None:
        from opentelemetry.trace import StatusCode

        self._recorded.set_attribute(ERROR_TYPE, error_type)
        self._recorded.set_status(StatusCode.ERROR)

    def end(self, at: int | None = None) -> None:
        self._recorded.end(at)
