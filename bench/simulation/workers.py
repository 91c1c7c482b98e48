"""Discrete-event simulation of workers that claim jobs, with SimPy.

An idle worker looks at the queue, as `worker.process.celery_worker.serve` does: at regular times,
and with a broker at each message. One message at a time waits for a busy worker. A worker that is
taken away hands its job back, whose stored motion stays.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import simpy

from bench.simulation.fair_queue import FairQueue, QueuedJob

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from bench.simulation.costs import Costs
    from bench.simulation.loads import Arrival

    Events = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Scaling:
    """Rules of k8s/worker/scaling.yaml: one worker for each queued or running job; seconds."""

    least: int = 0
    most: int = 8
    polling: float = 10.0
    cooldown: float = 300.0  # without a job, to no worker
    window: float = 300.0  # the largest recommendation of the window counts for a scale-down
    period: float = 60.0  # a scale-down stops one worker in each
    growth_period: float = 15.0  # a scale-up at most doubles in each, or adds four


@dataclass(frozen=True)
class Preemption:
    """Machines that are taken away."""

    mean_hours: float  # of the life of a machine
    notice: float = 30.0  # seconds; 0: without notice, and the lease expires
    lease: float = 20.0  # seconds, until a job of a dead worker is queued again
    replacement: float = 120.0  # seconds, until another machine is there


@dataclass(frozen=True)
class Cluster:
    """Workers: a fixed number, or scaled."""

    workers: int = 1
    scaling: Scaling | None = None
    preemption: Preemption | None = None


@dataclass
class JobTimes:
    """Times of a job in seconds."""

    arrival: Arrival
    started: float = math.nan  # first claim
    finished: float = math.nan
    attempts: int = 0
    left: float = math.nan  # seconds of work that are not done

    @property
    def wait(self) -> float:
        """Seconds in the queue before the first claim."""
        return self.started - self.arrival.at


@dataclass
class Result:
    """Outcome of a simulation."""

    jobs: list[JobTimes]
    worker_seconds: float = 0.0  # of machines, with their start
    busy_seconds: float = 0.0
    starts: int = 0
    preempted: int = 0  # jobs handed back
    seconds: float = 0.0
    sizes: list[tuple[float, int]] = field(default_factory=list)  # (time, number of workers)

    @property
    def waits(self) -> list[float]:
        """Sorted waits of the jobs."""
        return sorted(job.wait for job in self.jobs)


def percentile(values: Sequence[float], share: float) -> float:
    """Percentile of sorted values, with linear interpolation."""
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def simulate(jobs: Sequence[Arrival], costs: Costs, cluster: Cluster, seed: int) -> Result:
    """Simulate until all jobs have finished."""
    return _Simulation(jobs, costs, cluster, seed).run()


class _Simulation:
    def __init__(self, jobs: Sequence[Arrival], costs: Costs, cluster: Cluster, seed: int) -> None:
        self.env = simpy.Environment()
        self.costs, self.cluster = costs, cluster
        self.random = random.Random(seed)
        self.queue = FairQueue()
        self.messages = simpy.Store(self.env)
        self.times = {job.id: JobTimes(job) for job in jobs}
        self.result = Result(list(self.times.values()))
        self.finished = self.env.event()
        self.unfinished = 0  # queued or running
        self.to_come = len(jobs)
        self.workers: list[_Worker] = []

    def run(self) -> Result:
        if not self.to_come:
            return self.result
        self.env.process(self._arrive())
        if self.cluster.scaling:
            self.env.process(self._scale(self.cluster.scaling))
        else:
            for _ in range(self.cluster.workers):
                # Fixed workers are there; their looks have random phases.
                self.start_worker(self.random.uniform(0, self.costs.poll))
        self.env.run(self.finished)
        self.result.seconds = self.env.now
        for worker in self.workers:
            worker.account()
        return self.result

    def start_worker(self, seconds: float) -> None:
        self.workers.append(_Worker(self, seconds))
        self.result.starts += 1
        self.record_size()

    def record_size(self) -> None:
        self.result.sizes.append((self.env.now, len(self.workers)))

    def enqueue(self, job: Arrival) -> None:
        self.queue.add(QueuedJob(job.id, job.at, job.tenant, job.priority))
        if self.costs.messages:
            self.messages.put(job.id)

    def end(self) -> None:
        self.unfinished -= 1
        if not self.unfinished and not self.to_come:
            self.finished.succeed()

    def _arrive(self) -> Events:
        for times in self.result.jobs:
            yield self.env.timeout(times.arrival.at - self.env.now)
            times.left = self.costs.seconds(times.arrival.clip_seconds, self.random)
            self.to_come -= 1
            self.unfinished += 1
            self.enqueue(times.arrival)

    def _scale(self, rule: Scaling) -> Events:
        env = self.env
        wanted: list[tuple[float, int]] = []
        last_job = last_stop = last_growth = -math.inf
        while True:
            now, size = env.now, len(self.workers)
            target = min(max(self.unfinished, rule.least), rule.most)
            if self.unfinished:
                last_job = now
            wanted = [each for each in wanted if each[0] > now - rule.window] + [(now, target)]
            if target > size and now - last_growth >= rule.growth_period:
                for _ in range(min(target, max(2 * size, size + 4)) - size):
                    self.start_worker(self.costs.start)
                last_growth = now
            held = max(each for _, each in wanted)
            may_stop = now - last_stop >= rule.period and held < size
            if may_stop and (held or now - last_job >= rule.cooldown):
                self.workers[-1].stop()
                last_stop = now
            yield env.timeout(rule.polling)


class _Worker:
    def __init__(self, simulation: _Simulation, start_seconds: float) -> None:
        self.simulation, self.env = simulation, simulation.env
        self.began = self.env.now
        self.stopped = False
        self.deadline = math.inf  # after which the current job is handed back
        self.preempted = self.env.event()
        self.asked = self.env.event()
        self.answered = self.env.event()
        self.env.process(self._serve(start_seconds))
        if simulation.cluster.preemption:
            self.env.process(self._preempt(simulation.cluster.preemption))

    def stop(self) -> None:
        """Claim no other job."""
        self.stopped = True
        self.simulation.workers.remove(self)
        self.simulation.record_size()
        self._ask()

    def account(self) -> None:
        self.simulation.result.worker_seconds += self.env.now - self.began

    def _ask(self) -> None:
        if not self.asked.triggered:
            self.asked.succeed()

    def _serve(self, start_seconds: float) -> Events:
        yield self.env.timeout(start_seconds)
        if self.simulation.costs.messages:
            self.env.process(self._consume())
        while not self.stopped:
            self.asked, answered = self.env.event(), self.answered
            self.answered = self.env.event()
            while not self.stopped and self.simulation.queue.size:
                yield self.env.timeout(self.simulation.costs.claim)
                if job := self.simulation.queue.claim():
                    yield from self._work(job)
            answered.succeed()
            if not self.stopped:
                poll = self.env.timeout(self.simulation.costs.poll)
                yield self.env.any_of([self.asked, poll])
        self.account()

    def _consume(self) -> Events:
        """Take one message at a time, and wait for the look that answers it."""
        while not self.stopped:
            message = yield self.simulation.messages.get()
            if self.stopped:
                self.simulation.messages.put(message)
                return
            yield self.env.timeout(self.simulation.costs.message)
            answered = self.answered
            self._ask()
            yield answered

    def _work(self, job: QueuedJob) -> Events:
        simulation, env = self.simulation, self.env
        times, costs = simulation.times[job.id], simulation.costs
        times.attempts += 1
        if math.isnan(times.started):
            times.started = env.now
        end = env.now + times.left
        preemption = simulation.cluster.preemption
        if preemption:
            yield env.any_of([env.timeout(times.left), self.preempted])
        if (last := min(end, self.deadline)) > env.now:
            yield env.timeout(last - env.now)
        simulation.queue.end(job)
        if env.now >= end:
            simulation.result.busy_seconds += times.left
            times.left, times.finished = 0.0, env.now
            simulation.end()
            return
        done = times.left - (end - env.now)
        simulation.result.busy_seconds += done
        simulation.result.preempted += 1
        assert preemption is not None
        if done >= costs.motion * times.left:
            times.left -= costs.motion * times.left
        if not preemption.notice:
            yield env.timeout(preemption.lease)
        simulation.enqueue(times.arrival)

    def _preempt(self, rule: Preemption) -> Events:
        yield self.env.timeout(self.simulation.random.expovariate(1 / (3600 * rule.mean_hours)))
        if self.stopped:
            return
        self.deadline = self.env.now + rule.notice
        self.preempted.succeed()
        self.stop()
        if not self.simulation.cluster.scaling:
            self.env.process(self._replace(rule))

    def _replace(self, rule: Preemption) -> Events:
        yield self.env.timeout(rule.replacement)
        self.simulation.start_worker(self.simulation.costs.start)
