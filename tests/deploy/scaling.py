"""Scaling exercise: `python -m tests.deploy.scaling --jobs 60 --speed 10`.

One API, PostgreSQL and Redis run for real; workers are started and stopped by tests/deploy/
autoscaler.py as Kubernetes would by the files in k8s/. The load begins with one job, rises to
several for each worker, falls to two at a time until one worker is left, and ends with a last job.
Afterwards every job has succeeded in its first attempt, and no worker was killed.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import sqlalchemy as sa
import yaml

from cli.local.embedded_redis import PARENT_DEATH, EmbeddedRedis
from jobs.db.engine import connect
from jobs.db.tables import jobs
from tests.audio_clips import write_clip
from tests.chaos.cluster import postgresql
from tests.deploy.autoscaler import (
    Autoscaler,
    Phase,
    Pod,
    PodRule,
    read_pod_rule,
    read_scaling_rule,
)
from tests.deploy.dockerfile import REPOSITORY
from tests.deploy.ports import free_port
from tests.tiny_person import write_tiny_person

TICK_SECONDS = 0.1
LARGEST = 4
GIVE_UP_SECONDS = 900.0  # for one phase of the load


@dataclass(frozen=True)
class Plan:
    """Size of the exercise."""

    burst: int  # jobs at once
    speed: float  # divisor of the autoscaler's times
    steps: int = 150  # of sampling: the length of a job
    clip_seconds: float = 0.5


@dataclass
class Report:
    """Result of the exercise."""

    submitted: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    begun: Counter[str] = field(default_factory=Counter)  # `job begins` in the logs, by job
    replicas: list[int] = field(default_factory=list)  # each new number of workers, in turn
    workers: int = 0
    killed: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)  # exit statuses of workers
    stopped_with_a_job: int = 0
    stopped_while_starting: int = 0
    zero_with_jobs: int = 0  # scale-downs to zero that did not wait
    probes: int = 0
    failed_probes: int = 0
    api_probes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """Return the report as text."""
        return [
            f"jobs: {len(self.submitted)} submitted, {dict(self.states)}",
            f"attempts of each job: {dict(self.attempts)}; jobs begun more than once: "
            f"{sum(count > 1 for count in self.begun.values())}",
            f"workers: {self.workers}, replicas in turn: {' '.join(map(str, self.replicas))}",
            f"stopped by a scale-down with a running job: {self.stopped_with_a_job}, while "
            f"starting: {self.stopped_while_starting}; killed: {self.killed or 'none'}; exit "
            f"statuses: {dict(self.statuses)}",
            f"scale-downs to zero while a job was queued or running: {self.zero_with_jobs}",
            f"probes of workers: {self.probes}, failed after the start: {self.failed_probes}; of "
            f"the API: {dict(self.api_probes)}",
            f"seconds: {self.seconds:.0f}",
        ]


@dataclass
class Exercise:
    """Running servers, and the loop that the autoscaler shares with the caller."""

    http: httpx.Client
    engine: sa.Engine
    scaler: Autoscaler
    plan: Plan
    clip: bytes
    report: Report

    def submit(self) -> None:
        """Submit one job."""
        answer = self.http.post(
            "/generate", data={"steps": self.plan.steps}, files={"audio": self.clip}
        )
        assert answer.status_code == 202, answer.text
        self.report.submitted.append(answer.json()["id"])

    def unfinished(self) -> int:
        """Return the number of queued and running jobs."""
        pending = jobs.c.state.in_(["queued", "running"])
        with self.engine.connect() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).where(pending)) or 0)

    def until(self, true: Callable[[], bool], each: Callable[[], None] = lambda: None) -> None:
        """Run the autoscaler until a condition holds. each: called between its steps."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while not true():
            if time.monotonic() > deadline:
                logs = [pod.log.read_text()[-1500:] for pod in self.scaler.pods]
                raise AssertionError("\n".join([*self.report.lines(), *logs]))
            before = len(self.scaler.replicas)
            self.scaler.step()
            now = len(self.scaler.replicas)
            if before and not now and self.unfinished():
                self.report.zero_with_jobs += 1
            each()
            time.sleep(TICK_SECONDS)

    def run(self) -> None:
        """Submit the load and follow it from no worker to four, to one, to none."""
        scaler = self.scaler
        self.submit()
        self.until(lambda: len(scaler.replicas) == 1)
        for _ in range(self.plan.burst):
            self.submit()
        self.until(lambda: _running(scaler) == LARGEST, self._keep_all_busy)
        self.until(lambda: len(scaler.replicas) == 1, self._keep_two)
        self.until(lambda: self.unfinished() == 0)
        self.submit()
        self.until(lambda: self.unfinished() == 0)
        self.until(lambda: not scaler.pods)

    def _keep_all_busy(self) -> None:
        """Submit more on a machine that finishes the burst before all workers have started."""
        if self.unfinished() < LARGEST:
            self.submit()

    def _keep_two(self) -> None:
        """Keep at most two jobs unfinished, so that workers with a job are stopped."""
        busy, replicas = self.unfinished(), len(self.scaler.replicas)
        if busy < min(2, replicas - 1):
            self.submit()


