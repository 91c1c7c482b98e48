"""What was accepted, what became of it, and whether that is what was promised."""

import io
import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import av
import httpx

from jobs.database import Database, open_database
from jobs.model import Job, State
from jobs.store.pagination import JobFilter
from tests.chaos.cluster import World

LOOK_SECONDS = 0.05
FRAME_RATE = 30


@dataclass(frozen=True)
class Accepted:
    """A job as its owner knows it."""

    id: str
    seconds: float
    takes: int
    canceled: bool  # the owner was told so


@dataclass
class Loss:
    """A kill of the worker that had a job, and when the job ran again."""

    job_id: str
    attempt: int
    kind: str
    at: float
    again_after: float | None = None  # seconds


@dataclass
class Report:
    """What a run has shown."""

    setup: str
    seed: int
    seconds: float = 0.0
    jobs: int = 0
    states: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    again: list[float] = field(default_factory=list)  # sorted
    findings: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)  # of which kind, from the logs

    def quantile(self, share: float) -> float:
        """Of the seconds from a kill to the job's next run."""
        if not self.again:
            return math.nan
        return self.again[min(len(self.again) - 1, math.ceil(share * len(self.again)) - 1)]

    def lines(self) -> list[str]:
        """The report, for people."""

        def told(counted: Counter) -> str:
            return ", ".join(f"{name} {count}" for name, count in sorted(counted.items())) or "none"

        return [
            f"set-up {self.setup}, seed {self.seed}, {self.seconds:.0f} s",
            f"jobs accepted {self.jobs}: {told(self.states)}",
            f"reasons of failure: {told(self.codes)}",
            f"attempts a job: {told(self.attempts)}",
            f"faults: {told(self.faults)}",
            f"from kill to running again ({len(self.again)} jobs): p50 {self.quantile(0.5):.1f} s, "
            f"p95 {self.quantile(0.95):.1f} s, longest {self.quantile(1.0):.1f} s",
            f"findings: {len(self.findings)}",
            *(f"  {finding}" for finding in self.findings),
            f"tracebacks in the logs: {told(self.errors)}",
        ]


class Watcher:
    """Looks at all unfinished jobs, many times a second, through a store of its own."""

    def __init__(self, world: World) -> None:
        self.database: Database = open_database(world.settings)
        self.unfinished: dict[str, Job] = {}
        self.losses: list[Loss] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.database.close()

    def held_by(self, pid: int) -> Job | None:
        """The job that this worker has."""
        held = (job for job in list(self.unfinished.values()) if job.state is State.RUNNING)
        return next((job for job in held if str(job.worker).endswith(f"-{pid}")), None)

    def at_stage(self, stage: str, *, seconds: float) -> Job | None:
        """A job that is at this stage just now; None where none comes to it in the time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for job in list(self.unfinished.values()):
                if job.state is State.RUNNING and job.stage == stage:
                    return job
            time.sleep(LOOK_SECONDS / 5)
        return None

    def at_work(self, *, seconds: float) -> Job | None:
        """A job that runs just now; None where none does in the time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for job in list(self.unfinished.values()):
                if job.state is State.RUNNING:
                    return job
            time.sleep(LOOK_SECONDS / 5)
        return None

    def lost(self, job: Job, kind: str) -> None:
        """The worker of this job was killed just now."""
        self.losses.append(Loss(job.id, job.attempt, kind, time.monotonic()))

    def _watch(self) -> None:
        wanted = JobFilter(states=(State.QUEUED, State.RUNNING))
        while not self._over.wait(LOOK_SECONDS):
            jobs = {job.id: job for job in self.database.jobs.page(wanted, limit=200).jobs}
            now = time.monotonic()
            for loss in self.losses:
                if loss.again_after is None:
                    job = jobs.get(loss.job_id) or self.database.jobs.get(loss.job_id)
                    if job.attempt > loss.attempt or job.state.final:
                        loss.again_after = now - loss.at
            self.unfinished = jobs


