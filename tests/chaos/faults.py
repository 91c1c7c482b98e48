"""What is done to a running service: each fault is a function of the scene, one at a time."""

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
from tests.chaos.cluster import Process, World

STAGES = ("decode", "speech", "face", "guide", "body", "render", "publish")
LOOK_SECONDS = 8.0  # for a job at a stage, an encoder at work


@dataclass
class Scene:
    """What a fault may touch."""

    world: World
    watcher: Watcher
    random: Random
    counted: Counter[str]

    def kill(self, process: Process, kind: str) -> None:
        """SIGKILL, with a note of the job that the process had."""
        held = self.watcher.held_by(process.pid)
        if _signal(process.pid, signal.SIGKILL):
            self.counted[kind] += 1
            if held is not None:
                self.watcher.lost(held, kind)

    def living_worker(self) -> Process | None:
        """One that runs, by chance."""
        alive = [worker for worker in self.world.workers if worker.running]
        return self.random.choice(alive) if alive else None


Fault = Callable[[Scene], None]


def kill_worker_at(stage: str) -> Fault:
    """The worker of a job that has come to this stage."""

    def fault(scene: Scene) -> None:
        job = scene.watcher.at_stage(stage, seconds=LOOK_SECONDS)
        pid = int(str(job.worker).rpartition("-")[2]) if job else 0
        for worker in scene.world.workers:
            if pid and worker.pid == pid:
                scene.kill(worker, f"kill worker at {stage}")

    return fault


def kill_worker(scene: Scene) -> None:
    """Any, whatever it does."""
    if (worker := scene.living_worker()) is not None:
        scene.kill(worker, "kill worker")


def kill_ffmpeg(scene: Scene) -> None:
    """The child of a worker that decodes or encodes."""
    until = time.monotonic() + LOOK_SECONDS
    while time.monotonic() < until:
        for worker in scene.world.workers:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(worker.pid).children() if worker.pid else ():
                    if "ffmpeg" in child.name():
                        child.kill()
                        scene.counted["kill ffmpeg"] += 1
                        return
        time.sleep(0.01)


def kill_api(scene: Scene) -> None:
    """One of the doors, perhaps in the middle of an upload."""
    process = scene.random.choice(scene.world.apis)
    if process.pid:
        scene.kill(process, "kill api")


def kill_redis(scene: Scene) -> None:
    """The broker; it is started again with the queue that it had on disk."""
    if (pid := scene.world.redis.pid) and _signal(pid, signal.SIGKILL):
        scene.counted["kill redis"] += 1


def flush_redis(scene: Scene) -> None:
    """FLUSHALL: every wake-up is lost."""
    with Redis(unix_socket_path=str(scene.world.redis.socket)) as redis, suppress(Exception):
        redis.flushall()
        scene.counted["flush redis"] += 1


def lose_wakes(scene: Scene) -> None:
    """What was announced and not heard yet is lost."""
    with Redis(unix_socket_path=str(scene.world.redis.socket)) as redis, suppress(Exception):
        redis.delete(QUEUE)
        scene.counted["lose wake-ups"] += 1


def double_wakes(scene: Scene) -> None:
    """Every unfinished job is announced three times more, and one that never was."""
    app = make_celery(scene.world.settings)
    try:
        for job_id in [*list(scene.watcher.unfinished)[:5], "nobody"]:
            for _ in range(3):
                wake(app, job_id)
    finally:
        app.close()
    scene.counted["double wake-ups"] += 1


def suspend_worker(scene: Scene) -> None:
    """SIGSTOP until its lease is over and the job is another's, then SIGCONT: it writes late."""
    held = scene.watcher.at_work(seconds=LOOK_SECONDS)
    pid = int(str(held.worker).rpartition("-")[2]) if held else 0
    worker = next((each for each in scene.world.workers if each.pid == pid), None)
    if worker is None or held is None or not _signal(worker.pid, signal.SIGSTOP):
        return
    scene.counted["suspend worker"] += 1
    scene.watcher.lost(held, "suspend worker")
    settings = scene.world.settings
    time.sleep(settings.lease_seconds + settings.reaper_seconds + 1)
    _signal(worker.pid, signal.SIGCONT)


def skew_worker(scene: Scene) -> None:
    """A worker comes back on a machine whose clock is minutes wrong."""
    if (worker := scene.living_worker()) is not None:
        worker.extra["CHAOS_SKEW_SECONDS"] = str(scene.random.choice((-300, -40, 40, 300)))
        scene.kill(worker, "kill worker, back with a wrong clock")


def storage(mode: str) -> Fault:
    """The storage errs, stalls, truncates or is full for some seconds."""

    def fault(scene: Scene) -> None:
        scene.world.set_storage(mode)
        time.sleep(scene.random.uniform(2, 6))
        scene.world.set_storage("")
        scene.counted[f"storage {mode}"] += 1

    return fault


def fill_disk(scene: Scene) -> None:
    """No room in any worker's scratch folder for some seconds."""
    scene.world.set_disk("full")
    time.sleep(scene.random.uniform(1, 4))
    scene.world.set_disk("")
    scene.counted["disk full"] += 1


def deck(random: Random, *, skewed: bool) -> list[Fault]:
    """Faults in an order of chance; every kind is there, kills prevail."""
    kills = [kill_worker_at(stage) for stage in STAGES] + 3 * [kill_worker]
    kills += 3 * [kill_ffmpeg] + 2 * [kill_api] + 2 * [kill_redis]
    others = [flush_redis, lose_wakes, double_wakes, suspend_worker, fill_disk]
    others += [storage(mode) for mode in ("error", "stall", "truncate", "full")]
    if skewed:
        others.append(skew_worker)
    cards = [*kills, *others]
    random.shuffle(cards)
    return cards


def _signal(pid: int, number: int) -> bool:
    if not pid:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False
