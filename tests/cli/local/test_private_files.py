"""Files of the service are for its user only, whatever the umask of the shell is."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.local.embedded_redis import EmbeddedRedis
from cli.local.supervisor import Child, Command
from jobs.db.engine import connect, writing
from jobs.db.migrate import upgrade
from jobs.settings import Settings


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    before = os.umask(0o000)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """Modes of the folder and of all files and folders below it, by path."""
    paths = [folder, *folder.rglob("*")]
    return {str(each.relative_to(folder)): stat.S_IMODE(each.stat().st_mode) for each in paths}


def test_database_and_secret_are_private(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "a" / "data")
    upgrade(settings.database_url)
    settings.signing_key()
    engine = connect(settings.database_url)
    with writing(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE written (x)")
        found = modes(settings.data)  # with -wal and -shm
    engine.dispose()

    assert len(found) >= 5
    assert {mode & 0o077 for mode in found.values()} == {0}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


@pytest.mark.services
def test_the_queue_is_private(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis"):
        found = modes(tmp_path / "redis")

    assert any("appendonly" in name for name in found)
    assert {mode & 0o077 for name, mode in found.items() if name != "lock"} == {0}


def test_logs_and_files_of_children_are_private(tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'made')!r}, 'w').close(); print('a line')"
    child = Child(Command("child", ["-c", program], {}, tmp_path / "logs" / "child.log"))
    child.start()
    assert child.process is not None
    assert child.process.wait(30) == 0

    assert child.log_tail() == "a line"
    assert modes(tmp_path / "logs") == {".": 0o700, "child.log": 0o600}
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o600
