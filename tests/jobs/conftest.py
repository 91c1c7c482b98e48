"""Databases, storages and clocks on real servers, started for the tests."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from jobs.database import Database, StoreConfig, stores_on
from jobs.db.engine import connect, writing
from jobs.db.tables import metadata
from jobs.settings import Settings
from jobs.storage.factory import LocalStorage, S3Storage, open_storage
from jobs.store.job_rows import JobLimits
from tests.clock import Clock
from tests.postgresql import postgresql
from tests.s3_server import CREDENTIALS, s3_server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """URL of a PostgreSQL with the newest schema."""
    with postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database with the newest schema, on either server."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    url = str(request.getfixturevalue("postgresql_url"))
    engine = connect(url)
    with writing(engine) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
    return url


@pytest.fixture
def database(database_url: str, clock: Clock) -> Iterator[Database]:
    config = StoreConfig(lease_seconds=15, wake_seconds=10, jobs=JobLimits(max_attempts=3))
    opened = stores_on(connect(database_url), config, clock=clock)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def s3_settings(s3_credentials: None, s3_address: str, tmp_path: Path) -> Settings:
    client = boto3.client("s3", endpoint_url=s3_address, region_name="us-east-1")
    client.create_bucket(Bucket="bucket")
    client.close()
    url = f"s3://bucket/{tmp_path.name}?endpoint_url={s3_address}&region=us-east-1"
    return Settings(data=tmp_path, storage_url=url)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.services)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalStorage | S3Storage]:
    if request.param == "folder":
        local = open_storage(Settings(data=tmp_path / "a folder"))
        local.make_root("identity")
        yield local
        return
    opened = open_storage(request.getfixturevalue("s3_settings"))
    yield opened
    opened.close()
