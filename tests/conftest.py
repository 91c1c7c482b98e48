"""Threads and temporary files of the test processes, their report of CPU time, shared fixtures."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.malicious_files import Attack

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 * 2**30  # free, many times what the tests write
PAGE = Path(__file__).with_name("page")  # its tests share a service and a browser
LENGTHS = ("longest", "slow")  # markers
OBJECTS_OF_A_ROUND = 50_000  # of garbage collection
SHORT = len(LENGTHS)


def _set_environment() -> None:
    """Set the environment that workers of pytest-xdist and child processes inherit.

    One thread per process, because the workers fill the cores.
    Temporary files in memory where possible, because databases wait for the disk at each commit.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Modules are compiled once, not by every process, also where a container sets this variable.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # Keys of commands without a data folder are not those of the user who runs the tests.
    os.environ["XDG_DATA_HOME"] = tempfile.gettempdir() + f"/visavis-tests-{os.getuid()}"
    compiled = Path(tempfile.gettempdir(), f"torchinductor_{os.getuid()}")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(compiled))  # on disk, for the next run
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    # Kernels of earlier runs, also for a test that sets another folder for caches.
    os.environ.setdefault("WARP_CACHE_PATH", str(Path(caches, "warp")))
    if "TMPDIR" not in os.environ and _has_room(MEMORY):
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # read the environment again


def _has_room(folder: Path) -> bool:
    """True if files can be written and executed in a folder, and enough space is free."""
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return False
    executable = not os.statvfs(folder).f_flag & os.ST_NOEXEC
    return executable and shutil.disk_usage(folder).free > MEMORY_BYTES


def _set_hypothesis() -> None:
    """Draw the same examples in every run, and set no limit of time: machines may be busy."""
    try:
        import hypothesis
    except ImportError:  # a machine with a GPU, torch and nothing else
        return
    hypothesis.settings.register_profile(
        "suite",
        deadline=None,
        derandomize=True,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("suite")


_set_environment()  # now, because numpy and torch read it when they are imported
_set_hypothesis()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Keep the counts of pytest-rerunfailures in each worker.

    It would send them to the controller, to which each short test waits 5 to 40 ms. They are read
    only after a crash of the worker, which fails the run now.
    """
    sent = getattr(session.config, "failures_db", None)
    if sent is not None and hasattr(session.config, "workerinput"):
        from pytest_rerunfailures import StatusDB

        sent.sock.close()
        session.config.failures_db = StatusDB()


class Folder(pytest.Package):
    """Folder of tests without `__init__.py`, after whose last test fixtures of its scope end.

    The scope is `package`. For pytest such folders are no packages, and it would keep services of
    one folder until the end of the run.
    """

    def setup(self) -> None:
        """Import nothing: there is no `__init__.py`."""


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> Folder:
    """Collect every folder with a scope."""
    folder: Folder = Folder.from_parent(parent, path=path)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import the tests without garbage collection, and leave their modules out of it afterwards.

    They stay to the end, and every round would visit all of them. Later rounds are rarer than by
    default, which is one for each 700 new objects.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(OBJECTS_OF_A_ROUND, *gc.get_threshold()[1:])
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the modules with long tests to the workers: each starts with its share, none ends so.

    pytest-xdist gives every worker an equal part of this list. A worker without tests takes some
    from the end of the longest rest, so tests that share a service are near the start of a part.
    """
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    lengths = {path: min(map(_length, tests)) for path, tests in modules.items()}
    long = sorted(
        (path for path, length in lengths.items() if length < SHORT and path.parent != PAGE),
        key=lengths.__getitem__,
    )
    rest = [path for path in modules if path not in long]
    rest.sort(key=lambda path: path.parent != PAGE)
    short = [item for path in rest for item in modules[path]]
    left = len(items)
    items.clear()
    for number in range(workers):
        share = [item for path in long[number::workers] for item in modules[path]]
        fill = max(0, left // (workers - number) - len(share))
        share += short[:fill]
        del short[:fill]
        left -= len(share)
        items += share


def _length(item: pytest.Item) -> int:
    """Return the place of a test among LENGTHS, or SHORT."""
    marked = (place for place, name in enumerate(LENGTHS) if item.get_closest_marker(name))
    return next(marked, SHORT)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print a failure at once: a run that is stopped from outside prints no summary.

    A test that fails once and then succeeds is a defect, too: of the test, or of the product under
    load. It does not fail the run, and its failure is printed here and listed at the end.
    """
    if report.outcome in ("failed", "rerun") and "PYTEST_XDIST_WORKER" not in os.environ:
        sys.stderr.write(f"\n{report.when} of {report.nodeid} failed:\n{report.longreprtext}\n")


def pytest_sessionfinish() -> None:
    """End what would not end before this process, and would be missing in its CPU time."""
    if forked := sys.modules.get("tests.forked"):
        forked.stop_server()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the CPU time of the run: pytest-xdist has waited for its workers at this point."""
    used = os.times()
    seconds = used.user + used.system + used.children_user + used.children_system
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    terminalreporter.write_line(
        f"{seconds:.0f} CPU seconds, child processes included; "
        f"load average {load} on {os.cpu_count()} cores"
    )


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Restore handlers and level: commands in this process log to a stream that closes."""
    root = logging.getLogger()
    handlers, level, disabled = root.handlers[:], root.level, logging.root.manager.disable
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.disable(disabled)


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    """Restore the number of torch's threads, which commands in this process set."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SQLite database with the newest schema, for copies."""
    from jobs.db.migrate import upgrade

    path = tmp_path_factory.mktemp("database") / "visavis.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(empty_database: Path, tmp_path: Path) -> str:
    """URL of an empty SQLite database with the newest schema."""
    return f"sqlite:///{shutil.copyfile(empty_database, tmp_path / 'visavis.db')}"


@pytest.fixture(scope="session")
def malicious_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Attack]:
    """Files that attack their reader, see tests/malicious_files.py."""
    from tests.malicious_files import attacks

    return attacks(tmp_path_factory.mktemp("malicious-files"))