def settle(watcher: Watcher, report: Report, *, seconds: float) -> None:
    """Wait until every job has ended; one that does not is a finding."""
    until = time.monotonic() + seconds
    time.sleep(1)
    while watcher.unfinished and time.monotonic() < until:
        time.sleep(0.2)
    for job in watcher.unfinished.values():
        report.findings.append(f"{job.id} has not ended: {job.state}, {job.stage}, {job.attempt}")


def balance(world: World, watcher: Watcher, accepted: list[Accepted], report: Report) -> None:
    """Count: nothing is lost, nothing doubled, and what has succeeded is whole and plays."""
    rows = _all_rows(watcher.database)
    report.jobs = len(accepted)
    known = {each.id for each in accepted}
    report.findings += [f"{job_id} was accepted and is gone" for job_id in known - rows.keys()]
    report.findings += [f"{job_id} was made and never told" for job_id in rows.keys() - known]
    with httpx.Client(timeout=60, trust_env=False, follow_redirects=True) as http:
        for each in accepted:
            if (job := rows.get(each.id)) is None:
                continue
            report.states[str(job.state)] += 1
            report.attempts[job.attempt] += 1
            found = _faults_of(each, job)
            if job.state is State.SUCCEEDED:
                found += _faults_of_outputs(each, job, http, world.addresses[0])
            if job.state is State.FAILED:
                report.codes[str(job.error_code)] += 1
            report.findings += [f"{each.id} {fault}" for fault in found]
    report.again = sorted(x.again_after for x in watcher.losses if x.again_after is not None)
    stuck = [x for x in watcher.losses if x.again_after is None]
    report.findings += [f"{loss.job_id} never ran again after {loss.kind}" for loss in stuck]


def _all_rows(database: Database) -> dict[str, Job]:
    rows: dict[str, Job] = {}
    cursor = None
    while True:
        page = database.jobs.page(limit=100, cursor=cursor)
        rows |= {job.id: job for job in page.jobs}
        if (cursor := page.cursor) is None:
            return rows


def _faults_of(each: Accepted, job: Job) -> list[str]:
    if not job.state.final:
        return [f"has not ended: {job.state}"]
    if each.canceled and job.state is not State.CANCELED:
        return [f"was canceled and is {job.state}"]
    if job.state is State.CANCELED and not each.canceled:
        return ["is canceled, and nobody asked for that"]
    if job.state is State.FAILED and not (job.error_code and job.error_detail):
        return ["has failed without a reason"]
    if job.state is not State.SUCCEEDED and job.outputs:
        return [f"is {job.state} and has outputs"]
    return []


def _faults_of_outputs(each: Accepted, job: Job, http: httpx.Client, address: str) -> list[str]:
    names = [output.name for output in job.outputs]
    wanted = [f"take-{take}.mp4" for take in range(1, each.takes + 1)]
    if names != wanted:
        return [f"has the outputs {names}, not {wanted}"]
    return [
        f"{output.name}: {fault}"
        for output in job.outputs
        if (fault := _fault_of_video(each, job, output.name, output.bytes, http, address))
    ]


def _fault_of_video(
    each: Accepted, job: Job, name: str, size: int, http: httpx.Client, address: str
) -> str | None:
    answer = http.get(f"{address}/jobs/{job.id}/outputs/{name}")
    if answer.status_code != 200:
        return f"cannot be fetched: {answer.status_code} {answer.text[:200]}"
    if len(answer.content) != size:
        return f"has {len(answer.content)} bytes, not {size}"
    try:
        with av.open(io.BytesIO(answer.content)) as video:
            frames = sum(1 for _ in video.decode(video=0))
    except av.FFmpegError as error:
        return f"does not play: {error}"
    expected = math.ceil(each.seconds * FRAME_RATE - 1e-9)
    return None if frames == expected else f"has {frames} frames, not {expected}"
