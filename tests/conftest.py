"""What every test leaves as it found it."""

import logging
from collections.abc import Iterator

import pytest

from tests.malicious_files import Attack, attacks


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands that run in this process configure logging, onto a stream that ends with them."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def malicious_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Attack]:
    """Files that attack whoever reads them: see tests/malicious_files.py."""
    return attacks(tmp_path_factory.mktemp("malicious-files"))
