"""After a kill, all processes start again and end with the bits of an undisturbed run."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.training import tiny_training
from training.loop.checkpoints import CheckpointStore

ROOT = Path(__file__).parents[3]
STEPS = 120
TIMEOUT = 1200.0  # seconds
# Command lines of the processes that train.
TRAINING = {"torchrun": "-u -m training", "ray": "RayTrainWorker"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    tiny_training.write_person(folder)
    return folder


def wait(condition: Callable[[], object], process: subprocess.Popen[str], pause: float) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(pause)


def pids(process: subprocess.Popen[str], engine: str) -> list[int]:
    """Ids of the processes that train, in order."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            command = " ".join(child.cmdline())
        except psutil.Error:  # it has ended
            continue
        if TRAINING[engine] in command:
            found.append(child.pid)
    return sorted(found)


def run(folder: Path, engine: str, recipe: Path, work: Path, *, kill: int | None) -> str:
    """Train in two processes, of which one may be killed after a checkpoint; return the log.

    Another working folder has modules with names of this project.
    """
    for name in ("models", "training"):
        (folder / f"{name}.py").write_text("raise ImportError('a module of the user')\n")
    arguments = tiny_training.arguments_of(folder, "face", recipe, work, STEPS)
    log = work.with_suffix(".log")
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "training", *arguments, "--engine", engine,
             "--processes", "2", "--restarts", "1"],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=output,
            text=True,
        )  # fmt: skip
    try:
        if kill is not None:
            wait(lambda: len(pids(process, engine)) == 2, process, 0.3)  # each look is expensive
            victim = psutil.Process(pids(process, engine)[kill])
            wait(CheckpointStore(work / "face").paths, process, 0.02)
            victim.kill()
        assert process.wait(TIMEOUT) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    return log.read_text()


def curve(log: str) -> dict[int, str]:
    """Logged losses by step; after the kill, steps are logged again."""
    return dict(
        (int(step), rest) for step, rest in re.findall(r"step (\d+) of .*?  (loss .*?  )", log)
    )


@pytest.mark.slow
@pytest.mark.longest
def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(
    tmp_path: Path, folder: Path
) -> None:
    recipe = tiny_training.write_recipe(tmp_path / "recipe.toml", "face", save_seconds=0.1)

    def end(name: str) -> dict[str, Any]:
        return tiny_training.end_of(tmp_path / name, "face", STEPS)

    whole = run(folder, "torchrun", recipe, tmp_path / "whole", kill=None)

    for engine, victim in (("ray", 1),):
        killed = run(folder, engine, recipe, tmp_path / engine, kill=victim)

        assert "resumed at step" in killed, engine
        # A process that is asked to stop, or is slow, logs its step, too.
        assert curve(killed).items() >= curve(whole).items(), engine
        assert tiny_training.same(end(engine), end("whole")), engine
    assert curve(whole).keys() == set(range(5, STEPS + 1, 5))
