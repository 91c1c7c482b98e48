"""Driver of a bulk run: gives items to workers, retries, and collects one result of each."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from contracts.provenance import joint_digest
from worker.bulk.pool import Ended, WorkersBroken
from worker.bulk.results import FULL, Attempts, Result, State, is_current, read_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future

    from worker.bulk.locations import Destination
    from worker.bulk.manifest import Item
    from worker.bulk.pool import Pool

LOOKUPS = 16  # earlier results that are looked up at a time
AHEAD = 64  # items whose earlier results are known before a worker is free
LOOK_SECONDS = 0.5  # between two looks at signals and time limits
MOST_FAILURES = 20  # in a row: storage or machine are broken, and no item is
FAILURES_OF_WORKER = 3  # in a row, with more workers: a lost machine takes several of them
ALONE = ", also while no other item ran"


@dataclass(frozen=True)
class BulkConfig:
    """Limits of a run."""

    retries: int = 2  # of an item that failed, or kills its process while no other item runs
    item_seconds: float = 21_600.0  # of one attempt
    grace_seconds: float = 30.0  # for running items after a signal
    verify: bool = False  # earlier files are read, not only their sizes


@dataclass
class Counts:
    """Items by state, for the progress."""

    total: int
    kept: int = 0  # results of earlier runs
    made: int = 0
    refused: int = 0
    failed: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Items with a result."""
        return self.kept + self.made + self.refused + self.failed

    @property
    def rate(self) -> float:
        """Finished items a second, without those of earlier runs; 0 before the first."""
        worked = self.done - self.kept
        return worked / max(1e-9, time.monotonic() - self.began)

    @property
    def seconds_left(self) -> float | None:
        """Expected seconds until the end; None before the first item."""
        return (self.total - self.done) / self.rate if self.done > self.kept else None


class Task(NamedTuple):
    """An item and its attempts so far. alone: its process was killed in one of them."""

    item: Item
    attempts: Attempts = Attempts(0, 0)
    alone: bool = False

    @property
    def next(self) -> Attempts:
        """Attempts that the record has if the next one is killed."""
        return Attempts(self.attempts.made + 1, self.attempts.counted + self.alone)

    def tried(self, *, failed: bool) -> Task:
        """Return the task after an attempt that failed, or whose process was killed.

        A kill beside other items is not counted: memory may have been short because of another
        one, or somebody has stopped the machine.
        """
        counted = self.attempts.counted + (failed or self.alone)
        attempts = Attempts(self.attempts.made + 1, counted)
        return Task(self.item, attempts, alone=self.alone or not failed)


class Stop:
    """Set by signals: the first lets running items end, the second ends the run at once."""

    signals = 0

    def __call__(self, *_: object) -> None:
        self.signals += 1


