"""Check of all accepted jobs after the faults: none lost, none doubled, all outputs complete."""

import io
import math
import os
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import av
import httpx
from sqlalchemy.exc import SQLAlchemyError

from jobs.database import Database, open_database
from jobs.model import Job, State
from jobs.store.pagination import JobFilter
from tests.chaos.cluster import Cluster

POLL_SECONDS = 0.05
FRAME_RATE = 30


@dataclass(frozen=True)
class Accepted:
    """Accepted job as its client sees it."""

    id: str
    seconds: float
    takes: int
    canceled: bool  # the API confirmed the cancellation


@dataclass
class Interruption:
    """Fault that stopped the worker of a job, and the time until the job ran again."""

    job_id: str
    attempt: int
    kind: str
    at: float
    recovery_seconds: float | None = None


@dataclass
class Report:
    """Results of a chaos run."""

    setup: str
    seed: int
    seconds: float = 0.0
    jobs: int = 0
    states: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    outages: list[tuple[float, float]] = field(default_factory=list)  # times of faults but kills
    recovery: list[float] = field(default_factory=list)  # seconds until a job ran again, sorted
    beside_kills: list[float] = field(default_factory=list)  # those without another fault meanwhile
    findings: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)  # tracebacks in the logs by type
    exits: Counter[int] = field(default_factory=Counter)  # of workers, by exit status
    load: float = 0.0  # load average at the end

    def beside_outage(self, each: Interruption) -> bool:
        """Return whether another fault than a kill was active while the job waited."""
        ended = each.at + (each.recovery_seconds or 0.0)
        return any(began < ended and end > each.at for began, end in self.outages)

    def lines(self) -> list[str]:
        """Report as text."""

        def listed(counts: Counter) -> str:
            return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"

        return [
            f"set-up {self.setup}, seed {self.seed}, {self.seconds:.0f} s",
            f"jobs accepted {self.jobs}: {listed(self.states)}",
            f"error codes: {listed(self.codes)}",
            f"attempts per job: {listed(self.attempts)}",
            f"faults: {listed(self.faults)}",
            f"from a kill until the job ran again: {quantiles(self.recovery)}",
            f"… with no other fault meanwhile: {quantiles(self.beside_kills)}",
            f"exits of workers by status: {listed(self.exits)}; load average {self.load:.1f}",
            f"findings: {len(self.findings)}",
            *(f"  {finding}" for finding in self.findings),
            f"tracebacks in the logs: {listed(self.errors)}",
        ]


def quantiles(seconds: list[float]) -> str:
    """Return p50, p95 and the longest of these, which are sorted, as text."""
    last = len(seconds) - 1
    p50, p95, longest = (
        seconds[min(last, math.ceil(share * len(seconds)) - 1)] if seconds else math.nan
        for share in (0.5, 0.95, 1.0)
    )
    return f"{len(seconds)} jobs, p50 {p50:.1f} s, p95 {p95:.1f} s, longest {longest:.1f} s"


