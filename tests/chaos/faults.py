"""Faults injected into a running service, one at a time; each is a function of FaultContext."""

import json
import os
import shutil
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
        pid = process.pid
        job = self.watcher.running_on(pid)
        if _signal(pid, signal.SIGKILL):
            self.counts[kind] += 1
            job = self.watcher.held_by(pid) or job  # it may have claimed one since the last poll
            if job is not None:
                self.watcher.record_interruption(job, kind)

    @property
    def kills(self) -> int:
        """Number of kills until now."""
        return sum(count for kind, count in self.counts.items() if kind.startswith("kill"))

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
                        if (job := context.watcher.running_on(worker.pid)) is not None:
                            context.watcher.lost_encoders[job.id] += 1
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
    redis = context.cluster.redis
    if redis and (pid := redis.pid) and _signal(pid, signal.SIGKILL):
        context.counts["kill redis"] += 1


def flush_redis(context: FaultContext) -> None:
    """Flush Redis: all wake-up messages are lost."""
    assert context.cluster.redis is not None
    with Redis(unix_socket_path=str(context.cluster.redis.socket)) as redis, suppress(Exception):
        redis.flushall()
        context.counts["flush redis"] += 1


def lose_wakes(context: FaultContext) -> None:
    """Delete the queue: wake-up messages that were not consumed are lost."""
    assert context.cluster.redis is not None
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


def sicken_worker(variable: str, value: str) -> Fault:
    """Restart a worker that can do no job, and a healthy one in its place some seconds later."""

    def fault(context: FaultContext) -> None:
        if (worker := context.random_worker()) is None:
            return
        worker.extra[variable] = value
        _restart(worker)
        context.counts["new: sick worker"] += 1
        time.sleep(context.random.uniform(6, 10))  # it needs some of them to start
        worker.extra.pop(variable)
        _restart(worker)

    return fault


def _restart(worker: Process) -> None:
    """Stop a worker in order; its supervisor starts it again."""
    _signal(worker.pid, signal.SIGTERM)


def remove_scratch(context: FaultContext) -> None:
    """Remove the scratch folders of all workers, as a cleaner of temporary files does."""
    shutil.rmtree(context.cluster.settings.scratch, ignore_errors=True)
    context.counts["new: scratch removed"] += 1


def unmount(name: str) -> Fault:
    """Move the folder of the storage or of the people away for some seconds."""

    def fault(context: FaultContext) -> None:
        root = context.cluster.folder / name
        away = root.with_name("unmounted")
        root.rename(away)
        if context.random.random() < 0.5:
            root.mkdir()  # an empty mount point
        time.sleep(context.random.uniform(1, 4))
        if root.is_dir():
            root.rmdir()  # fails if a process has written below the mount point
        away.rename(root)
        context.counts[f"new: {name} not mounted"] += 1

    return fault


def copy_person(context: FaultContext) -> None:
    """Replace a person file by file, slowly: another title, then each file."""
    folder = context.cluster.folder / "people" / "demo"
    manifest = folder / "person.json"
    members = json.loads(manifest.read_text())
    members["title"] = f"Version {context.random.randrange(1000)}"
    new = json.dumps(members)
    manifest.write_text(new[: len(new) // 2])
    for path in sorted(folder.glob("*.safetensors")):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        time.sleep(context.random.uniform(0.1, 0.5))
        path.write_bytes(content)
    manifest.write_text(new)
    context.counts["new: person copied"] += 1


def stop_database(context: FaultContext) -> None:
    """Stop the database for longer than a lease."""
    context.cluster.stop_database(context.cluster.settings.lease_seconds + 3)
    context.counts["new: database away longer than a lease"] += 1


def restart_database(context: FaultContext) -> None:
    """Stop the database for a moment."""
    context.cluster.stop_database(context.random.uniform(0.5, 3))
    context.counts["new: database restarted"] += 1


def new_faults(setup: str) -> list[Fault]:
    """Return faults of machines and mounts, which may not fail any job."""
    faults = [
        sicken_worker("IMAGEIO_FFMPEG_EXE", "/no/ffmpeg"),
        sicken_worker("CHAOS_BROKEN_DECODER", "1"),
        remove_scratch,
        unmount("people"),
        copy_person,
        stop_database,
        restart_database,
    ]
    return [*faults, unmount("data/objects")] if setup == "embedded" else faults


def shuffled_faults(random: Random, *, skewed: bool, broker: bool = True) -> list[Fault]:
    """Return all faults in random order; most are kills."""
    kills = [kill_worker_at(stage) for stage in STAGES] + 3 * [kill_worker]
    kills += 3 * [kill_ffmpeg] + 2 * [kill_api]
    others: list[Fault] = [suspend_worker, fill_disk]
    if broker:
        kills += 2 * [kill_redis]
        others += [flush_redis, lose_wakes, double_wakes]
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
