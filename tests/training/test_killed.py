"""Killed with SIGKILL at any moment, a run goes on as if it had not been: bit for bit."""

import multiprocessing
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training import killed
from training.loop.checkpoints import States
from training.networks.recipes import NETWORKS

STEPS = 100_000  # more than are done before the kill
MORE = 12  # after it
PATIENCE = 120.0  # seconds


@pytest.fixture(scope="module")
def forked() -> multiprocessing.context.ForkServerContext:
    """Processes of a server that has imported torch and done nothing with it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.killed"])
    return context


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    killed.write_person(folder)
    return folder


def wait(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_run_that_was_killed_ends_where_a_whole_one_does(
    tmp_path: Path, folder: Path, forked: multiprocessing.context.ForkServerContext, name: str
) -> None:
    hasty = killed.write_recipe(tmp_path / "hasty.toml", name, save_seconds=0.02)
    recipe = killed.write_recipe(tmp_path / "recipe.toml", name)
    work = tmp_path / "work"
    states = States(work / name)
    process = forked.Process(
        target=killed.train, args=(killed.words(folder, name, hasty, work, STEPS),)
    )
    process.start()
    wait(lambda: len(states.paths()) >= 2 or not process.is_alive(), "no state was saved")
    time.sleep(random.uniform(0, 0.2))
    assert process.is_alive()
    process.kill()
    process.join()
    assert process.exitcode == -9

    reached = states.newest()
    assert reached is not None
    steps = reached["progress"]["step"] + MORE
    assert reached["progress"]["step"] > 0
    killed.train(killed.words(folder, name, recipe, work, steps))
    shutil.copyfile(folder / "ada" / f"{name}.safetensors", tmp_path / "resumed.safetensors")
    killed.train(killed.words(folder, name, recipe, tmp_path / "whole", steps))

    assert (tmp_path / "resumed.safetensors").read_bytes() == (
        folder / "ada" / f"{name}.safetensors"
    ).read_bytes()
    resumed, whole = states.newest(), States(tmp_path / "whole" / name).newest()
    assert resumed is not None
    assert whole is not None
    for state in (resumed, whole):
        assert state["progress"].pop("seconds") > 0
        assert state["progress"]["step"] == steps
    assert same(resumed, whole)


def same(one: object, other: object) -> bool:
    """Bit for bit, all the way down."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        assert isinstance(other, type(one))
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
