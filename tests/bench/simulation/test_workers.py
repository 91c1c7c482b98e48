"""Simulated workers: closed-form waits of a queue, scaling, preemption and the order of claims."""

import math

import pytest

from bench.simulation.costs import Costs
from bench.simulation.loads import DAY, OFFICE_DAY, Arrival, Batch, Load, arrivals
from bench.simulation.workers import (
    Cluster,
    Preemption,
    Scaling,
    percentile,
    simulate,
)

EXPONENTIAL = tuple(-math.log((2 * number + 1) / 400) for number in range(200))
IDEAL = Costs(job=1.0, clip=0.0, claim=0.0, poll=2.0, messages=True, message=0.0, start=60.0)
EVERY_SECOND = [Arrival(f"{number:03d}", float(number), 1.0) for number in range(100)]


def erlang_c(workers: int, load: float) -> float:
    """Probability of a wait in an M/M/c queue; load: mean number of busy workers."""
    terms = [load**k / math.factorial(k) for k in range(workers)]
    last = load**workers / math.factorial(workers) * workers / (workers - load)
    return last / (sum(terms) + last)


@pytest.mark.parametrize(("workers", "busy"), [(1, 0.5), (2, 0.7), (5, 0.8)])
def test_waits_are_those_of_an_m_m_c_queue(workers: int, busy: float) -> None:
    costs = Costs(**{**vars(IDEAL), "factors": EXPONENTIAL})
    load = Load(3600 * busy * workers / costs.factor, clip_seconds=1.0)
    jobs = arrivals(load, 5000 / (busy * workers), seed=3)

    waits = simulate(jobs, costs, Cluster(workers), seed=4).waits

    delayed, rate = erlang_c(workers, busy * workers), workers * (1 - busy)  # of the decay
    assert sum(waits) / len(waits) == pytest.approx(delayed / rate, rel=0.12)
    assert sum(wait > 1e-9 for wait in waits) / len(waits) == pytest.approx(delayed, abs=0.03)
    p95 = max(0.0, math.log(delayed / 0.05) / rate)
    assert percentile(waits, 0.95) == pytest.approx(p95, rel=0.15)


def test_a_seed_gives_the_same_result_again() -> None:
    load = Load(2000, burst_every=300.0, day=OFFICE_DAY, tenants={"a": 0.7, "b": 0.3})
    runs = [simulate(arrivals(load, 2000, 7), Costs(), Cluster(5), 7).waits for _ in range(2)]

    assert runs[0] == runs[1]
    assert arrivals(load, 2000, 8) != arrivals(load, 2000, 7)


def test_the_shape_of_a_day_and_batches_are_kept() -> None:
    load = Load(300, day=OFFICE_DAY, batches=(Batch(100.0, 50, priority=-1),))
    jobs = arrivals(load, DAY, seed=1)
    hours = [
        sum(int(job.at // 3600) == hour and not job.priority for job in jobs) for hour in range(24)
    ]

    assert sum(job.priority == -1 and job.at == 100.0 for job in jobs) == 50
    assert sum(hours) == pytest.approx(7200, rel=0.05)
    assert max(hours) / min(hours) == pytest.approx(2.0 / 0.25, rel=0.3)
    assert [job.at for job in jobs] == sorted(job.at for job in jobs)


def test_an_idle_worker_without_a_broker_finds_a_job_at_its_next_look() -> None:
    costs = Costs(job=0.01, clip=0.0, claim=0.0, poll=0.25)
    jobs = [Arrival(f"{number:04d}", 1.37 * number, 1.0) for number in range(500)]

    waits = simulate(jobs, costs, Cluster(1), seed=1).waits

    assert max(waits) <= 0.25 + 1e-9
    assert sum(waits) / len(waits) == pytest.approx(0.125, abs=0.01)


def test_a_message_that_a_busy_worker_holds_is_found_by_the_look_of_another() -> None:
    """The job waits for the next look of the idle worker, at most, like in the product."""
    costs = Costs(job=10.0, clip=0.0, claim=0.0, poll=2.0, messages=True, message=0.0)
    jobs = [Arrival(f"{number}", at, 1.0) for number, at in enumerate((0.0, 0.1, 0.2))]

    result = simulate(jobs, costs, Cluster(3), seed=1)

    assert max(result.waits) <= 2.0


def test_workers_scale_to_zero_and_the_next_job_waits_for_a_start() -> None:
    jobs = [Arrival("a", 0.0, 1.0), Arrival("b", 3600.0, 1.0)]

    zero = simulate(jobs, IDEAL, Cluster(scaling=Scaling()), seed=1)
    one = simulate(jobs, IDEAL, Cluster(scaling=Scaling(least=1)), seed=1)

    assert [60.0 <= wait <= 70.0 for wait in zero.waits] == [True, True]
    assert one.waits[0] < 1e-9
    assert zero.worker_seconds < 1000 < 3600 < one.worker_seconds
    assert (zero.starts, one.starts) == (2, 1)


def test_scaled_workers_follow_the_queue_up_to_their_most() -> None:
    jobs = [Arrival(f"{number:03d}", 0.0, 100.0) for number in range(40)]

    result = simulate(jobs, Costs(clip=1.0, start=10.0), Cluster(scaling=Scaling(most=6)), seed=1)

    assert max(size for _, size in result.sizes) == 6
    assert result.seconds >= 40 * 100 / 6


@pytest.mark.parametrize("notice", [0.0, 0.5])
def test_preempted_jobs_run_again_and_all_finish(notice: float) -> None:
    rule = Preemption(mean_hours=20 / 3600, notice=notice, lease=5.0, replacement=1.0)
    costs = Costs(**{**vars(IDEAL), "start": 1.0})

    result = simulate(EVERY_SECOND, costs, Cluster(3, preemption=rule), seed=2)
    calm = simulate(EVERY_SECOND, costs, Cluster(3), seed=2)

    assert all(job.finished >= job.started + 1.0 - 1e-9 for job in result.jobs)
    assert result.preempted > 0
    assert sum(job.attempts for job in result.jobs) == len(EVERY_SECOND) + result.preempted
    assert calm.busy_seconds == pytest.approx(100.0)
    assert calm.busy_seconds <= result.busy_seconds <= 100.0 + result.preempted


def test_a_tenant_with_one_job_does_not_wait_for_the_batch_of_another() -> None:
    batch = [Arrival(f"{number:03d}", 0.0, 1.0, "many") for number in range(50)]
    one = Arrival("one", 0.5, 1.0, "few")

    result = simulate(sorted([*batch, one], key=lambda job: job.at), IDEAL, Cluster(1), seed=1)

    waits = {job.arrival.id: job.wait for job in result.jobs}
    assert waits["one"] <= 1.0
    assert max(waits.values()) >= 49.0
