"""Checkpoints on disk: atomic writes, a limited number, and corrupt files."""

import logging
from pathlib import Path

import pytest
import torch

from training.loop.checkpoints import CheckpointStore, ResumeError


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "run", keep=3)
    for step in (1, 5, 20, 100):
        store.save(step, {"step": step, "weights": torch.full((1000,), float(step))})
    return store


def test_the_last_checkpoints_are_kept_by_step(store: CheckpointStore) -> None:
    assert [path.name for path in store.paths()] == [
        f"step-{step:08d}.state" for step in (5, 20, 100)
    ]
    latest = store.latest()
    assert latest is not None
    assert latest["step"] == 100
    assert latest["weights"].eq(100).all()


def test_a_missing_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "missing").latest() is None


def corrupt(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[content.index(torch.full((8,), 100.0).numpy().tobytes())] ^= 1
    length = {"flipped": len(content), "cut": len(content) // 2, "empty": 0}[how]
    path.write_bytes(content[:length])


@pytest.mark.parametrize("how", ["flipped", "cut", "empty"])
def test_a_corrupt_latest_checkpoint_is_logged_and_the_one_before_loaded(
    store: CheckpointStore, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    corrupt(store.paths()[-1], how)
    with caplog.at_level(logging.WARNING):
        latest = store.latest()
    assert latest is not None
    assert latest["step"] == 20
    assert "step-00000100.state is corrupt" in caplog.text
    assert "trying the checkpoint before it" in caplog.text


def test_a_run_with_only_corrupt_checkpoints_does_not_start_again(
    store: CheckpointStore,
) -> None:
    for path in store.paths():
        corrupt(path, "cut")
    with pytest.raises(ResumeError, match=r"all 3 checkpoints in .*run are corrupt; remove"):
        store.latest()


def test_a_failed_save_leaves_the_checkpoints_unchanged(store: CheckpointStore) -> None:
    before = sorted(store.folder.iterdir())
    with pytest.raises(Exception, match="pickle"):
        store.save(101, {"no": (lambda: 1)})
    assert sorted(store.folder.iterdir()) == before


def test_the_next_save_removes_the_draft_of_a_killed_one(store: CheckpointStore) -> None:
    draft = store.folder / ".step-00000101.state.77"
    draft.write_bytes(b"part")
    store.save(102, {"step": 102})
    assert not draft.exists()
