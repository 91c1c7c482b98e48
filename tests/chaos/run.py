"""Chaos test of a whole service: `python -m tests.chaos.run --jobs 200 --kills 50`.

A client sends clips, retries each under one Idempotency-Key until it is accepted, and cancels some.
Random faults, reproducible by seed, are injected meanwhile. Afterwards all jobs are checked:
accepted = succeeded + failed with an error + canceled; each success once, complete and playable.
"""

import argparse
import re
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import httpx

from tests.audio_clips import write_clip
from tests.chaos.checker import Accepted, Report, Watcher, check, wait_for_all
from tests.chaos.cluster import Cluster, running_cluster
from tests.chaos.faults import Fault, FaultContext, new_faults, shuffled_faults

CLIP_SECONDS = (0.5, 0.7, 1.0)
QUEUED = 6  # unfinished jobs at a time
START_SECONDS = 120.0
GIVE_UP_SECONDS = 300.0  # limit for one request, and for the end of all jobs
ERROR = re.compile(r"([\w.]+(?:Error|Exception)): ")
SETUPS = ("embedded", "servers")


@dataclass(frozen=True)
class Plan:
    """Size of a chaos run."""

    setup: str
    jobs: int
    kills: int
    seed: int
    environment: Mapping[str, str] = field(default_factory=dict)  # of every process of the cluster
    pause_seconds: float = 2.0  # longest pause between faults
    limit_seconds: float = 1800.0
    broker: bool = True
    workers: int = 2
    apis: int = 2
    submit_pause_seconds: float = 0.0  # of the client after each job
    new_faults: int = 0  # of sick workers, missing mounts, copied persons and the database
    forked: bool = False  # processes that start at once, see tests/forked.py


