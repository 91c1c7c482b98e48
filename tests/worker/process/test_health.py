"""Health check of a worker before its next claim."""

import errno
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from jobs.database import Database
from jobs.maintenance.storage_root import check_owner, prepare_storage
from jobs.settings import Settings
from jobs.storage.factory import LocalStorage, StorageError, open_storage
from tests.api_server import write_person
from worker.pipeline.media.container import X264
from worker.process.faults.health import HealthCheck
from worker.process.scratch import scratch_folder


@pytest.fixture
def health(database: Database, tmp_path: Path) -> Iterator[HealthCheck]:
    storage = open_storage(Settings(data=tmp_path / "data"))
    prepare_storage(database.engine, storage)
    with scratch_folder(tmp_path / "scratch") as scratch:
        yield HealthCheck(
            scratch,
            storage,
            check_owner=partial(check_owner, database.engine),
            people=write_person(tmp_path / "people", "demo"),
            device=torch.device("cpu"),
            encoder=X264,
        )


def part_of(health: HealthCheck) -> str | None:
    obstacle = health.obstacle()
    return None if obstacle is None else obstacle.part


def test_a_healthy_worker_has_no_obstacle_and_leaves_no_files(health: HealthCheck) -> None:
    assert health.obstacle() is None

    assert [path.name for path in health.scratch.path.iterdir()] == ["lock"]
    assert isinstance(health.storage, LocalStorage)
    files = [path.name for path in health.storage.folder.rglob("*") if path.is_file()]
    assert files == ["database.txt"]


def test_a_full_disk_and_a_failing_storage_are_reported(
    health: HealthCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fail(key: str, path: Path, content_type: str) -> None:
        raise StorageError("no response")

    with monkeypatch.context() as patch:
        patch.setattr(health.storage, "put", fail)
        assert str(health.obstacle()) == "storage: no response"
    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left on device" in str(health.obstacle())


def test_scratch_that_was_removed_is_reported_once_and_made_again(health: HealthCheck) -> None:
    shutil.rmtree(health.scratch.path.parent)

    assert [part_of(health), part_of(health)] == ["scratch", None]


@pytest.mark.parametrize("state", ["absent", "empty", "of another database"])
def test_a_storage_that_is_not_mounted_is_reported_and_not_made_again(
    health: HealthCheck, state: str
) -> None:
    assert isinstance(health.storage, LocalStorage)
    root = health.storage.folder
    mounted = root.rename(root.parent / "elsewhere")
    if state != "absent":
        root.mkdir()
    if state == "of another database":
        health.storage.make_root("another")

    assert part_of(health) == "storage"

    assert root.exists() is (state != "absent")
    shutil.rmtree(root, ignore_errors=True)
    mounted.rename(root)
    assert health.obstacle() is None


@pytest.mark.parametrize("state", ["absent", "empty"])
def test_people_that_are_not_mounted_are_reported(health: HealthCheck, state: str) -> None:
    mounted = health.people.rename(health.people.parent / "elsewhere")
    if state == "empty":
        health.people.mkdir()

    assert part_of(health) == "people"

    shutil.rmtree(health.people, ignore_errors=True)
    mounted.rename(health.people)
    assert health.obstacle() is None


def test_an_encoder_that_is_missing_is_reported(
    health: HealthCheck, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no-ffmpeg"))

    assert part_of(health) == "encoder"


@pytest.mark.parametrize("fault", ["missing", "not executable", "crashes"])
def test_a_decoder_that_reads_no_clip_is_reported(
    health: HealthCheck, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str
) -> None:
    program = tmp_path / "decoder"
    if fault != "missing":
        program.write_text("#!/bin/sh\nexit 1\n")
        program.chmod(0o755 if fault == "crashes" else 0o644)
    monkeypatch.setattr(
        "worker.pipeline.media.decode.read_command", lambda *clip, **options: [str(program)]
    )

    assert part_of(health) == "decoder"


def test_a_device_that_computes_no_more_is_reported(
    health: HealthCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.faults.health.works", lambda device: False)

    assert part_of(health) == "device"
