"""Two processes of torchrun learn what one does: the same curve, the same files, gone on from."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import killed
from training.loop.checkpoints import States
from training.loop.distributed import chosen_device

ROOT = Path(__file__).parents[3]
STEPS = 30
PATIENCE = 300.0  # seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    killed.write_person(folder)
    return folder


def run_by_two(words: list[str]) -> str:
    """The command as a user gives it to two processes; answers what they log."""
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, "-m", "training", *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stderr


def run_by_one(words: list[str], caplog: pytest.LogCaptureFixture) -> str:
    """The same here."""
    with caplog.at_level(logging.INFO, "training.loop.loop"):
        killed.train(words)
    return caplog.text


def curve(log: str) -> dict[int, float]:
    """Logged losses by step, each told once."""
    found = re.findall(r"step (\d+) of .*?  loss (\S+)", log)
    assert len(found) == len({step for step, _ in found}), log
    return {int(step): float(loss) for step, loss in found}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stops"), [("face", (13, STEPS)), ("tokenizer", (STEPS,))])
def test_two_processes_go_the_way_of_one(
    tmp_path: Path,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    stops: tuple[int, ...],
) -> None:
    """A batch is that of all processes together: each of the two has half of it."""
    recipe = killed.write_recipe(tmp_path / "recipe.toml", name, dropout=False)

    def words(work: str, steps: int) -> list[str]:
        return killed.words(folder, name, recipe, tmp_path / work, steps)

    one = curve(run_by_one(words("one", STEPS), caplog))
    alone = killed.weights_of(folder / "ada" / f"{name}.safetensors")
    log = "".join(run_by_two(words("two", steps)) for steps in stops)
    together = killed.weights_of(folder / "ada" / f"{name}.safetensors")

    assert log.count("goes on at step 13") == len(stops) - 1
    two = {step: loss for step, loss in curve(log).items() if step not in stops[:-1]}
    assert two.keys() == one.keys() == set(range(5, STEPS + 1, 5))
    assert list(two.values()) == pytest.approx(list(one.values()), rel=1e-3)
    assert one[STEPS] < one[5]
    states = [States(tmp_path / work / name).newest() for work in ("one", "two")]
    assert states[0] is not None
    assert states[1] is not None
    assert states[1]["model"].keys() == states[0]["model"].keys()  # nobody's `module.`
    assert torch.equal(states[0]["generator"], states[1]["generator"])
    assert not torch.equal(*states[1]["random"])  # of dropout, each its own
    assert together.keys() == alone.keys()
    for key, value in alone.items():
        spread = max(1e-3, float(value.std()))
        assert np.abs(together[key] - value).mean() < 0.01 * spread, key


def test_a_gpu_that_is_not_there_is_told() -> None:
    assert chosen_device("cpu") == torch.device("cpu")
    if torch.cuda.is_available():
        assert chosen_device("auto") == torch.device("cuda", 0)
    else:
        assert chosen_device("auto") == torch.device("cpu")
        with pytest.raises(ValueError, match="finds no GPU here; try --device cpu"):
            chosen_device("cuda")
