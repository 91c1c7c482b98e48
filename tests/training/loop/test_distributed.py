"""Two processes of torchrun train like one: same curve, same files."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import tiny_training
from training.loop.checkpoints import CheckpointStore
from training.loop.distributed import choose_device

ROOT = Path(__file__).parents[3]
STEPS = 30
TIMEOUT = 300.0  # seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    tiny_training.write_person(folder)
    return folder


def run_in_two_processes(arguments: list[str]) -> str:
    """Run the command in two processes as a user does; return their log."""
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, "-m", "training", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stderr


def run_in_one_process(arguments: list[str], caplog: pytest.LogCaptureFixture) -> str:
    """Run the command in this process; return its log."""
    with caplog.at_level(logging.INFO, "training.loop.loop"):
        tiny_training.train(arguments)
    return caplog.text


def curve(log: str) -> dict[int, float]:
    """Logged losses by step; each step is logged once."""
    logged = re.findall(r"step (\d+) of .*?  loss (\S+)", log)
    assert len(logged) == len({step for step, _ in logged}), log
    return {int(step): float(loss) for step, loss in logged}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["face", "tokenizer"])
def test_two_processes_train_like_one(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Each of the two processes trains on half of the global batch; test_engines resumes."""
    recipe = tiny_training.write_recipe(tmp_path / "recipe.toml", name, dropout=False)

    def arguments(work: str) -> list[str]:
        return tiny_training.arguments_of(folder, name, recipe, tmp_path / work, STEPS)

    one = curve(run_in_one_process(arguments("one"), caplog))
    weights_of_one = tiny_training.weights_of(folder / "ada" / f"{name}.safetensors")
    two = curve(run_in_two_processes(arguments("two")))
    weights_of_two = tiny_training.weights_of(folder / "ada" / f"{name}.safetensors")

    assert two.keys() == one.keys() == set(range(5, STEPS + 1, 5))
    assert list(two.values()) == pytest.approx(list(one.values()), rel=1e-3)
    assert one[STEPS] < one[5]
    checkpoints = [CheckpointStore(tmp_path / work / name).latest() for work in ("one", "two")]
    assert checkpoints[0] is not None
    assert checkpoints[1] is not None
    assert (
        checkpoints[1]["model"].keys() == checkpoints[0]["model"].keys()
    )  # without the prefix `module.` of DDP
    assert torch.equal(checkpoints[0]["generator"], checkpoints[1]["generator"])
    assert not torch.equal(*checkpoints[1]["random"])  # each process has its own dropout
    assert weights_of_two.keys() == weights_of_one.keys()
    for key, value in weights_of_one.items():
        spread = max(1e-3, float(value.std()))
        assert np.abs(weights_of_two[key] - value).mean() < 0.01 * spread, key


def test_a_missing_gpu_is_reported() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    if torch.cuda.is_available():
        assert choose_device("auto") == torch.device("cuda", 0)
    else:
        assert choose_device("auto") == torch.device("cpu")
        with pytest.raises(ValueError, match="finds no GPU here; try --device cpu"):
            choose_device("cuda")
