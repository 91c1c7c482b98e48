"""The simulated queue claims in the order of the product's database."""

import random
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from bench.simulation.fair_queue import FairQueue, QueuedJob
from bench.simulation.workers import Scaling
from jobs.database import stores_on
from jobs.db.engine import connect
from jobs.db.migrate import upgrade
from jobs.store.fair_share import QueuedJob as PositionedJob
from jobs.store.fair_share import positions_of
from tests.clock import Clock
from tests.jobs.rows import submit

if TYPE_CHECKING:
    from jobs.model import Job

ROOT = Path(__file__).parents[3]
ACTIONS = ("submit", "submit", "claim", "claim", "succeed", "release")


def test_claims_are_those_of_the_database(tmp_path: Path) -> None:
    """A random history of four tenants: each claim takes the same job from both."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    upgrade(url)
    clock = Clock()
    database = stores_on(connect(url), clock=clock)
    queue, generator = FairQueue(), random.Random(1)
    running: list[tuple[Job, QueuedJob]] = []
    claims = 0
    for _ in range(120):
        clock.advance(generator.choice((0.0, 1.0)))
        action = generator.choice(ACTIONS)
        if action == "submit":
            priority, tenant = generator.choice((-1, 0, 0, 5)), generator.choice("aaabbcd")
            job = submit(database, tenant=tenant, priority=priority)
            queue.add(QueuedJob(job.id, job.created_at.timestamp(), tenant, priority))
        elif action == "claim":
            claimed, simulated = database.attempts.claim("worker"), queue.claim()
            assert (claimed and claimed.id) == (simulated and simulated.id)
            if claimed and simulated:
                running.append((claimed, simulated))
                claims += 1
        elif running:
            job, simulated = running.pop(generator.randrange(len(running)))
            queue.end(simulated)
            if action == "succeed":
                assert database.attempts.succeed(job.id, job.attempt, [])
            else:
                assert database.attempts.release(job.id, job.attempt, "stopped", counts=False)
                queue.add(simulated)
    database.close()
    assert claims > 20
    assert queue.size >= 0


def test_claims_are_in_the_order_of_the_positions() -> None:
    generator, clock = random.Random(3), Clock()
    jobs = [
        PositionedJob(f"{number:03d}", generator.choice("abbccc"), clock()) for number in range(40)
    ]
    queue = FairQueue()
    for job in jobs:
        queue.add(QueuedJob(job.id, job.created_at.timestamp(), job.tenant))

    order, running = [], []
    while (claimed := queue.claim()) is not None:
        order.append(claimed.id)
        running.append(claimed)
        if len(running) == 3:
            queue.end(running.pop(0))

    in_queues = sorted(jobs, key=lambda job: (job.tenant, job.id))
    first = order[:3]  # claimed by idle workers, of which the positions know nothing
    tenants = {job.id: job.tenant for job in jobs}
    turns = {tenants[job]: turn for turn, job in enumerate(first, start=1)}
    waiting = [job for job in in_queues if job.id not in first]
    positions = positions_of(waiting, [tenants[job] for job in first], turns)
    assert order[3:] == sorted(positions, key=lambda job: positions[job])


def test_the_rule_of_scaling_is_that_of_the_cluster() -> None:
    (scaled,) = (
        each
        for each in yaml.safe_load_all((ROOT / "k8s/worker/scaling.yaml").read_text())
        if each["kind"] == "ScaledObject"
    )
    spec, rule = scaled["spec"], Scaling()
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]

    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (rule.least, rule.most)
    assert (spec["pollingInterval"], spec["cooldownPeriod"]) == (rule.polling, rule.cooldown)
    assert down["stabilizationWindowSeconds"] == rule.window
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": rule.period}]
    assert spec["triggers"][0]["metadata"]["targetQueryValue"] == "1"
