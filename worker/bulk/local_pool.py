"""Pool of processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from contracts.errors import InputError
from contracts.imports import quick_imports
from worker.bulk.pool import Ended, WorkersBroken, await_start

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from jobs.settings import Settings
    from worker.bulk.manifest import Item
    from worker.bulk.results import Attempts

SPAWN = multiprocessing.get_context("spawn")  # torch and CUDA do not survive a fork


@dataclass
class Slot:
    """A worker process. busy: it has an item."""

    process: Any
    connection: Connection
    busy: bool = False


class LocalPool:
    """Spawned processes, one for each of some settings."""

    def __init__(self, settings: Sequence[Settings], place: str) -> None:
        """settings: of each worker. place: of the results."""
        self.slots = len(settings)
        self._settings, self._place = settings, place
        self._workers: list[Slot] = []

    def start(self) -> None:
        """See `Pool.start`; the processes start side by side."""
        self._workers = [self._spawned(slot) for slot in range(self.slots)]
        for slot in range(self.slots):
            self._await_start(slot)

    def submit(self, slot: int, item: Item, attempts: Attempts) -> None:
        """See `Pool.submit`."""
        if not self._workers[slot].process.is_alive():  # it died with its last item, or without one
            self._start_again(slot)
            self._await_start(slot)
        worker = self._workers[slot]
        worker.busy = True
        with suppress(OSError):  # `wait` returns its death
            worker.connection.send((item, attempts))

    def wait(self, seconds: float) -> list[Ended]:
        """See `Pool.wait`."""
        busy = {each.connection: slot for slot, each in enumerate(self._workers) if each.busy}
        ends = []
        for connection in wait(list(busy), seconds):
            slot = busy[connection]  # type: ignore[index]
            worker = self._workers[slot]
            worker.busy = False
            try:
                ends.append(Ended(slot, worker.connection.recv()))
            except (EOFError, OSError):
                worker.process.join()
                ends.append(Ended(slot, None, _reason(worker.process.exitcode)))
        return ends

    def kill(self, slot: int) -> None:
        """See `Pool.kill`."""
        self._workers[slot].process.kill()

    def close(self) -> None:
        """See `Pool.close`."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()

    def pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def _await_start(self, slot: int) -> None:
        await_start(lambda: _start_death(self._workers[slot]), lambda: self._start_again(slot))

    def _start_again(self, slot: int) -> None:
        self._workers[slot].connection.close()
        self._workers[slot] = self._spawned(slot)

    def _spawned(self, slot: int) -> Slot:
        here, there = SPAWN.Pipe()
        arguments = (there, self._settings[slot], self._place)
        process = SPAWN.Process(target=_work, args=arguments, name=f"bulk-{slot}")
        process.start()
        there.close()
        return Slot(process, here)


def _start_death(worker: Slot) -> str | None:
    """Wait for a worker; return why it died, None if it is ready.

    Raises: WorkersBroken: when it reports that it cannot start.
    """
    try:
        problem = worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        return _reason(worker.process.exitcode)
    if problem is not None:
        raise WorkersBroken(problem)
    return None


def _work(connection: Connection, settings: Settings, place: str) -> None:
    """Body of a worker process: it says whether it is ready, then answers each item."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with quick_imports():
            from worker.bulk.item_worker import ItemWorker

        worker = ItemWorker(settings, place)
    except InputError as error:  # a sentence for the operator
        connection.send(str(error))
        return
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
        return
    connection.send(None)
    with suppress(EOFError, OSError):
        while True:
            item, attempts = connection.recv()
            connection.send(worker.run(item, attempts))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _reason(status: int | None) -> str:
    if status is not None and status < 0:
        return f"its process was killed by {signal.Signals(-status).name}"
    return f"its process ended with status {status}"