class Client:
    """Client that submits clips, cancels some, and retries failed requests."""

    def __init__(
        self, cluster: Cluster, watcher: Watcher, random: Random, folder: Path, *, pause: float
    ) -> None:
        self.accepted: list[Accepted] = []
        self.stop = threading.Event()
        self._cluster, self._watcher, self._random = cluster, watcher, random
        self._pause = pause
        self._clips = {
            seconds: write_clip(folder / f"{seconds}.wav", seconds=seconds).read_bytes()
            for seconds in CLIP_SECONDS
        }

    def run(self) -> None:
        """Submit one job after the other until `stop`."""
        with httpx.Client(timeout=30, trust_env=False) as http:
            while not self.stop.is_set():
                if len(self._watcher.unfinished) >= QUEUED:
                    time.sleep(0.1)
                    continue
                self._submit(http)
                self.stop.wait(self._pause)

    def _submit(self, http: httpx.Client) -> None:
        seconds, takes = self._random.choice(CLIP_SECONDS), self._random.choice((1, 1, 2, 3))
        fields = {
            "takes": takes,
            "steps": self._random.choice((2, 20, 60)),
            "size": self._random.choice(("64", "96", "128")),
        }
        headers = {"Idempotency-Key": uuid.UUID(int=self._random.getrandbits(128)).hex}
        files = {"audio": self._clips[seconds]}
        answer = self._post(http, "/generate", data=fields, files=files, headers=headers)
        job_id = answer.json()["id"]
        canceled = False
        if self._random.random() < 0.06:
            time.sleep(self._random.uniform(0, 3))
            answer = self._post(http, f"/jobs/{job_id}/cancel", accepted=(200, 409))
            canceled = answer.status_code == 200
        self.accepted.append(Accepted(job_id, seconds, takes, canceled))

    def _post(
        self,
        http: httpx.Client,
        path: str,
        *,
        accepted: Sequence[int] = (200, 202),
        **request: object,
    ) -> httpx.Response:
        """Post with retries after connection errors, lost answers, 503 and 507."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            address = self._random.choice(self._cluster.addresses)
            try:
                answer = http.post(f"{address}{path}", **request)  # type: ignore[arg-type]
            except httpx.TransportError as error:
                reason = repr(error)
            else:
                if answer.status_code in accepted:
                    return answer
                reason = f"{answer.status_code} {answer.text[:300]}"
                assert answer.status_code in (503, 507), reason
            assert time.monotonic() < deadline, reason
            time.sleep(0.3)


def run(plan: Plan) -> Report:
    """Inject faults, wait for all jobs, check them."""
    report = Report(plan.setup, plan.seed)
    began = time.monotonic()
    with (
        TemporaryDirectory(prefix="visavis-chaos-") as folder,
        running_cluster(
            plan.setup,
            workers=plan.workers,
            apis=plan.apis,
            environment=plan.environment,
            broker=plan.broker,
            forked=plan.forked,
        ) as cluster,
    ):
        _wait_until_ready(cluster)
        with Watcher(cluster) as watcher:
            pause = plan.submit_pause_seconds
            client = Client(cluster, watcher, Random(plan.seed), Path(folder), pause=pause)
            sending = threading.Thread(target=client.run, daemon=True)
            sending.start()
            context = FaultContext(cluster, watcher, Random(plan.seed + 1), report.faults)
            _inject_faults(context, client, plan, sending, report)
            client.stop.set()
            sending.join(GIVE_UP_SECONDS)
            if sending.is_alive():
                report.findings.append("a request was never answered")
            wait_for_all(watcher, report, seconds=GIVE_UP_SECONDS)
            check(cluster, watcher, client.accepted, report)
            report.errors = _errors_in_logs(cluster)
            if report.findings:
                _add_logs(cluster, report)
    report.seconds = time.monotonic() - began
    return report


def _inject_faults(
    context: FaultContext,
    client: Client,
    plan: Plan,
    sending: threading.Thread,
    report: Report,
) -> None:
    deadline = time.monotonic() + plan.limit_seconds
    faults: list[Fault] = []
    new: list[Fault] = []
    while time.monotonic() < deadline and sending.is_alive():
        kills = context.kills
        fresh = sum(count for kind, count in context.counts.items() if kind.startswith("new: "))
        if fresh < plan.new_faults and fresh * plan.kills <= kills * plan.new_faults:
            new = new or context.random.sample(chosen := new_faults(plan.setup), len(chosen))
            _inject(new.pop(), context, report)
            continue
        if kills >= plan.kills:
            if len(client.accepted) >= plan.jobs:
                return
            time.sleep(0.5)
            continue
        faults = faults or shuffled_faults(
            context.random, skewed=plan.setup == "servers", broker=plan.broker
        )
        _inject(faults.pop(), context, report)
        time.sleep(context.random.uniform(0, plan.pause_seconds))


def _inject(fault: Fault, context: FaultContext, report: Report) -> None:
    """Inject a fault; note the time of one that is no kill."""
    began, others = time.monotonic(), context.counts.total() - context.kills
    fault(context)
    if context.counts.total() - context.kills > others:
        report.outages.append((began, time.monotonic()))


def _wait_until_ready(cluster: Cluster) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=10, trust_env=False) as http:
        for address in cluster.addresses:
            while True:
                try:
                    answer = http.get(f"{address}/readyz")
                    if answer.is_success:
                        break
                    reason = answer.text
                except httpx.TransportError as error:
                    reason = repr(error)
                logs = [api.log_tail() for api in cluster.apis]
                assert time.monotonic() < deadline, (reason, logs)
                time.sleep(0.2)


def _errors_in_logs(cluster: Cluster) -> Counter[str]:
    """Count tracebacks by type; a killed ffmpeg or an unreachable storage leaves some."""
    lines = [line for each in cluster.processes for line in each.log.read_text().splitlines()]
    return Counter(error[1] for line in lines if (error := ERROR.match(line)))


def _add_logs(cluster: Cluster, report: Report) -> None:
    """Add log lines of the jobs with findings, and stack traces of the workers."""
    ids = {finding.split()[0] for finding in report.findings}
    for worker in cluster.workers:
        if worker.running:
            worker.running.send_signal(signal.SIGUSR1)
    time.sleep(1)
    report.findings += [f"  {worker.name}: {worker.log_tail()}" for worker in cluster.workers]
    for process in cluster.processes:
        lines = process.log.read_text(errors="replace").splitlines()
        matching = [line for line in lines if any(job_id in line for job_id in ids)]
        report.findings += [f"  {process.name}: {line[:300]}" for line in matching[-40:]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setup", choices=(*SETUPS, "both"), default="both")
    parser.add_argument("--jobs", type=int, default=200, help="at least this many jobs")
    parser.add_argument("--kills", type=int, default=50, help="at least this many kills")
    parser.add_argument("--faults", type=int, default=0, help="at least this many new faults")
    parser.add_argument("--broker", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30, help="time limit of the faults")
    arguments = parser.parse_args()
    findings = 0
    for setup in SETUPS if arguments.setup == "both" else (arguments.setup,):
        plan = Plan(
            setup,
            arguments.jobs,
            arguments.kills,
            arguments.seed,
            limit_seconds=60 * arguments.minutes,
            broker=arguments.broker,
            new_faults=arguments.faults,
        )
        report = run(plan)
        print("\n".join(report.lines()), flush=True)  # noqa: T201
        findings += len(report.findings)
    return min(findings, 1)


if __name__ == "__main__":
    sys.exit(main())
