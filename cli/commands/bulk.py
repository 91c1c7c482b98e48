"""`visavis-server bulk`: files and a table for every recording of a manifest."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli.console import (
    FAILED,
    INTERRUPTED,
    MISUSED,
    fail,
    make_console,
    needing,
    read_settings,
    wait_without_spinning,
    warn,
)
from contracts.s3_url import is_s3_url
from jobs.persons import ConsentRefused
from jobs.storage.errors import StorageError
from worker.bulk.driver import BulkConfig, Counts, Driver, Stop
from worker.bulk.locations import open_destination
from worker.bulk.manifest import Checked, Manifest, ManifestError, Shard, fields_of_options
from worker.bulk.pool import WorkersBroken
from worker.bulk.results import TABLES, Result, Rows, State, write_table
from worker.pipeline.persons import PersonUnknown, find_person

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import Console

    from jobs.settings import Settings
    from worker.bulk.locations import Destination
    from worker.bulk.pool import Pool

ENGINES = ("local", "ray", "k8s")
ITEMS_FAILED = 3  # exit status; k8s/bulk starts no other pod for it
LISTED = 20  # failures that are printed; the table contains all
LINE_SECONDS = 5.0  # between two lines of progress
GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class BulkOptions:
    """Options of the command."""

    engine: str
    workers: int  # 0: one for each GPU, or else for each core
    table: str
    config: BulkConfig


def run_bulk(source: str, place: str, options: BulkOptions, fields: Mapping[str, Any]) -> None:
    """Make all items; exit with status 3 when some failed, with a sentence for other errors."""
    if options.engine not in ENGINES:
        fail(f"--engine: unknown engine {options.engine!r}; use {', '.join(ENGINES)}", MISUSED)
    if options.table not in TABLES:
        fail(f"--table: unknown format {options.table!r}; use {' or '.join(TABLES)}", MISUSED)
    shard = _shard() if options.engine == "k8s" else Shard()
    settings = read_settings()
    wait_without_spinning()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="visavis-bulk-")))
        try:
            with needing("bulk"):
                if options.table == "parquet":
                    import pyarrow.parquet  # noqa: F401 -- missing before any work, not after it
                manifest = Manifest(source, fields_of_options(fields), scratch, shard)
                checked = manifest.check()
            digests = _person_digests(checked, settings)
        except ManifestError as error:
            fail(str(error), MISUSED)
        except StorageError as error:
            fail(f"{error}", FAILED)
        for line, first in checked.repeats[:LISTED]:
            warn(f"line {line} repeats line {first}; both are one item")
        rows = stack.enter_context(closing(Rows(scratch / "rows.jsonl")))
        run = _Run(options, open_destination(place), rows, checked.total)
        try:
            with run.signals():
                complete = run.driver(_pool(options, settings, place), digests).run(
                    manifest.items()
                )
            if complete:
                run.write_tables(checked, shard, scratch)
        except (WorkersBroken, StorageError) as error:
            run.print_summary(place)
            fail(f"{error}. The same command continues.", FAILED)
        except ManifestError as error:
            fail(f"the manifest has changed during the run: {error}", MISUSED)
        run.print_summary(place)
        if not complete:
            fail("stopped; the same command continues", INTERRUPTED)
        if run.counts.refused or run.counts.failed:
            raise typer.Exit(ITEMS_FAILED)


class _Run:
    """Results of a run so far, its progress and its table."""

    def __init__(
        self, options: BulkOptions, destination: Destination, rows: Rows, total: int
    ) -> None:
        self._options, self._destination, self._rows = options, destination, rows
        self.counts = Counts(total)
        self._console: Console = make_console()
        self._stop = Stop()
        self._began = self._printed_at = time.monotonic()
        self._listed = 0

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Stop the run at SIGINT and SIGTERM."""
        before = {each: signal.signal(each, self._stop) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def driver(self, pool: Pool, digests: Mapping[str, str]) -> Driver:
        """Return the driver of the run."""
        return Driver(
            pool,
            self._destination,
            digests,
            self._options.config,
            counts=self.counts,
            on_result=self._result,
            on_progress=self._progress,
            stop=self._stop,
        )

    def write_tables(self, checked: Checked, shard: Shard, scratch: Path) -> None:
        """Write the table; of several shards the one that ends last writes that of all."""
        if shard.count == 1:
            self._write_table(self._rows, scratch)
            return
        folder = f"tables/{checked.digest[:16]}-{shard.count}"
        part = scratch / "part.jsonl"
        write_table(self._rows, part)
        self._destination.put(f"{folder}/{shard.index}.jsonl", part)
        with closing(Rows(scratch / "all.jsonl")) as rows:
            for index in range(shard.count):
                content = self._destination.read(f"{folder}/{index}.jsonl")
                if content is None:  # that shard is still running, and will write the table
                    return
                rows.add_all(content)
            self._write_table(rows, scratch)

    def _write_table(self, rows: Rows, scratch: Path) -> None:
        name = f"results.{self._options.table}"
        write_table(rows, scratch / name)
        self._destination.put(name, scratch / name)

    def print_summary(self, place: str) -> None:
        """Print the number of items in each state."""
        counts = self.counts
        parts = {
            "kept": counts.kept, "made": counts.made,
            "refused": counts.refused, "failed": counts.failed,
        }  # fmt: skip
        states = ", ".join(f"{number} {state}" for state, number in parts.items() if number)
        seconds = time.monotonic() - self._began
        shown = place.partition("?")[0]
        self._console.print(
            f"{counts.done} of {counts.total} items in {shown}: {states or 'none'}  "
            f"{seconds:.1f} s",
            soft_wrap=True,
        )

    def _result(self, result: Result) -> None:
        self._rows.add(result.row())
        if result.state is State.SUCCEEDED:
            return
        self._listed += 1
        if self._listed <= LISTED:
            error = result.error or {"code": "", "detail": ""}
            warn(f"{result.item}: {result.state}: {error['detail']} ({error['code']})")
        elif self._listed == LISTED + 1:
            warn("more items failed; the table lists all")

    def _progress(self, counts: Counts) -> None:
        now = time.monotonic()
        if now - self._printed_at < LINE_SECONDS:
            return
        self._printed_at = now
        left = counts.seconds_left
        words = [f"  {counts.done} of {counts.total}", f"{counts.rate:.2f} items/s"]
        if counts.refused + counts.failed:
            words.append(f"{counts.refused + counts.failed} failed")
        if left is not None:
            minutes, seconds = divmod(round(left), 60)
            words.append(f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left")
        self._console.print("  ".join(words))


def _shard() -> Shard:
    """Return the shard of this pod of an Indexed Job."""
    values = []
    for name in ("JOB_COMPLETION_INDEX", "JOB_COMPLETION_COUNT"):
        text = os.environ.get(name, "")
        if not text.isdecimal():
            fail(
                f"{name}: invalid value {text!r}; --engine k8s runs in pods of an Indexed Job, "
                "see k8s/bulk",
                MISUSED,
            )
        values.append(int(text))
    index, count = values
    if index >= count:
        fail(f"JOB_COMPLETION_INDEX: {index} is not below JOB_COMPLETION_COUNT {count}", MISUSED)
    return Shard(index, count)


def _person_digests(checked: Checked, settings: Settings) -> dict[str, str]:
    """Return the digest of each person. Raises: ManifestError: for an unknown or unfit one."""
    digests = {}
    for name, wanted in checked.people.items():
        try:
            person = find_person(settings.people, name)
            person.check_outputs(sorted(wanted.outputs))
            for use in wanted.uses:
                person.check_use(use, settings.use)
        except PersonUnknown as error:
            reason = f" ({error.reason})" if error.reason else ""
            raise ManifestError(f"line {wanted.line}: person: {error}{reason}") from error
        except ConsentRefused as error:
            raise ManifestError(f"items of {name!r}: {error}") from error
        except ValueError as error:  # of an output; its message names the field
            raise ManifestError(f"items of {name!r}: {error}") from error
        digests[name] = person.digest
    return digests


def _pool(options: BulkOptions, settings: Settings, place: str) -> Pool:
    gpus = _gpus() if settings.device == "auto" else 0
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    workers = options.workers or gpus or cores
    threads = settings.threads or max(1, cores // workers)
    each = settings.model_copy(update={"threads": threads})
    place = place if is_s3_url(place) else str(Path(place).absolute())
    if options.engine == "ray":
        with needing("ray"):
            from worker.bulk.ray_pool import RayPool
        return RayPool([each] * workers, place, gpus=settings.device == "auto" and gpus > 0)
    from worker.bulk.local_pool import LocalPool

    if not gpus:
        return LocalPool([each] * workers, place)
    devices = [f"cuda:{slot % gpus}" for slot in range(workers)]
    return LocalPool([each.model_copy(update={"device": name}) for name in devices], place)


def _gpus() -> int:
    """Return the number of GPUs of this machine that this process may use, without torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([each for each in visible.split(",") if each.strip() and each != "-1"])
    return len(list(GPUS.iterdir())) if GPUS.is_dir() else 0
