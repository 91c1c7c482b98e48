"""States on disk: whole or not at all, the last few, and what happens to damaged ones."""

import logging
from pathlib import Path

import pytest
import torch

from training.loop.checkpoints import StateError, States


@pytest.fixture
def states(tmp_path: Path) -> States:
    kept = States(tmp_path / "run", keep=3)
    for step in (1, 5, 20, 100):
        kept.save(step, {"step": step, "weights": torch.full((1000,), float(step))})
    return kept


def test_the_last_few_are_kept_by_step(states: States) -> None:
    assert [path.name for path in states.paths()] == [
        f"step-{step:08d}.state" for step in (5, 20, 100)
    ]
    newest = states.newest()
    assert newest is not None
    assert newest["step"] == 100
    assert newest["weights"].eq(100).all()


def test_where_none_was_saved_there_is_none(tmp_path: Path) -> None:
    assert States(tmp_path / "nothing").newest() is None


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[content.index(torch.full((8,), 100.0).numpy().tobytes())] ^= 1
    kept = {"flipped": len(content), "cut": len(content) // 2, "empty": 0}[how]
    path.write_bytes(content[:kept])


@pytest.mark.parametrize("how", ["flipped", "cut", "empty"])
def test_a_damaged_newest_state_is_told_and_the_one_before_taken(
    states: States, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    damage(states.paths()[-1], how)
    with caplog.at_level(logging.WARNING):
        newest = states.newest()
    assert newest is not None
    assert newest["step"] == 20
    assert "step-00000100.state is damaged" in caplog.text
    assert "going on from the state before it" in caplog.text


def test_where_all_are_damaged_the_run_does_not_begin_again_by_itself(states: States) -> None:
    for path in states.paths():
        damage(path, "cut")
    with pytest.raises(StateError, match=r"none of the 3 states in .*run is whole; remove"):
        states.newest()


def test_a_save_that_fails_leaves_the_states_as_they_were(states: States) -> None:
    before = sorted(states.folder.iterdir())
    with pytest.raises(Exception, match="pickle"):
        states.save(101, {"no": (lambda: 1)})
    assert sorted(states.folder.iterdir()) == before


def test_what_a_killed_save_left_behind_goes_with_the_next(states: States) -> None:
    draft = states.folder / ".step-00000101.state.77"
    draft.write_bytes(b"half")
    states.save(102, {"step": 102})
    assert not draft.exists()
