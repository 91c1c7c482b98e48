"""Comparison of the simulation with real runs: `python -m tests.bench.simulation.check`.

The jobs of a run go through the real database and claim code to real worker processes, whose
pipeline waits instead of computing (`waiting_worker`). The simulation gets the times and clip
lengths of the same jobs, and costs that were measured in other runs. It ends with status 1 when a
percentile of any run differs by more than the tolerance. Means over seeds, and the range of the
simulations of a run, say how much of a difference is chance.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.simulation.costs import Costs
from bench.simulation.document import means_over_seeds
from bench.simulation.loads import Arrival, Load, arrivals
from bench.simulation.workers import Cluster, percentile, simulate
from tests.bench.simulation.real_run import SETUPS, Times, measured_costs, run

TOLERANCE = 0.2
LOADS = (0.6, 0.8)  # mean share of the workers' time
WORKERS = (2, 4)
CLIP_SECONDS, CLIP_SPREAD = 6.0, 0.4
ROUGH_SECONDS = 3.5  # of a job, to choose rates
TENANTS = {"large": 0.6, "medium": 0.3, "small": 0.1}
REPEATS = 20  # of a simulation, with other deviations from the costs
COST_SEEDS = 1000  # of the runs that measure costs, apart from the compared ones
PERCENTILES = {"p50": 0.5, "p95": 0.95}


def jobs_of(load: float, workers: int, count: int, seed: int) -> list[Arrival]:
    """Jobs with bursts of four times the rate."""
    base = load * workers / ROUGH_SECONDS / 1.75  # a quarter of the time is a burst
    shape = Load(
        clips_per_hour=3600 * base,
        clip_seconds=CLIP_SECONDS,
        clip_spread=CLIP_SPREAD,
        tenants=TENANTS,
        burst_every=40.0,
        burst_seconds=10.0,
        burst_factor=4.0,
    )
    return arrivals(shape, 4 * count / base, seed)[:count]


def together(plans: Sequence[tuple[Sequence[Arrival], int]], setup: str) -> list[list[Times]]:
    """Run several plans at once, each with servers and workers of its own."""
    results: list[list[Times]] = [[] for _ in plans]
    all_ready = threading.Barrier(len(plans))

    def one(number: int) -> None:
        jobs, workers = plans[number]
        results[number] = run(jobs, workers=workers, setup=setup, ready=all_ready.wait)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(plans))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(results), "a run failed"
    return results


def simulated(jobs: Sequence[Arrival], costs: Costs, workers: int) -> dict[str, list[float]]:
    """Percentiles of the wait in each of several simulations, in ascending order."""
    waits = [simulate(jobs, costs, Cluster(workers), seed).waits for seed in range(REPEATS)]
    return {
        name: sorted(percentile(each, share) for each in waits)
        for name, share in PERCENTILES.items()
    }


def compare(jobs: Sequence[Arrival], times: Sequence[Times], costs: Costs, workers: int) -> dict:
    """Percentiles of a run, and those of its simulation."""
    waits = sorted(each.wait for each in times)
    real = {name: percentile(waits, share) for name, share in PERCENTILES.items()}
    # The jobs, at the times at which they were queued.
    queued = [
        Arrival(job.id, each.submitted, job.clip_seconds, job.tenant)
        for job, each in zip(jobs, times, strict=True)
    ]
    model = simulated(queued, costs, workers)
    return {
        name: {
            "real": real[name],
            "simulated": (mean := statistics.mean(values)),
            "error": mean / real[name] - 1,
            "range": [values[0], values[-1]],
        }
        for name, values in model.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=600, help="of a run")
    parser.add_argument("--cost-jobs", type=int, default=150, help="of a run that measures costs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--setup", choices=SETUPS, default="embedded")
    parser.add_argument("--out", type=Path, help="JSON file of the result")
    options = parser.parse_args()
    seeds = range(1, options.seeds + 1)

    compared = [(load, workers, seed) for load in LOADS for workers in WORKERS for seed in seeds]
    plans = [(jobs_of(*key[:2], options.jobs, key[2]), key[1]) for key in compared]
    # Costs are measured at the same time, in runs of other jobs.
    apart = [
        (jobs_of(0.7, workers, options.cost_jobs, COST_SEEDS + workers), workers)
        for workers in WORKERS
    ]
    results = together([*plans, *apart], options.setup)
    measured = [each for times in results[len(plans) :] for each in times]
    costs = measured_costs(measured, setup=options.setup)
    print(  # noqa: T201
        f"costs of {len(measured)} jobs: {costs.job:.3f} s and {costs.clip:.3f} s for each second "
        f"of the clip, {costs.claim:.3f} s of a claim"
    )
    rows = []
    for (load, workers, seed), (jobs, _), times in zip(
        compared, plans, results[: len(plans)], strict=True
    ):
        row = {"load": load, "workers": workers, "seed": seed}
        rows.append(row | compare(jobs, times, costs, workers))
        print(line(rows[-1]), flush=True)  # noqa: T201
    means = means_over_seeds(rows)
    for mean in means:
        print(line(mean))  # noqa: T201
    worst, worst_mean = (
        max(abs(row[name]["error"]) for row in group for name in PERCENTILES)
        for group in (rows, means)
    )
    print(  # noqa: T201
        f"largest error {100 * worst:.1f} %, allowed {100 * TOLERANCE:.0f} %; "
        f"of a mean {100 * worst_mean:.1f} %"
    )
    if options.out:
        result = {
            "setup": options.setup,
            "jobs": options.jobs,
            "costs": asdict(costs) | {"factors": len(costs.factors)},
            "rows": rows,
            "machine": machine(),
        }
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return int(worst > TOLERANCE)


def line(row: dict) -> str:
    parts = [
        f"{name} {row[name]['real']:.2f} s real, {row[name]['simulated']:.2f} s simulated "
        f"({100 * row[name]['error']:+.0f} %)"
        for name in PERCENTILES
    ]
    seed = f"seed {row['seed']}" if "seed" in row else "mean over seeds"
    return f"load {row['load']}, {row['workers']} workers, {seed}: " + "; ".join(parts)


def machine() -> dict[str, object]:
    """Machine and versions of a measurement."""
    versions = {name: importlib.metadata.version(name) for name in ("simpy", "sqlalchemy")}
    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": [round(each, 1) for each in os.getloadavg()],
        **versions,
    }


if __name__ == "__main__":
    sys.exit(main())
