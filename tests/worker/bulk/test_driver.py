"""The driver with workers that die, fail and hang on command; no process starts."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from contracts.files import sha256_of
from jobs.request.model import GenerateRequest
from worker.bulk.driver import ALONE, MOST_FAILURES, BulkConfig, Counts, Driver, Stop
from worker.bulk.locations import Folder, stamp
from worker.bulk.manifest import Item
from worker.bulk.pool import Ended, WorkersBroken
from worker.bulk.results import (
    Attempts,
    File,
    Result,
    Source,
    State,
    is_current,
    read_result,
    request_digest,
)

DIED = Ended(0, None, "its process was killed by SIGKILL")


def item(folder: Path, number: int) -> Item:
    audio = folder / f"{number}.wav"
    audio.write_text(f"recording {number}")
    return Item(f"item-{number}", number, str(audio), None, GenerateRequest(seed=number))


def result_of(item: Item, state: State = State.SUCCEEDED) -> Result:
    error = None if state is State.SUCCEEDED else {"code": "code", "detail": "A reason."}
    return Result(item.name, item.line, state, "demo", 1, 1, error=error)


@dataclass
class FakePool:
    """Pool whose items end as `behave` decides: a result, None for a death, "hang" until a kill."""

    behave: Callable[[Item, int], Result | str | None]
    slots: int = 2
    submitted: list[tuple[str, int]] = field(default_factory=list)
    beside: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    running: dict[int, Result | str | None] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)  # by slot
    closed: bool = False

    def start(self) -> None:
        assert not self.submitted

    def submit(self, slot: int, item: Item, attempts: Attempts) -> None:
        self.submitted.append((item.name, attempts.made))
        self.running[slot] = self.behave(item, attempts.made)
        self.names[slot] = item.name
        names = {self.names[each] for each in self.running}
        for name in names:
            made = max(made for each, made in self.submitted if each == name)
            self.beside.setdefault((name, made), set()).update(names - {name})

    def wait(self, seconds: float) -> list[Ended]:
        ends = [slot for slot, each in self.running.items() if each != "hang"]
        return [self._ended(slot) for slot in ends]

    def _ended(self, slot: int) -> Ended:
        result = self.running.pop(slot)
        assert not isinstance(result, str)
        return replace(DIED, slot=slot) if result is None else Ended(slot, result)

    def kill(self, slot: int) -> None:
        self.running[slot] = None

    def close(self) -> None:
        self.closed = True


@dataclass
class Run:
    folder: Path
    pool: FakePool
    config: BulkConfig = field(default_factory=BulkConfig)
    stop: Stop = field(default_factory=Stop)
    results: dict[str, Result] = field(default_factory=dict)
    on_result: Callable[[], None] = lambda: None

    def __call__(self, count: int) -> bool:
        self.results = {}
        self.counts = Counts(count)
        driver = Driver(
            self.pool,
            Folder(self.folder),
            {"demo": "digest"},
            self.config,
            counts=self.counts,
            on_result=self._add,
            on_progress=lambda counts: None,
            stop=self.stop,
        )
        return driver.run(item(self.folder, number) for number in range(count))

    def _add(self, result: Result) -> None:
        assert result.item not in self.results, "one result for each item"
        self.results[result.item] = result
        self.on_result()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    def made(
        behave: Callable[[Item, int], Result | str | None], slots: int = 2, **options: Any
    ) -> Run:
        return Run(tmp_path, FakePool(behave, slots), **options)

    return made


def test_an_item_that_kills_its_process_fails_after_its_retries_and_no_other_does(
    run: Callable[..., Run], tmp_path: Path
) -> None:
    this = run(lambda item, attempt: None if item.line == 1 else result_of(item))

    assert this(4)

    assert [attempt for name, attempt in this.pool.submitted if name == "item-1"] == [1, 2, 3, 4]
    assert this.pool.beside["item-1", 1] == {"item-0"}
    assert [this.pool.beside["item-1", attempt] for attempt in (2, 3, 4)] == [set()] * 3
    states = {name: result.state for name, result in this.results.items()}
    assert states == {
        "item-0": "succeeded", "item-1": "failed", "item-2": "succeeded", "item-3": "succeeded",
    }  # fmt: skip
    failed = read_result(Folder(tmp_path), "items/item-1")
    assert failed is not None and failed.attempts == 4
    assert failed.error == {"code": "worker_died", "detail": DIED.reason + ALONE}
    assert this.pool.closed


def test_kills_beside_other_items_fail_none(run: Callable[..., Run]) -> None:
    """Every worker is killed with the item of its first attempt, as on a machine that goes."""
    this = run(lambda item, attempt: None if attempt == 1 else result_of(item), slots=8)

    assert this(12)

    assert {result.state for result in this.results.values()} == {State.SUCCEEDED}
    assert all(this.pool.beside[name, 2] == set() for name in this.results)


def test_a_machine_that_goes_with_many_workers_does_not_end_the_run(
    run: Callable[..., Run],
) -> None:
    slots = MOST_FAILURES + 10
    this = run(lambda item, attempt: None if attempt == 1 else result_of(item), slots=slots)

    assert this(slots)

    assert {result.state for result in this.results.values()} == {State.SUCCEEDED}


def test_an_item_that_fails_once_succeeds_later(run: Callable[..., Run]) -> None:
    this = run(
        lambda item, attempt: result_of(
            item, State.FAILED if attempt == 1 and item.line == 0 else State.SUCCEEDED
        )
    )

    assert this(2)

    assert this.pool.submitted == [("item-0", 1), ("item-1", 1), ("item-0", 2)]
    assert (this.counts.made, this.counts.failed) == (2, 0)


def test_a_refused_item_is_not_tried_again(run: Callable[..., Run]) -> None:
    this = run(lambda item, attempt: result_of(item, State.REFUSED))

    assert this(1)

    assert this.pool.submitted == [("item-0", 1)]
    assert this.results["item-0"].state is State.REFUSED


def test_attempts_are_counted_when_the_driver_dies_with_its_worker(
    run: Callable[..., Run], tmp_path: Path
) -> None:
    """A poison item that takes the whole pod with it ends after its attempts, too."""
    this = run(lambda item, attempt: result_of(item))
    poison = item(tmp_path, 0)
    request = poison.request.model_dump(mode="json", exclude_defaults=True)
    record = replace(result_of(poison, State.RUNNING), request=request, alone=True)

    replace(record, attempts=4, counted=3).write(Folder(tmp_path), poison.folder)
    assert this(2)
    assert this.pool.submitted == [("item-1", 1)]
    assert this.results["item-0"].state is State.FAILED

    this.pool.submitted.clear()
    replace(record, attempts=3, counted=2).write(Folder(tmp_path), poison.folder)
    assert this(2)
    assert this.pool.submitted == [("item-1", 1), ("item-0", 4)]
    assert this.pool.beside["item-0", 4] == set()


def test_a_hanging_item_is_killed_at_its_time_limit(run: Callable[..., Run]) -> None:
    this = run(lambda item, attempt: "hang", config=BulkConfig(retries=0, item_seconds=0.0))

    assert this(1)

    error = this.results["item-0"].error
    assert error is not None and "took longer than 0 s" in error["detail"]


def test_a_run_of_failures_ends_it_with_the_reason(run: Callable[..., Run]) -> None:
    this = run(lambda item, attempt: result_of(item, State.FAILED))

    with pytest.raises(WorkersBroken, match=f"{MOST_FAILURES} attempts failed in a row.*A reason"):
        this(100)

    assert len(this.results) == 0 and this.pool.closed


def test_a_signal_lets_running_items_end_and_counts_no_attempt_of_others(
    run: Callable[..., Run], tmp_path: Path
) -> None:
    def behave(item: Item, attempt: int) -> Result | str:
        if item.line == 1:
            this.stop()
        return result_of(item) if item.line == 0 else "hang"

    this = run(behave)
    hanging = item(tmp_path, 1)
    record = replace(result_of(hanging, State.RUNNING), attempts=1, alone=True)
    record.write(Folder(tmp_path), hanging.folder)
    this.on_result = this.stop  # the second signal

    assert not this(3)

    assert list(this.results) == ["item-0"]
    after = read_result(Folder(tmp_path), hanging.folder)
    assert after is not None
    assert (after.state, after.attempts, after.alone) == (State.RUNNING, 0, False)


class TestEarlierResults:
    """The decision whether results of earlier runs are kept."""

    def made(self, folder: Path) -> tuple[Item, Result]:
        one = item(folder, 1)
        output = folder / "items" / "item-1" / "take-1.mp4"
        output.parent.mkdir(parents=True)
        output.write_text("video")
        audio = sha256_of(Path(one.audio))
        result = replace(
            result_of(one),
            digest=request_digest(one, "digest", [audio]),
            outputs=(File("take-1.mp4", "items/item-1/take-1.mp4", 5, sha256_of(output)),),
            sources=(Source(one.audio, tuple(stamp(one.audio) or ()), audio),),
        )
        result.write(Folder(folder), one.folder)
        return one, result

    def kept(
        self, folder: Path, one: Item, *, person: str = "digest", verify: bool = False
    ) -> bool:
        result = read_result(Folder(folder), one.folder)
        assert result is not None
        return is_current(result, one, person, Folder(folder), verify=verify)

    def test_a_whole_result_of_the_same_request_is_kept(self, tmp_path: Path) -> None:
        one, result = self.made(tmp_path)

        assert read_result(Folder(tmp_path), one.folder) == result
        assert self.kept(tmp_path, one, verify=True)

    def test_a_recording_that_was_copied_or_touched_is_the_same(self, tmp_path: Path) -> None:
        one, _ = self.made(tmp_path)
        copy = tmp_path / "copy.wav"
        copy.write_bytes(Path(one.audio).read_bytes())

        assert self.kept(tmp_path, replace(one, audio=str(copy)))

    def test_anything_else_is_made_again(self, tmp_path: Path) -> None:
        one, _ = self.made(tmp_path)
        output = tmp_path / "items" / "item-1" / "take-1.mp4"

        assert not self.kept(tmp_path, replace(one, request=GenerateRequest(seed=2)))
        assert not self.kept(tmp_path, one, person="another version")
        output.write_text("oedia")
        assert self.kept(tmp_path, one) and not self.kept(tmp_path, one, verify=True)
        output.write_text("vid")
        assert not self.kept(tmp_path, one)
        output.write_text("video")
        Path(one.audio).write_text("another recording")
        assert not self.kept(tmp_path, one)
        Path(one.audio).unlink()
        assert not self.kept(tmp_path, one)

    def test_a_damaged_record_counts_as_none(self, tmp_path: Path) -> None:
        one, _ = self.made(tmp_path)
        for content in ("", "{", "[]", '{"state": "done"}'):
            (tmp_path / one.folder / "result.json").write_text(content)

            assert read_result(Folder(tmp_path), one.folder) is None
