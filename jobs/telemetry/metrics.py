"""Declarations of all metrics: name, kind, labels and meaning.

Dashboards and alert rules use these names only, which a test compares; `docs/monitoring.md` has
the table. jobs/telemetry/prometheus.py records and serves the values.

Labels have few values: states, stages, codes, route templates and the persons of the service. No
label contains a tenant, a job or an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Kinds of metrics, as Prometheus defines them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Process(StrEnum):
    """Processes that export metrics."""

    API = "api"
    WORKER = "worker"


API = (Process.API,)
WORKER = (Process.WORKER,)
BOTH = (Process.API, Process.WORKER)

REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # s
WORK_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)  # s


@dataclass(frozen=True)
class Metric:
    """One metric; names of counters end in `_total`, units are seconds and bytes."""

    name: str
    kind: Kind
    help: str  # a sentence without the full stop
    labels: tuple[str, ...] = ()
    processes: tuple[Process, ...] = WORKER
    buckets: tuple[float, ...] = ()  # upper bounds, of histograms
    recorded: bool = True  # False: computed at each scrape
    initial: tuple[str, ...] = ()  # values of its one label that exist, with 0, from the start

    @property
    def series(self) -> tuple[str, ...]:
        """Names of the time series, as queries use them."""
        if self.kind is Kind.HISTOGRAM:
            return tuple(f"{self.name}_{suffix}" for suffix in ("bucket", "sum", "count"))
        return (self.name,)


def _counter(
    name: str,
    meaning: str,
    *labels: str,
    processes: tuple[Process, ...] = WORKER,
    initial: tuple[str, ...] = (),
) -> Metric:
    return Metric(name, Kind.COUNTER, meaning, labels, processes, initial=initial)


def _gauge(
    name: str, meaning: str, *labels: str, processes: tuple[Process, ...] = WORKER
) -> Metric:
    return Metric(name, Kind.GAUGE, meaning, labels, processes)


def _computed(
    name: str, meaning: str, *labels: str, processes: tuple[Process, ...] = API
) -> Metric:
    kind = Kind.COUNTER if name.endswith("_total") else Kind.GAUGE
    return Metric(name, kind, meaning, labels, processes, recorded=False)


def _histogram(
    name: str,
    meaning: str,
    *labels: str,
    processes: tuple[Process, ...] = WORKER,
    buckets: tuple[float, ...] = WORK_BUCKETS,
) -> Metric:
    return Metric(name, Kind.HISTOGRAM, meaning, labels, processes, buckets)


BUILD_INFO = _gauge(
    "visavis_build_info",
    "Always 1; the labels name the release, the interpreter and the process (api, worker)",
    "version",
    "python",
    "process",
    processes=BOTH,
)

# Read from the database, so every API process exports the same values: use `max`, not `sum`, over
# instances.
JOBS = _computed(
    "visavis_jobs",
    "Jobs in the database by state, person and tenant class: local (callers without a key), "
    "default (tenants with the default quota), custom (tenants with own quota values)",
    "state",
    "person",
    "tenant_class",
)
QUEUE_OLDEST = _computed(
    "visavis_queue_oldest_seconds",
    "Time since the oldest queued job was accepted or retried; 0 without a queued job",
)
PAUSES = _computed(
    "visavis_pauses",
    "Pauses of claims that operators have set, by scope: all, tenant, person, worker",
    "scope",
)
JOBS_PAUSED = _computed(
    "visavis_jobs_paused",
    "Queued jobs that a pause of all jobs, of their tenant or of their person keeps from workers",
)
WEBHOOKS_PENDING = _computed(
    "visavis_webhook_pending",
    "Webhook deliveries that have neither succeeded nor failed for good",
)
WEBHOOKS_LATE = _computed(
    "visavis_webhook_overdue_seconds",
    "Time since the most overdue delivery should have been tried; 0 without one",
)
DATABASE_UP = _computed(
    "visavis_database_up",
    "1 when the database answered the last count of jobs, otherwise 0",
)

# Counted where the row is written: by the API for cancellations and lost jobs, by a worker for the
# jobs that it ends.
JOBS_SUBMITTED = _counter(
    "visavis_jobs_submitted_total",
    "Jobs accepted, retries included",
    "person",
    processes=API,
)
JOBS_FINISHED = _counter(
    "visavis_jobs_finished_total",
    "Jobs that reached a final state (succeeded, failed, canceled); code: of the error, empty "
    "without one",
    "state",
    "code",
    "person",
    processes=BOTH,
)
JOB_SECONDS = _histogram(
    "visavis_job_seconds",
    "Time from acceptance or retry to the final state",
    "state",
    processes=BOTH,
)
JOBS_REQUEUED = _counter(
    "visavis_jobs_requeued_total",
    "Jobs put back into the queue: lease_expired, worker_died, shutdown, outage, unfit (a sick "
    "worker), person_missing (incomplete or unknown on the worker), internal_error, "
    "operator, or the code of a resource failure",
    "reason",
    processes=BOTH,
)
LEASES_LOST = _counter(
    "visavis_leases_lost_total",
    "Leases of attempts whose worker stopped without a result: expired, or worker_died when a "
    "worker on the same machine found it dead",
    "reason",
    processes=BOTH,
    initial=("expired", "worker_died"),
)
WAKE_UPS = _counter(
    "visavis_wake_ups_total",
    "Wake-ups for workers by outcome: sent, or failed when the broker did not take it",
    "outcome",
    processes=BOTH,
    initial=("sent", "failed"),
)
WEBHOOKS = _counter(
    "visavis_webhook_deliveries_total",
    "Tries of webhook deliveries by outcome: delivered, retrying (another try follows), failed",
    "outcome",
    processes=API,
    initial=("delivered", "retrying", "failed"),
)
MAINTENANCE = _counter(
    "visavis_maintenance_rounds_total",
    "Rounds of the reaper by outcome: done, failed",
    "outcome",
    processes=API,
    initial=("done", "failed"),
)

HTTP_SECONDS = _histogram(
    "visavis_http_request_seconds",
    "Time from the first byte of a request to the last of its response; route: its template; "
    "status: 1xx to 5xx",
    "method",
    "route",
    "status",
    processes=API,
    buckets=REQUEST_BUCKETS,
)
HTTP_IN_FLIGHT = _gauge(
    "visavis_http_requests_in_flight",
    "Requests without a complete response, open event streams included",
    processes=API,
)

QUEUE_SECONDS = _histogram(
    "visavis_queue_seconds",
    "Time from acceptance or retry to the first claim of a worker",
    "person",
)
ATTEMPTS = _counter(
    "visavis_attempts_total",
    "Ended attempts by outcome: published, refused (an error of the request), lost, handed_back "
    "(shutdown), away (outage of storage or database), unfit (a sick worker), "
    "person_missing, set_back (resource failure), broken",
    "person",
    "outcome",
)
STAGE_SECONDS = _histogram(
    "visavis_stage_seconds",
    "Time of a stage within one attempt",
    "stage",
    "person",
)
DEVICE_SECONDS = _counter(
    "visavis_device_seconds_total",
    "Wall time for which attempts held a device; device: cpu or cuda",
    "device",
    "person",
)
AUDIO_SECONDS = _counter(
    "visavis_audio_seconds_total",
    "Length of the clips of succeeded jobs",
    "person",
)
FRAMES = _counter(
    "visavis_frames_total",
    "Rendered frames",
    "person",
)
FRAMES_PER_SECOND = _gauge(
    "visavis_frames_per_second",
    "Rendered frames per second of the last finished take, its encoding included",
    "person",
)
WORKER_INFO = _gauge(
    "visavis_worker_info",
    "Always 1; the labels name the worker, as jobs do, its device and the people of its jobs "
    "(empty: all)",
    "worker",
    "device",
    "people",
)
WORKER_BUSY = _gauge("visavis_worker_busy", "1 while the worker runs an attempt, otherwise 0")
WORKER_PAUSED = _computed(
    "visavis_worker_paused",
    "1 while an operator has paused all claims of the worker, otherwise 0",
    processes=WORKER,
)
WORKER_OBSTRUCTED = _gauge(
    "visavis_worker_obstructed",
    "1 while the worker claims no job because of its disk, storage, GPU or database, otherwise 0",
)
WORKER_LAST_CLAIM = _gauge(
    "visavis_worker_last_claim_timestamp_seconds",
    "Unix time of the last query for a job that the database answered",
)
GPU_MEMORY_USED = _computed(
    "visavis_gpu_memory_used_bytes",
    "Memory of the GPU in use, by all processes; only where CUDA is",
    "device",
    processes=WORKER,
)
GPU_MEMORY_TOTAL = _computed(
    "visavis_gpu_memory_total_bytes",
    "Memory of the GPU; only where CUDA is",
    "device",
    processes=WORKER,
)

# Of every process, by the collector of prometheus_client.
_PROCESS = (
    _computed("process_cpu_seconds_total", "CPU time of the process", processes=BOTH),
    _computed("process_resident_memory_bytes", "Resident memory", processes=BOTH),
    _computed("process_virtual_memory_bytes", "Virtual memory", processes=BOTH),
    _computed(
        "process_start_time_seconds", "Unix time at which the process started", processes=BOTH
    ),
    _computed("process_open_fds", "Open file descriptors", processes=BOTH),
    _computed("process_max_fds", "Limit of open file descriptors", processes=BOTH),
)

METRICS: tuple[Metric, ...] = (
    *(value for value in list(globals().values()) if isinstance(value, Metric)),
    *_PROCESS,
)


def exported_series(*processes: Process) -> frozenset[str]:
    """Return the names of all time series of these processes, or of all of them."""
    wanted = set(processes or Process)
    return frozenset(
        name for metric in METRICS if wanted & set(metric.processes) for name in metric.series
    )
