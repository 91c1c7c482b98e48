"""Pool of Ray actors, on this machine or on the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import ray
import ray.exceptions

from worker.bulk.pool import Ended, WorkersBroken, await_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobs.settings import Settings
    from worker.bulk.manifest import Item
    from worker.bulk.results import Attempts, Result

# Settings of Ray where its user has none: no report of usage to its authors, actors with the
# priority of this process.
DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",
}
OWN_CLUSTER = {"object_store_memory": 100 << 20}  # results are small, files do not pass through it
STARTS = 10  # Ray gives itself 30 s for a start, which a busy machine may exceed
START_SECONDS = 600.0  # for an actor: the cluster may have to add a machine


class Actor:
    """Worker of the pool; the process that starts the pool does not import torch."""

    def __init__(self, settings: Settings, place: str) -> None:
        from worker.bulk.item_worker import ItemWorker

        self._worker = ItemWorker(settings, place)

    def ready(self) -> bool:
        """Return True once the worker is made."""
        return True

    def run(self, item: Item, attempts: Attempts) -> Result:
        """See `ItemWorker.run`."""
        return self._worker.run(item, attempts)


class RayPool:
    """Actors, one for each of some settings."""

    def __init__(self, settings: Sequence[Settings], place: str, *, gpus: bool) -> None:
        """gpus: every actor has a GPU, else a core."""
        self.slots = len(settings)
        self._settings, self._place = settings, place
        self._resources = {"num_cpus": 0 if gpus else 1, "num_gpus": 1 if gpus else 0}
        self._actors: list[Any] = []
        self._running: dict[Any, int] = {}  # slot by reference

    def start(self) -> None:
        """See `Pool.start`."""
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        own = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": self.slots, **OWN_CLUSTER}
        _connect(own)
        self._actors = [self._made(slot) for slot in range(self.slots)]
        for slot in range(self.slots):
            self._await_start(slot)

    def submit(self, slot: int, item: Item, attempts: Attempts) -> None:
        """See `Pool.submit`."""
        if self._actors[slot] is None:
            self._start_again(slot)
            self._await_start(slot)
        self._running[self._actors[slot].run.remote(item, attempts)] = slot

    def wait(self, seconds: float) -> list[Ended]:
        """See `Pool.wait`."""
        if not self._running:
            return []
        ready, _ = ray.wait(list(self._running), timeout=seconds)
        ends = []
        for reference in ready:
            slot = self._running.pop(reference)
            try:
                ends.append(Ended(slot, ray.get(reference)))
            except ray.exceptions.RayError as error:  # also when the machine is short of memory
                ray.kill(self._actors[slot])
                self._actors[slot] = None
                ends.append(Ended(slot, None, f"its actor died ({type(error).__name__})"))
        return ends

    def kill(self, slot: int) -> None:
        """See `Pool.kill`."""
        ray.kill(self._actors[slot])

    def close(self) -> None:
        """See `Pool.close`."""
        for actor in self._actors:
            if actor is not None:
                ray.kill(actor)
        ray.shutdown()

    def _await_start(self, slot: int) -> None:
        await_start(lambda: _start_death(self._actors[slot]), lambda: self._start_again(slot))

    def _start_again(self, slot: int) -> None:
        self._actors[slot] = self._made(slot)

    def _made(self, slot: int) -> Any:
        actor = ray.remote(Actor).options(**self._resources, max_restarts=0)
        return actor.remote(self._settings[slot], self._place)


def _connect(own: dict[str, Any]) -> None:
    """Connect to the cluster of RAY_ADDRESS, or start Ray; keep the handlers of signals."""
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        _start(own)
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


def _start(own: dict[str, Any]) -> None:
    for left in reversed(range(STARTS)):
        try:
            ray.init(**own, include_dashboard=False, logging_level="error")
        except Exception as error:  # Ray raises plain exceptions
            ray.shutdown()
            if not left:
                raise WorkersBroken(f"Ray did not start: {error}") from error
        else:
            return


def _start_death(actor: Any) -> str | None:
    """Wait for an actor; return why it died, None if it is ready.

    Raises: WorkersBroken: when no machine has room for it, or its worker raised an exception.
    """
    try:
        ray.get(actor.ready.remote(), timeout=START_SECONDS)
    except ray.exceptions.GetTimeoutError as error:
        raise WorkersBroken(
            f"no actor started within {START_SECONDS:.0f} s; check that the cluster has free cores "
            "or GPUs for --workers"
        ) from error
    except ray.exceptions.RayError as error:
        last_line = str(error).strip().splitlines()[-1].strip()
        if getattr(error, "actor_init_failed", False):
            raise WorkersBroken(f"an actor did not start: {last_line}") from error
        ray.kill(actor)
        return f"{type(error).__name__}: {last_line}"
    return None
