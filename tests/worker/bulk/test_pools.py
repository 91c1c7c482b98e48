"""Workers that die while they start are started again, but not forever; no process starts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray.exceptions

from jobs.request.model import GenerateRequest
from jobs.settings import Settings
from worker.bulk import local_pool, pool, ray_pool
from worker.bulk.local_pool import LocalPool
from worker.bulk.manifest import Item
from worker.bulk.pool import MOST_STARTS, WorkersBroken
from worker.bulk.ray_pool import RayPool
from worker.bulk.results import Attempts

DIED = "died"
SIGKILL = -9


@dataclass
class FakeWorkers:
    """Workers whose starts end as listed: None is ready, "died" a kill, else a message."""

    starts: list[str | None]
    used: int = 0
    sent: list[Any] = field(default_factory=list)

    def next(self) -> str | None:
        self.used += 1
        return self.starts[self.used - 1]


@dataclass
class FakeProcess:
    """Process of multiprocessing, and its connection."""

    workers: FakeWorkers
    outcome: str | None
    exitcode: int = SIGKILL
    pid: int = 0

    def is_alive(self) -> bool:
        return self.outcome is None

    def recv(self) -> str | None:
        if self.outcome == DIED:
            raise EOFError
        return self.outcome

    def send(self, sent: Any) -> None:
        self.workers.sent.append(sent)

    def join(self) -> None:
        """Do nothing."""

    kill = close = join


def local(workers: FakeWorkers, monkeypatch: pytest.MonkeyPatch) -> LocalPool:
    def spawned(self: LocalPool, slot: int) -> local_pool.Slot:
        process = FakeProcess(workers, workers.next())
        return local_pool.Slot(process, process)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalPool, "_spawned", spawned)
    return LocalPool([Settings()], "results")


class FakeActor:
    """Actor of Ray; `ready.remote` returns the outcome of its start."""

    def __init__(self, workers: FakeWorkers) -> None:
        outcome = workers.next()
        self.ready = self.run = self
        self.remote = lambda *sent: workers.sent.append(sent) if sent else outcome


def ray_actors(workers: FakeWorkers, monkeypatch: pytest.MonkeyPatch) -> RayPool:
    class InitFailed(ray.exceptions.RayActorError):
        actor_init_failed = True

    def get(outcome: str | None, **_: Any) -> None:
        if outcome == DIED:
            raise ray.exceptions.RayActorError
        if outcome is not None:
            raise InitFailed(error_msg=outcome)

    monkeypatch.setattr(RayPool, "_made", lambda self, slot: FakeActor(workers))
    monkeypatch.setattr(ray_pool, "_connect", lambda own: None)
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "kill", lambda actor: None)
    return RayPool([Settings()], "results", gpus=False)


@pytest.fixture(params=[local, ray_actors])
def pool_of(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[FakeWorkers], LocalPool | RayPool]:
    monkeypatch.setattr(pool, "FIRST_PAUSE", 0.0)
    return lambda workers: request.param(workers, monkeypatch)


def test_a_worker_that_is_killed_while_it_starts_is_started_again(
    pool_of: Callable[[FakeWorkers], LocalPool | RayPool], tmp_path: Path
) -> None:
    workers = FakeWorkers([DIED] * (MOST_STARTS - 1) + [None])
    started = pool_of(workers)

    started.start()
    started.submit(0, Item("a", 1, "a.wav", None, GenerateRequest()), Attempts(1, 0))

    assert workers.used == MOST_STARTS
    assert len(workers.sent) == 1


def test_starts_are_limited(pool_of: Callable[[FakeWorkers], LocalPool | RayPool]) -> None:
    workers = FakeWorkers([DIED] * 100)

    with pytest.raises(WorkersBroken, match=f"died in each of {MOST_STARTS} starts.*fewer --work"):
        pool_of(workers).start()

    assert workers.used == MOST_STARTS


def test_a_worker_that_reports_why_it_cannot_start_ends_the_run_at_once(
    pool_of: Callable[[FakeWorkers], LocalPool | RayPool],
) -> None:
    workers = FakeWorkers(["no GPU here"] * 100)

    with pytest.raises(WorkersBroken, match="no GPU here"):
        pool_of(workers).start()

    assert workers.used == 1
