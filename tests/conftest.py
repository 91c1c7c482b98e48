"""Threads of the test processes, logging as it was before each test, the report of CPU time."""

import logging
import os
from collections.abc import Iterator

import pytest

from tests.malicious_files import Attack, attacks


def pytest_configure() -> None:
    """Give each process of the tests one thread: the workers of pytest-xdist fill the cores.

    Runs before torch is imported; workers and child processes inherit the environment.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


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
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def malicious_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Attack]:
    """Files that attack their reader, see tests/malicious_files.py."""
    return attacks(tmp_path_factory.mktemp("malicious-files"))
