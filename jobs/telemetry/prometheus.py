"""Values of the metrics of this process, and the port at which Prometheus reads them.

Each process has a port and counts for itself, also where several run on one machine. The
multiprocess mode of prometheus_client is not used.
"""

from __future__ import annotations

import errno
import logging
import platform
import threading
from contextlib import contextmanager
from importlib.metadata import version
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    make_wsgi_app,
)
from prometheus_client.process_collector import ProcessCollector

from jobs.telemetry.metrics import BUILD_INFO, METRICS, Kind, Process

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric as Family

    from jobs.settings import Settings
    from jobs.telemetry.metrics import Metric

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1  # between two looks for the end of the process
PORTS = 32  # that a process tries, from the one in the settings: processes of one machine

disable_created_metrics()  # type: ignore[no-untyped-call]  # every counter would have a second series


class Collector(Protocol):
    """Source of values that are computed at each scrape."""

    def collect(self) -> Iterable[Family]:
        """Return the current values."""


def _make(metric: Metric) -> Counter | Gauge | Histogram:
    name, meaning, labels = metric.name, metric.help, metric.labels
    if metric.kind is Kind.COUNTER:
        counter = Counter(name, meaning, labels, registry=REGISTRY)
        for value in metric.initial:
            counter.labels(value)
        return counter
    if metric.kind is Kind.GAUGE:
        return Gauge(name, meaning, labels, registry=REGISTRY)
    return Histogram(name, meaning, labels, registry=REGISTRY, buckets=metric.buckets)


REGISTRY = CollectorRegistry(auto_describe=False)
_VALUES = {metric.name: _make(metric) for metric in METRICS if metric.recorded}


def count(metric: Metric, amount: float = 1.0, **labels: str) -> None:
    """Add to a counter."""
    _value(metric, labels).inc(amount)


def observe(metric: Metric, value: float, **labels: str) -> None:
    """Add a value to a histogram."""
    _value(metric, labels).observe(value)


def put(metric: Metric, value: float, **labels: str) -> None:
    """Set a gauge."""
    _value(metric, labels).set(value)


@contextmanager
def in_flight(metric: Metric) -> Iterator[None]:
    """Count the block in a gauge while it runs."""
    gauge = _value(metric, {})
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()


class Exposition:
    """All metrics of one kind of process: recorded ones, those of collectors, and its resources."""

    def __init__(self, process: Process, *collectors: Collector) -> None:
        self._names = {
            metric.name.removesuffix("_total") for metric in METRICS if process in metric.processes
        }
        self._collectors = (*collectors, ProcessCollector(registry=None))
        labels = {"version": version("visavis-server"), "python": platform.python_version()}
        put(BUILD_INFO, 1, **labels, process=process.value)

    def collect(self) -> Iterator[Family]:
        """Yield the metrics of this process only: others would be exported as 0."""
        for family in REGISTRY.collect():
            if family.name in self._names:
                yield family
        for collector in self._collectors:
            yield from collector.collect()


@contextmanager
def serving_metrics(
    settings: Settings, process: Process, *collectors: Collector
) -> Iterator[int | None]:
    """Serve /metrics during the block, if the settings name a port; yield the port."""
    if not settings.metrics_port or (server := _open(settings, process, collectors)) is None:
        yield None
        return
    thread = threading.Thread(
        target=server.serve_forever, args=(POLL_SECONDS,), name="metrics", daemon=True
    )
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_port = False


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: scrapes are not logged."""


def _open(settings: Settings, process: Process, collectors: Iterable[Collector]) -> _Server | None:
    """Listen on the first free port. Without one the process works, and its log says so."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Exposition(process, *collectors))
    host, first = settings.metrics_host, settings.metrics_port
    for port in range(first, min(first + PORTS, 65536)):
        try:
            server = make_server(host, port, make_wsgi_app(registry), _Server, _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            logger.warning("no metrics", extra={"port": port, "reason": str(error)})
            return None
        logger.info("metrics", extra={"host": host, "port": port})
        return server
    logger.warning("no metrics", extra={"port": first, "reason": f"{PORTS} ports are in use"})
    return None


def _value(metric: Metric, labels: dict[str, str]) -> Any:
    value = _VALUES[metric.name]
    return value.labels(**labels) if metric.labels else value