class Watcher:
    """Observer that polls all unfinished jobs many times per second on a second connection."""

    def __init__(self, cluster: Cluster) -> None:
        self.database: Database = open_database(cluster.settings)
        self.unfinished: dict[str, Job] = {}
        self.interruptions: list[Interruption] = []
        self.lost_encoders: Counter[str] = Counter()  # killed ffmpeg processes by job
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.database.close()

    def running_on(self, pid: int) -> Job | None:
        """Return the job of the worker with this process id."""
        return next((job for job in self._running() if str(job.worker).endswith(f"-{pid}")), None)

    def held_by(self, pid: int) -> Job | None:
        """Return the job of the worker with this process id, as the database has it now."""
        with suppress(SQLAlchemyError):
            jobs = self.database.jobs.page(JobFilter(states=(State.RUNNING,)), limit=200).jobs
            return next((job for job in jobs if str(job.worker).endswith(f"-{pid}")), None)
        return None

    def wait_for_running(self, *, stage: str | None = None, seconds: float) -> Job | None:
        """Wait for a running job, in this stage where one is given. None after the timeout."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for job in self._running():
                if stage in (None, job.stage):
                    return job
            time.sleep(POLL_SECONDS / 5)
        return None

    def record_interruption(self, job: Job, kind: str) -> None:
        """Record that the worker of this job was stopped now."""
        self.interruptions.append(Interruption(job.id, job.attempt, kind, time.monotonic()))

    def _running(self) -> list[Job]:
        return [job for job in list(self.unfinished.values()) if job.state is State.RUNNING]

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            with suppress(SQLAlchemyError):  # faults stop the database
                self._look()

    def _look(self) -> None:
        unfinished = JobFilter(states=(State.QUEUED, State.RUNNING))
        jobs = {job.id: job for job in self.database.jobs.page(unfinished, limit=200).jobs}
        now = time.monotonic()
        for each in self.interruptions:
            if each.recovery_seconds is None:
                job = jobs.get(each.job_id) or self.database.jobs.get(each.job_id)
                if job.attempt > each.attempt or job.state.final:
                    each.recovery_seconds = now - each.at
        self.unfinished = jobs

    def lost_attempts(self, job_id: str) -> int:
        """Return the number of attempts at the job that the test has killed."""
        attempts = {each.attempt for each in self.interruptions if each.job_id == job_id}
        return len(attempts) + self.lost_encoders[job_id]


def wait_for_all(watcher: Watcher, report: Report, *, seconds: float) -> None:
    """Wait until every job has ended; each unfinished job is a finding."""
    deadline = time.monotonic() + seconds
    time.sleep(1)
    while watcher.unfinished and time.monotonic() < deadline:
        time.sleep(0.2)
    for job in watcher.unfinished.values():
        report.findings.append(f"{job.id} has not ended: {job.state}, {job.stage}, {job.attempt}")


def check(cluster: Cluster, watcher: Watcher, accepted: list[Accepted], report: Report) -> None:
    """Check that no job is lost or doubled and that the outputs of each success are playable."""
    rows = _all_rows(watcher.database)
    report.jobs = len(accepted)
    report.load = os.getloadavg()[0]
    report.exits = sum((worker.exits for worker in cluster.workers), Counter())
    ids = {each.id for each in accepted}
    report.findings += [f"{job_id} was accepted and is lost" for job_id in ids - rows.keys()]
    report.findings += [f"{job_id} was created twice" for job_id in rows.keys() - ids]
    with httpx.Client(timeout=60, trust_env=False, follow_redirects=True) as http:
        for each in accepted:
            if (job := rows.get(each.id)) is None:
                continue
            report.states[str(job.state)] += 1
            report.attempts[job.attempt] += 1
            errors = _errors_of(each, job)
            if job.state is State.SUCCEEDED:
                errors += _errors_of_outputs(each, job, http, cluster.addresses[0])
            if job.state is State.FAILED:
                report.codes[str(job.error_code)] += 1
                if watcher.lost_attempts(job.id) < cluster.settings.max_attempts:
                    errors.append(f"failed by our fault: {job.error_code} {job.error_detail}")
            report.findings += [f"{each.id} {error}" for error in errors]
    kills = [each for each in watcher.interruptions if each.kind.startswith("kill worker")]
    known = [each for each in kills if each.recovery_seconds is not None]
    alone = [each for each in known if not report.beside_outage(each)]
    report.recovery = sorted(each.recovery_seconds or 0.0 for each in known)
    report.beside_kills = sorted(each.recovery_seconds or 0.0 for each in alone)
    stuck = [each for each in watcher.interruptions if each.recovery_seconds is None]
    report.findings += [f"{each.job_id} never ran again after {each.kind}" for each in stuck]


def _all_rows(database: Database) -> dict[str, Job]:
    rows: dict[str, Job] = {}
    cursor = None
    while True:
        page = database.jobs.page(limit=100, cursor=cursor)
        rows |= {job.id: job for job in page.jobs}
        if (cursor := page.cursor) is None:
            return rows


def _errors_of(each: Accepted, job: Job) -> list[str]:
    if not job.state.final:
        return [f"has not ended: {job.state}"]
    if each.canceled and job.state is not State.CANCELED:
        return [f"was canceled and is {job.state}"]
    if job.state is State.CANCELED and not each.canceled:
        return ["is canceled without a request"]
    if job.state is State.FAILED and not (job.error_code and job.error_detail):
        return ["failed without an error code and detail"]
    if job.state is not State.SUCCEEDED and job.outputs:
        return [f"is {job.state} and has outputs"]
    return []


def _errors_of_outputs(each: Accepted, job: Job, http: httpx.Client, address: str) -> list[str]:
    names = [output.name for output in job.outputs]
    expected = [f"take-{take}.mp4" for take in range(1, each.takes + 1)]
    if names != expected:
        return [f"has the outputs {names}, not {expected}"]
    return [
        f"{output.name}: {error}"
        for output in job.outputs
        if (error := _error_of_video(each, job, output.name, output.bytes, http, address))
    ]


def _error_of_video(
    each: Accepted, job: Job, name: str, size: int, http: httpx.Client, address: str
) -> str | None:
    answer = http.get(f"{address}/jobs/{job.id}/outputs/{name}")
    if answer.status_code != 200:
        return f"cannot be downloaded: {answer.status_code} {answer.text[:200]}"
    if len(answer.content) != size:
        return f"has {len(answer.content)} bytes, not {size}"
    try:
        with av.open(io.BytesIO(answer.content)) as video:
            frames = sum(1 for _ in video.decode(video=0))
    except av.FFmpegError as error:
        return f"does not play: {error}"
    expected = math.ceil(each.seconds * FRAME_RATE - 1e-9)
    return None if frames == expected else f"has {frames} frames, not {expected}"