def run(plan: Plan) -> Report:
    """Run the exercise on servers of its own."""
    report, began = Report(), time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="visavis-scaling-")))
        environment = _environment(stack, folder)
        http = stack.enter_context(_api(environment, folder, report))
        engine = connect(environment["VISAVIS_DATABASE_URL"])
        stack.callback(engine.dispose)
        names = iter(range(1000))
        pod_rule = read_pod_rule()
        scaler = Autoscaler(
            replace(read_scaling_rule(speed=plan.speed), largest=LARGEST),
            lambda: _pod(f"worker-{next(names)}", folder, environment, pod_rule),
            engine,
            lambda: _busy(engine),
        )
        stack.callback(scaler.stop)
        clip = write_clip(folder / "clip.wav", seconds=plan.clip_seconds).read_bytes()
        Exercise(http, engine, scaler, plan, clip, report).run()
        _collect(report, scaler, engine)
    report.seconds = time.monotonic() - began
    return report


def _running(scaler: Autoscaler) -> int:
    return sum(pod.phase is Phase.RUNNING for pod in scaler.pods)


def _pod(name: str, folder: Path, environment: dict[str, str], rule: PodRule) -> Pod:
    return Pod(name, rule, environment, folder / name)


def _busy(engine: sa.Engine) -> set[int]:
    """Return the process ids of the workers with a running job: the end of a worker's name."""
    workers = sa.select(jobs.c.worker).where(jobs.c.state == "running")
    with engine.connect() as connection:
        return {int(name.rpartition("-")[2]) for name in connection.execute(workers).scalars()}


def _environment(stack: ExitStack, folder: Path) -> dict[str, str]:
    write_tiny_person(folder / "people")
    return {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "VISAVIS_MIGRATE": "true",
        "VISAVIS_DATABASE_URL": stack.enter_context(postgresql()),
        "VISAVIS_BROKER_URL": stack.enter_context(EmbeddedRedis(folder / "redis")).url,
        "VISAVIS_STORAGE_URL": (folder / "objects").as_uri(),
        "VISAVIS_PEOPLE": str(folder / "people"),
        "VISAVIS_DEVICE": "cpu",
        "VISAVIS_REAPER_SECONDS": "1",
        "VISAVIS_WAKE_SECONDS": "2",
    }


