"""Autoscaler of workers: the rules of the ScaledObject, and pods that are processes.

The query, its target and activation, the intervals, the limits of scaling, the command of the
probes, their numbers and the grace period are read from the files in k8s/. `speed` divides the
times between decisions; time that a worker has to end is never shortened.
"""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from cli.local.embedded_redis import PARENT_DEATH
from tests.deploy.dockerfile import REPOSITORY

WORKER = REPOSITORY / "k8s/worker"
TOLERANCE = 0.1  # of a HorizontalPodAutoscaler: smaller deviations change nothing
SHORTEST_PERIOD = 1.0  # seconds between two runs of a probe


@dataclass(frozen=True)
class ScalingRule:
    """Fields of the ScaledObject; times in seconds."""

    query: str
    target: float  # jobs of one worker
    activation: float
    smallest: int
    largest: int
    polling: float
    cooldown: float
    window: float  # in which the highest recommendation counts
    step: int  # pods that a scale-down stops ...
    period: float  # ... in this time


@dataclass(frozen=True)
class PodRule:
    """Fields of the pods of the Deployment."""

    arguments: list[str]
    environment: dict[str, str]
    grace_seconds: float
    probes: dict[str, dict[str, Any]]


def read_scaling_rule(*, speed: float) -> ScalingRule:
    """Return the rule of k8s/worker/scaling.yaml."""
    spec = _object("scaling.yaml", "ScaledObject")["spec"]
    (trigger,) = spec["triggers"]
    assert (trigger["type"], trigger["metricType"]) == ("postgresql", "AverageValue")
    behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    (policy,) = behaviour["policies"]
    assert policy["type"] == "Pods"
    return ScalingRule(
        query=trigger["metadata"]["query"],
        target=float(trigger["metadata"]["targetQueryValue"]),
        activation=float(trigger["metadata"]["activationTargetQueryValue"]),
        smallest=spec["minReplicaCount"],
        largest=spec["maxReplicaCount"],
        polling=spec["pollingInterval"] / speed,
        cooldown=spec["cooldownPeriod"] / speed,
        window=behaviour["stabilizationWindowSeconds"] / speed,
        step=policy["value"],
        period=policy["periodSeconds"] / speed,
    )


