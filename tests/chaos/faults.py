"""Faults injected into a running service, one at a time; each is a function of FaultContext."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import psutil
from redis import Redis

from jobs.queue.celery_app import QUEUE, make_celery, wake
from tests.chaos.checker import Watcher
from tests.chaos.cluster import Cluster, Process

STAGES = ("decode", "speech", "face", "guide", "body", "render", "publish")
SEARCH_SECONDS = 8.0  # limit of the wait for a job in a stage or for a running encoder


@dataclass
class FaultContext:
    """Cluster, watcher and random numbers of the faults, and counts of what was done."""

    cluster: Cluster
    watcher: Watcher
    random: Random
    counts: Counter[str]

    def kill(self, process: Process, kind: str) -> None:
        """Send SIGKILL and record the job that the process was running."""
        job = self.watcher.running_on(process.pid)
        if _signal(process.pid, signal.SIGKILL):
            self.counts[kind] += 1
            if job is not None:
                self.watcher.record_interruption(job, kind)

    def random_worker(self) -> Process | None:
        """Return a random running worker."""
        alive = [worker for worker in self.cluster.workers if worker.running]
        return self.random.choice(alive) if alive else None


Fault = Callable[[FaultContext], None]


def kill_worker_at(stage: str) -> Fault:
    """Kill the worker of a job in this stage."""

    def fault(context: FaultContext) -> None:
        job = context.watcher.wait_for_running(stage=stage, seconds=SEARCH_SECONDS)
        pid = int(str(job.worker).rpartition("-")[2]) if job else 0
        for worker in context.cluster.workers:
            if pid and worker.pid == pid:
                context.kill(worker, f"kill worker at {stage}")

    return fault


def kill_worker(context: FaultContext) -> None:
    """Kill a random worker."""
    if (worker := context.random_worker()) is not None:
        context.kill(worker, "kill worker")


def kill_ffmpeg(context: FaultContext) -> None:
    """Kill the ffmpeg child of a worker, while it decodes or encodes."""
    deadline = time.monotonic() + SEARCH_SECONDS
    while time.monotonic() < deadline:
        for worker in context.cluster.workers:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(worker.pid).children() if worker.pid else ():
                    if "ffmpeg" in child.name():
                        child.kill()
                        context.counts["kill ffmpeg"] += 1
                        return
        time.sleep(0.01)


def kill_api(context: FaultContext) -> None:
    """Kill a random API process, possibly during an upload."""
    process = context.random.choice(context.cluster.apis)
    if process.pid:
        context.kill(process, "kill api")


def kill_redis(context: FaultContext) -> None:
    """Kill the broker; it restarts with the queue from its disk."""
    if (pid := context.cluster.redis.pid) and _signal(pid, signal.SIGKILL):
        context.counts["kill redis"] += 1


def flush_redis(context: FaultContext) -> None:
    """Flush Redis: all wake-up messages are lost."""
    with Redis(unix_socket_path=str(context.cluster.redis.socket)) as redis, suppress(Exception):
        redis.flushall()
        context.counts["flush redis"] += 1


def lose_wakes(context: FaultContext) -> None:
    """Delete the queue: wake-up messages that were not consumed are lost."""
    with Redis(unix_socket_path=str(context.cluster.redis.socket)) as redis, suppress(Exception):
        redis.delete(QUEUE)
        context.counts["lose wake-ups"] += 1


def double_wakes(context: FaultContext) -> None:
    """Send three more wake-up messages per unfinished job, and some for an unknown job."""
    app = make_celery(context.cluster.settings)
    try:
        for job_id in [*list(context.watcher.unfinished)[:5], "nobody"]:
            for _ in range(3):
                wake(app, job_id)
    finally:
        app.close()
    context.counts["double wake-ups"] += 1


def suspend_worker(context: FaultContext) -> None:
    """Suspend a worker until its lease has expired, then resume it: its writes come too late."""
    job = context.watcher.wait_for_running(seconds=SEARCH_SECONDS)
    pid = int(str(job.worker).rpartition("-")[2]) if job else 0
    worker = next((each for each in context.cluster.workers if each.pid == pid), None)
    if worker is None or job is None or not _signal(worker.pid, signal.SIGSTOP):
        return
    context.counts["suspend worker"] += 1
    context.watcher.record_interruption(job, "suspend worker")
    settings = context.cluster.settings
    time.sleep(settings.lease_seconds + settings.reaper_seconds + 1)
    _signal(worker.pid, signal.SIGCONT)


def skew_worker(context: FaultContext) -> None:
    """Kill a worker; it restarts with a wall clock that is minutes wrong."""
    if (worker := context.random_worker()) is not None:
        worker.extra["CHAOS_SKEW_SECONDS"] = str(context.random.choice((-300, -40, 40, 300)))
        context.kill(worker, "kill worker, restart with a wrong clock")


def storage(mode: str) -> Fault:
    """Set the storage to error, stall, truncate or full for some seconds."""

    def fault(context: FaultContext) -> None:
        context.cluster.set_storage(mode)
        time.sleep(context.random.uniform(2, 6))
        context.cluster.set_storage("")
        context.counts[f"storage {mode}"] += 1

    return fault


def fill_disk(context: FaultContext) -> None:
    """Fill the scratch disk of all workers for some seconds."""
    context.cluster.set_disk("full")
    time.sleep(context.random.uniform(1, 4))
    context.cluster.set_disk("")
    context.counts["disk full"] += 1


def shuffled_faults(random: Random, *, skewed: bool) -> list[Fault]:
    """Return all faults in random order; most are kills."""
    kills = [kill_worker_at(stage) for stage in STAGES] + 3 * [kill_worker]
    kills += 3 * [kill_ffmpeg] + 2 * [kill_api] + 2 * [kill_redis]
    others = [flush_redis, lose_wakes, double_wakes, suspend_worker, fill_disk]
    others += [storage(mode) for mode in ("error", "stall", "truncate", "full")]
    if skewed:
        others.append(skew_worker)
    faults = [*kills, *others]
    random.shuffle(faults)
    return faults


def _signal(pid: int, number: int) -> bool:
    if not pid:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False
