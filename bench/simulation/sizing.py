"""Numbers of workers for a load, and what scaling to zero, preemption and batches cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from bench.simulation.costs import demo_costs
from bench.simulation.loads import DAY, HOUR, Batch, Load, arrivals
from bench.simulation.workers import Cluster, Preemption, Result, Scaling, percentile, simulate

if TYPE_CHECKING:
    from bench.simulation.costs import Costs

RATES = (100, 1000, 10_000)  # clips an hour
P95_WAITS = (10, 60, 600)  # seconds
SPEEDS = {
    "demo, two CPU cores": demo_costs(),
    "ten times as fast": replace(demo_costs(), job=0.5, clip=0.2),  # 2.7 s for a clip of 10 s
}
FEWEST_JOBS = 2000  # of a simulation that measures a percentile
WARM_UP = 0.2  # share of the jobs at the start that do not count
TRANSIENTS = 40  # shortest simulated time, in jobs one after the other
WAITS = 6  # and in waits
MOST_BUSY = 0.95  # share of the time of the workers; beyond, waits grow as long as the load lasts


@dataclass(frozen=True)
class Answer:
    """Workers for a load, and the waits with them."""

    workers: int
    p50: float
    p95: float
    busy: float  # share of the time of the workers


def offered(load: Load, costs: Costs) -> float:
    """Mean number of busy workers."""
    mean = load.clip_seconds * math.exp(load.clip_spread**2 / 2)
    return load.clips_per_hour / HOUR * (costs.job + costs.clip * mean) * costs.factor


def waits_of(result: Result) -> list[float]:
    """Sorted waits without those of the warm-up."""
    return sorted(job.wait for job in result.jobs[int(WARM_UP * len(result.jobs)) :])


def answer(load: Load, costs: Costs, workers: int, wait: float, seed: int) -> Answer:
    """Simulate a number of workers under a load, long enough to see waits of `wait` seconds."""
    job_seconds = offered(load, costs) * HOUR / load.clips_per_hour
    seconds = max(FEWEST_JOBS * HOUR / load.clips_per_hour, TRANSIENTS * job_seconds, WAITS * wait)
    result = simulate(arrivals(load, seconds, seed), costs, Cluster(workers), seed)
    waits = waits_of(result)
    busy = result.busy_seconds / (result.seconds * workers)
    return Answer(workers, percentile(waits, 0.5), percentile(waits, 0.95), busy)


def workers_for(load: Load, costs: Costs, wait: float, seed: int = 1) -> Answer:
    """Fewest workers, busy at most MOST_BUSY, whose p95 wait is at most `wait` seconds.

    Raises: ValueError: when the wait is shorter than that for an idle worker.
    """
    low = max(1, math.ceil(offered(load, costs) / MOST_BUSY))
    high = low
    while (found := answer(load, costs, high, wait, seed)).p95 > wait:
        low, high = high + 1, high + max(1, high // 10)
        if found.busy < 0.01:
            raise ValueError(f"no number of workers gives a p95 wait of {wait} s")
    while low < high:
        middle = (low + high) // 2
        tried = answer(load, costs, middle, wait, seed)
        if tried.p95 <= wait:
            found, high = tried, middle
        else:
            low = middle + 1
    return found


@cache
def answers() -> dict[tuple[str, int, int], Answer]:
    """Workers by speed, clips an hour, and p95 wait in seconds."""
    return {
        (name, rate, wait): workers_for(Load(rate), costs, wait)
        for name, costs in SPEEDS.items()
        for rate in RATES
        for wait in P95_WAITS
    }


@dataclass(frozen=True)
class ScalingAnswer:
    """Costs of scaled workers for a day."""

    name: str
    worker_hours: float
    busy_hours: float
    starts: int
    p50: float
    p95: float
    delayed: float  # share of the jobs that waited for the start of a worker
    preempted: int


def day_of(name: str, load: Load, costs: Costs, cluster: Cluster, seed: int = 1) -> ScalingAnswer:
    """Simulate a day."""
    result = simulate(arrivals(load, DAY, seed), costs, cluster, seed)
    waits = result.waits
    delayed = sum(wait >= costs.start for wait in waits) / len(waits)
    return ScalingAnswer(
        name,
        result.worker_seconds / HOUR,
        result.busy_seconds / HOUR,
        result.starts,
        percentile(waits, 0.5),
        percentile(waits, 0.95),
        delayed,
        result.preempted,
    )


def scale_to_zero(load: Load, costs: Costs, most: int = 8) -> list[ScalingAnswer]:
    """Compare a day of workers that scale to zero with one that is always there."""
    rule = Scaling(most=most)
    return [
        day_of("to zero", load, costs, Cluster(scaling=rule)),
        day_of("at least one", load, costs, Cluster(scaling=replace(rule, least=1))),
    ]


def preemptions(load: Load, costs: Costs, workers: int) -> list[ScalingAnswer]:
    """Compare a day of fixed workers with machines that are taken away."""
    cases = {
        "never": None,
        "every 4 h, 30 s notice": Preemption(4.0),
        "every 4 h, no notice": Preemption(4.0, notice=0.0),
        "every hour, 30 s notice": Preemption(1.0),
    }
    return [
        day_of(name, load, costs, Cluster(workers, preemption=case)) for name, case in cases.items()
    ]


@dataclass(frozen=True)
class FairnessAnswer:
    """Waits of a tenant's jobs beside a batch."""

    name: str
    p50: float
    p95: float
    batch_minutes: float  # until the batch has finished


def fairness(
    load: Load, costs: Costs, workers: int, jobs: int, seed: int = 1
) -> list[FairnessAnswer]:
    """Compare jobs beside a batch of another tenant, of the same one, and of lower priority."""
    cases = {
        "no batch": (),
        "batch of another tenant": (Batch(HOUR, jobs),),
        "batch of the same tenant": (Batch(HOUR, jobs, "local"),),
        "the same, with lower priority": (Batch(HOUR, jobs, "local", -10),),
    }
    return [_beside(name, load, costs, workers, batches, seed) for name, batches in cases.items()]


def _beside(
    name: str, load: Load, costs: Costs, workers: int, batches: tuple[Batch, ...], seed: int
) -> FairnessAnswer:
    jobs = arrivals(replace(load, batches=batches), 4 * HOUR, seed)
    result = simulate(jobs, costs, Cluster(workers), seed)
    at = {batch.at for batch in batches}
    end = max([job.finished for job in result.jobs if job.arrival.at in at], default=0.0)
    own = sorted(
        job.wait
        for job in result.jobs
        if job.arrival.at not in at and (not at or HOUR <= job.arrival.at < end)
    )
    return FairnessAnswer(
        name, percentile(own, 0.5), percentile(own, 0.95), max(0.0, end - HOUR) / 60
    )