def read_pod_rule() -> PodRule:
    """Return the rule of k8s/worker/worker.yaml, with the settings of k8s/base/settings.env."""
    pod = _object("worker.yaml", "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    lines = (REPOSITORY / "k8s/base/settings.env").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "_FILE=" not in line)
    settings |= {entry["name"]: entry["value"] for entry in container["env"]}
    return PodRule(
        arguments=container["args"],
        environment={name: value for name, value in settings.items() if value},
        grace_seconds=float(pod["terminationGracePeriodSeconds"]),
        probes={name: container[name] for name in ("startupProbe", "livenessProbe")},
    )


def _object(file: str, kind: str) -> dict[str, Any]:
    (found,) = (
        each for each in yaml.safe_load_all((WORKER / file).read_text()) if each["kind"] == kind
    )
    assert isinstance(found, dict)
    return found


class Phase(StrEnum):
    """Phase of a pod."""

    STARTING = "starting"  # its startup probe has not succeeded yet
    RUNNING = "running"
    TERMINATING = "terminating"


@dataclass
class Pod:
    """One worker process with its own data folder, and the results of its probes."""

    name: str
    rule: PodRule
    environment: Mapping[str, str]
    folder: Path
    phase: Phase = Phase.STARTING
    killed: str | None = None  # the reason
    failures: int = 0  # of the current probe, in a row
    failed_probes: int = 0  # of all liveness probes
    probes: int = 0
    stopped_at: float = 0.0
    was_busy: bool = False  # it had a job when SIGTERM was sent
    stopped_while_starting: bool = False
    _next_probe: float = 0.0
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        tether = [sys.executable, "-I", "-S", str(PARENT_DEATH), str(os.getpid()), sys.executable]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*tether, "-P", "-m", "cli.main", *self.rule.arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def _environment(self) -> dict[str, str]:
        own = {"VISAVIS_DATA": str(self.folder)}
        return {**self.rule.environment, **self.environment, **own}

    def terminate(self, *, busy: bool) -> None:
        """Send SIGTERM, as a scale-down does."""
        self.stopped_while_starting = self.phase is Phase.STARTING
        self.phase, self.was_busy, self.stopped_at = Phase.TERMINATING, busy, time.monotonic()
        self.process.send_signal(signal.SIGTERM)

    def tend(self) -> None:
        """Run the probe that is due, and kill the process if it has to be killed."""
        now = time.monotonic()
        if self.phase is Phase.TERMINATING and now - self.stopped_at > self.rule.grace_seconds:
            self._kill("the grace period ended")
        if now < self._next_probe:
            return
        name = "startupProbe" if self.phase is Phase.STARTING else "livenessProbe"
        probe = self.rule.probes[name]
        self._next_probe = now + max(SHORTEST_PERIOD, probe["periodSeconds"] / 10)
        if self._succeeds(probe):
            self.failures = 0
            if self.phase is Phase.STARTING:
                self.phase = Phase.RUNNING
            return
        self.failures += 1
        self.failed_probes += self.phase is Phase.RUNNING
        if self.failures >= probe["failureThreshold"] and self.phase is not Phase.TERMINATING:
            self._kill(f"{name} failed")

    def _succeeds(self, probe: dict[str, Any]) -> bool:
        (program,) = probe["exec"]["command"]
        self.probes += 1
        done = subprocess.run(
            [str(REPOSITORY / "docker/entry" / program)],
            env=self._environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.returncode == 0

    def _kill(self, reason: str) -> None:
        self.killed = reason
        self.process.kill()


@dataclass
class Autoscaler:
    """KEDA, its HorizontalPodAutoscaler and the ReplicaSet of the workers.

    busy: returns the names of the workers with a running job. A scale-down stops one of them if
    there is one: Kubernetes does not know which pods have a job, so the worst choice is tested.
    """

    rule: ScalingRule
    start: Callable[[], Pod]
    engine: sa.Engine
    busy: Callable[[], set[int]]
    pods: list[Pod] = field(default_factory=list)
    ended: list[Pod] = field(default_factory=list)
    history: list[tuple[float, int, int]] = field(default_factory=list)  # time, jobs, replicas
    _next_poll: float = 0.0
    _active_at: float = -math.inf
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _stops: list[float] = field(default_factory=list)

    @property
    def replicas(self) -> list[Pod]:
        """Return the pods that are not terminating."""
        return [pod for pod in self.pods if pod.phase is not Phase.TERMINATING]

    def step(self) -> None:
        """Do what is due now."""
        for pod in self.pods:
            if pod.process.poll() is None:
                pod.tend()
        for pod in [pod for pod in self.pods if pod.process.poll() is not None]:
            self.pods.remove(pod)
            self.ended.append(pod)
        now = time.monotonic()
        if now >= self._next_poll:
            self._next_poll = now + self.rule.polling
            with self.engine.connect() as connection:
                jobs = int(connection.scalar(sa.text(self.rule.query)) or 0)
            self._scale(jobs, now)
            self.history.append((now, jobs, len(self.replicas)))

    def stop(self) -> None:
        """Kill what is left."""
        for pod in self.pods:
            if pod.process.poll() is None:
                pod.process.kill()
            pod.process.wait()

    def _scale(self, jobs: int, now: float) -> None:
        count = len(self.replicas)
        if jobs > self.rule.activation:
            self._active_at = now
            if count == 0:
                self._change(max(1, self.rule.smallest))
                return
        elif now - self._active_at >= self.rule.cooldown:
            self._change(self.rule.smallest)
            return
        if count > 0:
            self._change(self._recommendation(jobs, count, now))

    def _recommendation(self, jobs: int, count: int, now: float) -> int:
        """Return what the HorizontalPodAutoscaler wants; it never scales to zero."""
        wanted = math.ceil(jobs / self.rule.target)
        if abs(jobs / (self.rule.target * count) - 1) <= TOLERANCE:
            wanted = count
        wanted = min(max(wanted, 1, self.rule.smallest), self.rule.largest)
        since = now - self.rule.window
        self._recommended = [each for each in self._recommended if each[0] >= since]
        self._recommended.append((now, wanted))
        if wanted >= count:
            return wanted
        stabilised = max(each for _, each in self._recommended)
        recently = sum(at > now - self.rule.period for at in self._stops)
        return min(count, max(stabilised, count - max(0, self.rule.step - recently)))

    def _change(self, wanted: int) -> None:
        replicas = self.replicas
        self.pods += [self.start() for _ in range(wanted - len(replicas))]
        if len(replicas) <= wanted:
            return
        busy = self.busy()
        replicas.sort(key=lambda pod: pod.process.pid not in busy)
        for pod in replicas[: len(replicas) - wanted]:
            pod.terminate(busy=pod.process.pid in busy)
            self._stops.append(time.monotonic())
