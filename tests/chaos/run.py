"""`python -m tests.chaos.run --jobs 200 --kills 50`: a service is maltreated, and nothing is lost.

A person sends recordings, again and again under one Idempotency-Key until they are accepted, and
cancels some. Meanwhile faults come, by chance and by a seed. Then everything is left in peace, and
counted: accepted = succeeded + failed with a reason + canceled, each success once, whole, playable.
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
from tests.chaos.checker import Accepted, Report, Watcher, balance, settle
from tests.chaos.cluster import World, world
from tests.chaos.faults import Scene, deck

SECONDS = (0.5, 0.7, 1.0)  # of clips
QUEUED = 6  # unfinished jobs that the person keeps up
START_SECONDS = 120.0
GIVE_UP_SECONDS = 300.0  # for one request to be accepted, for all jobs to end
ERROR = re.compile(r"([\w.]+(?:Error|Exception)): ")
SETUPS = ("embedded", "servers")


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    setup: str
    jobs: int
    kills: int
    seed: int
    environment: Mapping[str, str] = field(default_factory=dict)  # of every process
    pause_seconds: float = 2.0  # between faults, at the most
    limit_seconds: float = 1800.0


class Person:
    """Sends recordings and cancels some, whatever the service does to the requests."""

    def __init__(self, made: World, watcher: Watcher, random: Random, folder: Path) -> None:
        self.accepted: list[Accepted] = []
        self.enough = threading.Event()
        self._made, self._watcher, self._random = made, watcher, random
        self._clips = {
            each: write_clip(folder / f"{each}.wav", seconds=each).read_bytes() for each in SECONDS
        }

    def send_until_enough(self) -> None:
        """One job after the other."""
        with httpx.Client(timeout=30, trust_env=False) as http:
            while not self.enough.is_set():
                if len(self._watcher.unfinished) >= QUEUED:
                    time.sleep(0.1)
                    continue
                self._send(http)

    def _send(self, http: httpx.Client) -> None:
        seconds, takes = self._random.choice(SECONDS), self._random.choice((1, 1, 2, 3))
        fields = {
            "takes": takes,
            "steps": self._random.choice((2, 20, 60)),
            "size": self._random.choice(("64", "96", "128")),
        }
        headers = {"Idempotency-Key": uuid.UUID(int=self._random.getrandbits(128)).hex}
        files = {"audio": self._clips[seconds]}
        answer = self._asked(http, "/generate", data=fields, files=files, headers=headers)
        job_id = answer.json()["id"]
        canceled = False
        if self._random.random() < 0.06:
            time.sleep(self._random.uniform(0, 3))
            told = self._asked(http, f"/jobs/{job_id}/cancel", accepted=(200, 409))
            canceled = told.status_code == 200
        self.accepted.append(Accepted(job_id, seconds, takes, canceled))

    def _asked(
        self,
        http: httpx.Client,
        path: str,
        *,
        accepted: Sequence[int] = (200, 202),
        **asked: object,
    ) -> httpx.Response:
        """The answer, at last: refused connections, lost answers, 503 and 507 are tried again."""
        until = time.monotonic() + GIVE_UP_SECONDS
        while True:
            address = self._random.choice(self._made.addresses)
            try:
                answer = http.post(f"{address}{path}", **asked)  # type: ignore[arg-type]
            except httpx.TransportError as error:
                reason = repr(error)
            else:
                if answer.status_code in accepted:
                    return answer
                reason = f"{answer.status_code} {answer.text[:300]}"
                assert answer.status_code in (503, 507), reason
            assert time.monotonic() < until, reason
            time.sleep(0.3)


def run(plan: Plan) -> Report:
    """Chaos, peace, and the count."""
    report = Report(plan.setup, plan.seed)
    began = time.monotonic()
    with (
        TemporaryDirectory(prefix="visavis-chaos-") as folder,
        world(plan.setup, workers=2, apis=2, environment=plan.environment) as made,
    ):
        _wait_until_ready(made)
        with Watcher(made) as watcher:
            person = Person(made, watcher, Random(plan.seed), Path(folder))
            sending = threading.Thread(target=person.send_until_enough, daemon=True)
            sending.start()
            scene = Scene(made, watcher, Random(plan.seed + 1), report.faults)
            _maltreat(scene, person, plan, sending)
            person.enough.set()
            sending.join(GIVE_UP_SECONDS)
            if sending.is_alive():
                report.findings.append("a request was never answered")
            settle(watcher, report, seconds=GIVE_UP_SECONDS)
            balance(made, watcher, person.accepted, report)
            report.errors = _errors_in_logs(made)
            if report.findings:
                _keep_logs(made, report)
    report.seconds = time.monotonic() - began
    return report


def _maltreat(scene: Scene, person: Person, plan: Plan, sending: threading.Thread) -> None:
    until = time.monotonic() + plan.limit_seconds
    cards: list = []
    while time.monotonic() < until and sending.is_alive():
        kills = sum(count for kind, count in scene.counted.items() if kind.startswith("kill"))
        if kills >= plan.kills:
            if len(person.accepted) >= plan.jobs:
                return
            time.sleep(0.5)
            continue
        cards = cards or deck(scene.random, skewed=plan.setup == "servers")
        cards.pop()(scene)
        time.sleep(scene.random.uniform(0, plan.pause_seconds))


def _wait_until_ready(made: World) -> None:
    until = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=10, trust_env=False) as http:
        for address in made.addresses:
            while True:
                try:
                    answer = http.get(f"{address}/readyz")
                    if answer.is_success:
                        break
                    reason = answer.text
                except httpx.TransportError as error:
                    reason = repr(error)
                assert time.monotonic() < until, (reason, [each.words() for each in made.apis])
                time.sleep(0.2)


def _errors_in_logs(made: World) -> Counter[str]:
    """Tracebacks by kind: what a killed ffmpeg or a storage that is away leaves is expected."""
    said = [line for each in made.processes for line in each.log.read_text().splitlines()]
    return Counter(found[1] for line in said if (found := ERROR.match(line)))


def _keep_logs(made: World, report: Report) -> None:
    """The lines about jobs of which something was found, and where workers are just now."""
    ids = {finding.split()[0] for finding in report.findings}
    for worker in made.workers:
        if worker.running:
            worker.running.send_signal(signal.SIGUSR1)
    time.sleep(1)
    report.findings += [f"  {worker.name}: {worker.words()}" for worker in made.workers]
    for process in made.processes:
        lines = process.log.read_text(errors="replace").splitlines()
        told = [line for line in lines if any(job_id in line for job_id in ids)]
        report.findings += [f"  {process.name}: {line[:300]}" for line in told[-40:]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setup", choices=(*SETUPS, "both"), default="both")
    parser.add_argument("--jobs", type=int, default=200, help="at least so many")
    parser.add_argument("--kills", type=int, default=50, help="so many kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30, help="of chaos, at the most")
    arguments = parser.parse_args()
    found = 0
    for setup in SETUPS if arguments.setup == "both" else (arguments.setup,):
        plan = Plan(
            setup,
            arguments.jobs,
            arguments.kills,
            arguments.seed,
            limit_seconds=60 * arguments.minutes,
        )
        report = run(plan)
        print("\n".join(report.lines()), flush=True)  # noqa: T201
        found += len(report.findings)
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main())