@contextmanager
def _api(environment: dict[str, str], folder: Path, report: Report) -> Iterator[httpx.Client]:
    """Run the API, and its probes by k8s/base/api.yaml in a thread."""
    port = free_port()
    own = {"VISAVIS_DATA": str(folder / "api"), "VISAVIS_PORT": str(port)}
    tether = [sys.executable, "-I", "-S", str(PARENT_DEATH), str(os.getpid()), sys.executable]
    log = folder / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*tether, "-P", "-m", "cli.main", "api"],
            env={**environment, **own},
            stdout=output,
            stderr=output,
            cwd=REPOSITORY,
        )
    address, stop = f"http://127.0.0.1:{port}", threading.Event()
    probing = threading.Thread(target=_probe_api, args=(address, stop, report), daemon=True)
    try:
        with httpx.Client(base_url=address, timeout=180, trust_env=False) as http:
            _until_ready(http, process, log)
            probing.start()
            yield http
    finally:
        stop.set()
        if probing.ident is not None:
            probing.join()
        process.terminate()
        process.wait(60)


def _until_ready(http: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        try:
            if http.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:  # it does not listen yet
            pass
        time.sleep(0.3)


def _probe_api(address: str, stop: threading.Event, report: Report) -> None:
    """Send the liveness and readiness probes, and count the answers by path and status."""
    documents = yaml.safe_load_all((REPOSITORY / "k8s/base/api.yaml").read_text())
    (deployment,) = (each for each in documents if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    probes = [container["livenessProbe"], container["readinessProbe"]]
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as http:
        while not stop.wait(min(probe["periodSeconds"] for probe in probes)):
            for probe in probes:
                path = probe["httpGet"]["path"]
                report.api_probes[f"{path} {http.get(path).status_code}"] += 1


def _collect(report: Report, scaler: Autoscaler, engine: sa.Engine) -> None:
    with engine.connect() as connection:
        for row in connection.execute(sa.select(jobs.c.state, jobs.c.attempt)):
            report.states[row.state] += 1
            report.attempts[row.attempt] += 1
    for _, _, replicas in scaler.history:
        if not report.replicas or report.replicas[-1] != replicas:
            report.replicas.append(replicas)
    report.workers = len(scaler.ended)
    for pod in scaler.ended:
        report.statuses[pod.process.returncode] += 1
        report.stopped_with_a_job += pod.was_busy
        report.stopped_while_starting += pod.stopped_while_starting
        report.probes += pod.probes
        report.failed_probes += pod.failed_probes
        if pod.killed is not None:
            report.killed.append(f"{pod.name}: {pod.killed}")
        for line in pod.log.read_text().splitlines():
            if line.startswith("{") and (entry := json.loads(line)).get("event") == "job begins":
                report.begun[entry["job"]] += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=60, help="jobs at once")
    parser.add_argument("--speed", type=float, default=10, help="divisor of the times of KEDA")
    parser.add_argument("--steps", type=int, default=400, help="of sampling: the length of a job")
    arguments = parser.parse_args()
    report = run(Plan(arguments.jobs, arguments.speed, arguments.steps))
    print("\n".join(report.lines()))  # noqa: T201
    return int(bool(faults(report)))


def faults(report: Report) -> list[str]:
    """Return what is wrong with a report."""
    count = len(report.submitted)
    checks = {
        "a job was lost or failed": report.states == Counter(succeeded=count),
        "a job ran twice": report.attempts == Counter({1: count})
        and report.begun == Counter(report.submitted),
        "a worker was killed": not report.killed and set(report.statuses) == {0},
        "workers did not go from 1 to 4 to 1 to 0": _rises_and_falls(report.replicas),
        "no worker with a job was stopped": report.stopped_with_a_job > 0,
        "the last worker was stopped before the last job": report.zero_with_jobs == 0,
        "a probe failed": report.failed_probes == 0
        and all(key.endswith(" 200") for key in report.api_probes),
    }
    return [text for text, holds in checks.items() if not holds]


def _rises_and_falls(replicas: list[int]) -> bool:
    """Return whether the numbers contain 1, 4, 1, 0 in this order, and end with 0."""
    wanted = iter((1, LARGEST, 1, 0))
    following = next(wanted)
    for number in replicas:
        if number == following:
            following = next(wanted, -1)
    return following == -1 and replicas[-1] == 0 and max(replicas) == LARGEST


if __name__ == "__main__":
    sys.exit(main())
