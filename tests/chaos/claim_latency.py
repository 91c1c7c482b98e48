"""Time from the row of a job to its claim by an idle worker: `python -m tests.chaos.claim_latency`.

Without a broker unless --broker is given. One job at a time, so that the worker is always idle.
"""

import argparse
import statistics
import sys
import time
from contextlib import closing

from jobs.database import Database, open_database
from tests.chaos.cluster import Cluster, running_cluster
from tests.chaos.sick_workers import submit_jobs, wait_for, waiting_workers


def measure(jobs: int, *, broker: bool) -> list[float]:
    """Return the seconds from submission to claim of each job, sorted."""
    seconds = []
    with (
        running_cluster("embedded", workers=1, apis=1, environment={}, broker=broker) as cluster,
        closing(open_database(cluster.settings)) as database,
    ):
        wait_for(lambda: waiting_workers(cluster) == 1, 120, cluster)
        for number in range(jobs):
            seconds.append(_claim_seconds(cluster, database))
            time.sleep(0.013 * (number % 20))  # at different times between two looks
    return sorted(seconds[1:])  # the first one waits for the tables of the database


def _claim_seconds(cluster: Cluster, database: Database) -> float:
    (job_id,) = submit_jobs(cluster, database, 1)
    wait_for(lambda: database.jobs.get(job_id).state.final, 120, cluster)
    job = database.jobs.get(job_id)
    assert job.started_at is not None
    return (job.started_at - job.created_at).total_seconds()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=25)
    parser.add_argument("--broker", action="store_true")
    arguments = parser.parse_args()
    seconds = measure(arguments.jobs + 1, broker=arguments.broker)
    p95 = seconds[max(0, round(0.95 * len(seconds)) - 1)]
    print(  # noqa: T201
        f"{len(seconds)} jobs, {'with' if arguments.broker else 'without'} a broker: "
        f"p50 {statistics.median(seconds):.2f} s, p95 {p95:.2f} s, longest {seconds[-1]:.2f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
