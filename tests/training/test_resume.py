"""A run killed with SIGKILL at any moment resumes bit for bit."""

import multiprocessing
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training import tiny_training
from training.loop.checkpoints import CheckpointStore
from training.networks.recipes import NETWORKS

STEPS = 100_000  # more than before the kill
MORE = 12  # after it
TIMEOUT = 120.0  # seconds


@pytest.fixture(scope="module")
def forked() -> multiprocessing.context.ForkServerContext:
    """Processes of a fork server that has imported torch without using it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.tiny_training"])
    return context


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    tiny_training.write_person(folder)
    return folder


def wait(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_killed_run_resumes_to_the_same_end(
    tmp_path: Path, folder: Path, forked: multiprocessing.context.ForkServerContext, name: str
) -> None:
    frequent_saves = tiny_training.write_recipe(tmp_path / "hasty.toml", name, save_seconds=0.02)
    recipe = tiny_training.write_recipe(tmp_path / "recipe.toml", name)
    work = tmp_path / "work"
    checkpoints = CheckpointStore(work / name)
    process = forked.Process(
        target=tiny_training.train,
        args=(tiny_training.arguments_of(folder, name, frequent_saves, work, STEPS),),
    )
    process.start()
    wait(lambda: len(checkpoints.paths()) >= 2 or not process.is_alive(), "no checkpoint was saved")
    time.sleep(random.uniform(0, 0.2))
    assert process.is_alive()
    process.kill()
    process.join()
    assert process.exitcode == -9

    reached = checkpoints.latest()
    assert reached is not None
    steps = reached["progress"]["step"] + MORE
    assert reached["progress"]["step"] > 0
    tiny_training.train(tiny_training.arguments_of(folder, name, recipe, work, steps))
    shutil.copyfile(folder / "ada" / f"{name}.safetensors", tmp_path / "resumed.safetensors")
    tiny_training.train(tiny_training.arguments_of(folder, name, recipe, tmp_path / "whole", steps))

    assert (tmp_path / "resumed.safetensors").read_bytes() == (
        folder / "ada" / f"{name}.safetensors"
    ).read_bytes()
    resumed, whole = checkpoints.latest(), CheckpointStore(tmp_path / "whole" / name).latest()
    assert resumed is not None
    assert whole is not None
    for checkpoint in (resumed, whole):
        assert checkpoint["progress"].pop("seconds") > 0
        assert checkpoint["progress"]["step"] == steps
    assert tiny_training.same(resumed, whole)
