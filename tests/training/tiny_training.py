"""A tiny training of each network by its command, in a process that tests may kill."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models import checkpoint
from models.motion.tokenizer import Tokenizer, TokenizerConfig
from tests.training.scenes import write_scene
from training.__main__ import main
from training.loop.checkpoints import CheckpointStore
from training.person_directory import prepare

FRAMES = 150
AUDIO = 160  # width of the front end of a new person
NETWORKS = {
    "face": f"channels = 256\naudio_channels = {AUDIO}\nwidth = 16\nlayers = 1\nheads = 2\n"
    "hidden = 16\nlongest_rows = 120\ndropout = 0.1\n",
    "body": f"channels = 104\naudio_channels = {AUDIO}\nwidth = 16\nlayers = 1\nheads = 2\n"
    "hidden = 16\nlongest_rows = 120\nlongest_keys = 4\ntail_hidden = 8\ndropout = 0.1\n",
    "tokenizer": "width = 8\ncodes = 8\ndepth = 2\n",
    "guide": f"codes = 8\naudio_channels = {AUDIO}\naudio_blocks = 1\nwidth = 16\nlayers = 1\n"
    "heads = 2\nhidden = 16\nlongest_rows = 120\ndropout = 0.1\n",
}
RECIPE = """
level_jitter = 0.1
tail_dropout = {tail}
validation_scenes = 1
[network]
{network}
[[windows]]
frames = 60
batch = {batch}
[[windows]]
frames = 90
batch = {batch}
[loop]
schedule = {{ kind = "constant", rate = 5e-3 }}
average = 0.9
clip = 1.0
save_seconds = {save_seconds}
validate_steps = 7
validate_draws = 1
log_steps = 5
"""


def write_person(folder: Path) -> Path:
    """Write two short scenes and a person with a tokenizer for them; return her folder."""
    for name, frames in (("a", FRAMES), ("b", FRAMES - 30)):
        write_scene(folder / "data", name, frames)
    person = folder / "ada"
    prepare(person, folder / "data")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = TokenizerConfig(width=8, codes=8, depth=2)
        weights = Tokenizer(config).state_dict()
    checkpoint.write(person / "tokenizer.safetensors", asdict(config), weights)
    return person


def write_recipe(
    path: Path, name: str, *, batch: int = 4, save_seconds: float = 60.0, dropout: bool = True
) -> Path:
    network = NETWORKS[name] if dropout else NETWORKS[name].replace("0.1", "0.0")
    tail = 0.1 if name == "body" and dropout else 0.0
    path.write_text(
        RECIPE.format(network=network, tail=tail, batch=batch, save_seconds=save_seconds)
    )
    return path


def arguments_of(folder: Path, name: str, recipe: Path, work: Path, steps: int) -> list[str]:
    """Arguments of the command."""
    return [
        name, "--data", str(folder / "data"), "--out", str(folder / "ada"), "--work", str(work),
        "--config", str(recipe), "--steps", str(steps), "--device", "cpu", "--no-board",
    ]  # fmt: skip


def train(arguments: list[str]) -> None:
    """Do the same as `python -m training`, for a separate process."""
    sys.argv = ["training", *arguments]
    main()


def end_of(work: Path, name: str, steps: int) -> dict[str, Any]:
    """Return the last checkpoint of a complete run, without its clock."""
    end = CheckpointStore(work / name).latest()
    assert end is not None
    assert end["progress"]["step"] == steps
    del end["progress"]["seconds"]
    return end


def weights_of(path: Path) -> dict[str, np.ndarray]:
    return {
        name: value.numpy()
        for name, value in checkpoint.read(path, device=torch.device("cpu"))[1].items()
    }


def same(one: object, other: object) -> bool:
    """Compare nested values bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        assert isinstance(other, type(one))
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