class Driver:
    """One run of some items in a pool."""

    def __init__(
        self,
        pool: Pool,
        destination: Destination,
        person_digests: Mapping[str, str],
        config: BulkConfig,
        *,
        counts: Counts,
        on_result: Callable[[Result], None],
        on_progress: Callable[[Counts], None],
        stop: Stop,
    ) -> None:
        """on_result: called once for each item, as on_progress in the calling thread."""
        self._pool, self._destination, self._digests = pool, destination, person_digests
        self._config, self._counts, self._stop = config, counts, stop
        self._on_result, self._on_progress = on_result, on_progress
        self._retries: deque[Task] = deque()
        self._alone: deque[Task] = deque()  # items that are tried while no other one runs
        self._running: dict[int, tuple[Task, float]] = {}  # by slot, with the time of the start
        self._late: set[int] = set()  # slots whose item took too long
        self._failures = 0  # in a row
        self._started = False

    def run(self, items: Iterable[Item]) -> bool:
        """Make all items; return False if a signal ended the run before its end.

        Raises: WorkersBroken: when the run cannot go on. Its results so far are kept.
        """
        try:
            with ThreadPoolExecutor(LOOKUPS) as executor:
                tasks = self._tasks(items, executor)
                while not self._stop.signals:
                    self._fill(tasks)
                    if not self._running:
                        break
                    self._collect()
                complete = not self._stop.signals
                if self._stop.signals:
                    self._drain()
        finally:
            if self._started:
                self._pool.close()
            for task, _ in self._running.values():
                self._forget(task)
        return complete

    def _tasks(self, items: Iterable[Item], executor: ThreadPoolExecutor) -> Iterator[Task]:
        """Yield the items without a result; report those that have one."""
        for item, earlier, current in self._looked_up(items, executor):
            if current and earlier is not None:
                self._counts.kept += 1
                self._on_result(replace(earlier, line=item.line))
                self._on_progress(self._counts)
                continue
            task = _interrupted_task(item, earlier)
            if task.attempts.counted > self._config.retries:
                self._fail(task, f"its process was killed{ALONE}")
            elif task.alone:
                self._alone.append(task)
            else:
                yield task

    def _looked_up(
        self, items: Iterable[Item], executor: ThreadPoolExecutor
    ) -> Iterator[tuple[Item, Result | None, bool]]:
        pending: deque[Future[tuple[Item, Result | None, bool]]] = deque()
        for item in items:
            if self._stop.signals:
                return
            pending.append(executor.submit(self._look_up, item))
            if len(pending) >= AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _look_up(self, item: Item) -> tuple[Item, Result | None, bool]:
        earlier = read_result(self._destination, item.folder)
        if earlier is None:
            return item, None, False
        digest = joint_digest(self._digests[name] for name in item.request.people)
        verify = self._config.verify
        current = is_current(earlier, item, digest, self._destination, verify=verify)
        return item, earlier, current

    def _fill(self, tasks: Iterator[Task]) -> None:
        """Give an item to each free slot: new ones first, then those that failed.

        Items whose process was killed come last, one at a time.
        """
        if any(task.alone for task, _ in self._running.values()):
            return
        for slot in range(self._pool.slots):
            if slot in self._running or self._stop.signals:
                continue
            task = next(tasks, None) or (self._retries.popleft() if self._retries else None)
            if task is None:
                break
            self._submit(slot, task)
        if self._alone and not self._running and not self._stop.signals:
            self._submit(0, self._alone.popleft())

    def _submit(self, slot: int, task: Task) -> None:
        if not self._started:
            self._started = True
            self._pool.start()
            self._counts.began = time.monotonic()
        self._running[slot] = task, time.monotonic()
        self._pool.submit(slot, task.item, task.next)

    def _collect(self) -> None:
        for ended in self._pool.wait(LOOK_SECONDS):
            task, _ = self._running.pop(ended.slot)
            self._end(task, ended)
        now = time.monotonic()
        for slot, (_, began) in self._running.items():
            if now - began > self._config.item_seconds and slot not in self._late:
                self._late.add(slot)
                self._pool.kill(slot)
        self._on_progress(self._counts)

    def _end(self, task: Task, ended: Ended) -> None:
        late = ended.slot in self._late
        self._late.discard(ended.slot)
        result = ended.result
        if result is not None and result.state in (State.SUCCEEDED, State.REFUSED):
            self._failures = 0
            if result.state is State.REFUSED:
                result.write(self._destination, task.item.folder)
            self._counts.made += result.state is State.SUCCEEDED
            self._counts.refused += result.state is State.REFUSED
            self._on_result(result)
            return
        reason = f"{ended.reason}{ALONE}" if result is None and task.alone else ended.reason
        if late:
            reason = f"it took longer than {self._config.item_seconds:.0f} s"
        if result is not None and result.error is not None:
            reason = result.error["detail"]
            if result.error["code"] == FULL:
                raise WorkersBroken(f"no space left: {reason}")
        self._failures += 1
        if self._failures >= max(MOST_FAILURES, FAILURES_OF_WORKER * self._pool.slots):
            raise WorkersBroken(f"{self._failures} attempts failed in a row, the last: {reason}")
        after = task.tried(failed=late or result is not None)
        if after.attempts.counted > self._config.retries:
            self._fail(after, reason, result)
        else:
            (self._alone if after.alone else self._retries).append(after)

    def _fail(self, task: Task, reason: str, result: Result | None = None) -> None:
        """Write the result of an item after its last attempt."""
        code = "worker_died" if result is None or result.error is None else result.error["code"]
        failed = replace(
            result or self._blank(task), error={"code": code, "detail": reason}, state=State.FAILED
        )
        failed.write(self._destination, task.item.folder)
        self._counts.failed += 1
        self._on_result(failed)

    def _blank(self, task: Task) -> Result:
        request = task.item.request
        return Result(
            item=task.item.name,
            line=task.item.line,
            state=State.RUNNING,
            person=request.person,
            seed=request.seed or 0,
            attempts=task.attempts.made,
            counted=task.attempts.counted,
            alone=task.alone,
            request=request.model_dump(mode="json", exclude_defaults=True),
        )

    def _drain(self) -> None:
        """Let running items end until the time is over or a second signal arrives."""
        until = time.monotonic() + self._config.grace_seconds
        while self._running and self._stop.signals == 1 and time.monotonic() < until:
            self._collect()

    def _forget(self, task: Task) -> None:
        """Do not count the attempt of an item that this run ended itself."""
        earlier = read_result(self._destination, task.item.folder)
        if earlier is not None and earlier.state is State.RUNNING:
            self._blank(task).write(self._destination, task.item.folder)


def _interrupted_task(item: Item, earlier: Result | None) -> Task:
    """Return the item with its attempts in an interrupted run, if its request is the same."""
    if earlier is None or earlier.state is not State.RUNNING:
        return Task(item)
    if earlier.request != item.request.model_dump(mode="json", exclude_defaults=True):
        return Task(item)
    return Task(item, Attempts(earlier.attempts, earlier.counted), alone=earlier.alone)
