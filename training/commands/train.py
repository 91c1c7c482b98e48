"""`python -m training face | body | tokenizer | guide`: train a network.

In one process, or in several: `torchrun --nproc-per-node 2 -m training face ...`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from contracts.files import write_atomically
from training.loop.checkpoints import CheckpointStore
from training.loop.distributed import DEVICES, Processes, choose_device, process_group
from training.loop.loop import BEST, Progress, compile_layers, train
from training.loop.tensorboard import NULL_WRITER, FolderWriter, Writer
from training.networks.previews import preview_of
from training.networks.recipes import NETWORKS, Recipe, read_recipe
from training.networks.trainers import MOTION, Split, make_training, split
from training.person_directory import FeatureMode, complete, person_scenes, prepare

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from torch import Tensor

    from training.data.scenes import Scene
    from training.loop.loop import Training
    from training.loop.tensorboard import Picture

PROVENANCE = "provenance.txt"


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add one command per network."""
    for name in NETWORKS:
        command = commands.add_parser(name, help=f"train the {name} network of a person")
        command.add_argument("--data", type=Path, required=True, help="folder of scenes")
        command.add_argument("--out", type=Path, required=True, help="person directory")
        command.add_argument(
            "--work", type=Path, help="folder of checkpoints; default: .training in --out"
        )
        command.add_argument(
            "--config", default="demo", help="a recipe: demo, released, or a TOML file"
        )
        length = command.add_mutually_exclusive_group()
        length.add_argument("--steps", type=int, help="length of the run; default: the recipe's")
        length.add_argument("--minutes", type=float, help="length of the run by the clock")
        command.add_argument("--threads", type=int, default=1, help="threads of torch on a CPU")
        command.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")
        command.add_argument(
            "--compile", action="store_true", help="compile the layers with torch.compile"
        )
        command.add_argument(
            "--no-board", action="store_true", help="do not write scalars and previews"
        )
        command.set_defaults(run=run, network=name)


def run(arguments: argparse.Namespace) -> None:
    """Train until done or stopped; each checkpoint also updates the person directory."""
    torch.set_num_threads(arguments.threads)
    recipe = _recipe(arguments)
    device = choose_device(arguments.device)
    with process_group(device) as processes:
        _train(arguments, recipe, device, processes)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    """Read the recipe; options override it."""
    recipe = read_recipe(arguments.network, arguments.config)
    options = {"steps": arguments.steps, "minutes": arguments.minutes}
    changes = {name: value for name, value in options.items() if value is not None}
    return replace(recipe, loop=replace(recipe.loop, **changes))


@dataclass(frozen=True)
class RunPaths:
    """Paths of a run."""

    person: Path
    checkpoints: CheckpointStore
    board: Path


def run_paths(arguments: argparse.Namespace, keep: int) -> RunPaths:
    """Paths of a network's run: a folder with its name in the work folder."""
    work = (arguments.work or arguments.out / ".training") / arguments.network
    return RunPaths(arguments.out, CheckpointStore(work, keep), work / "board")


def _train(
    arguments: argparse.Namespace, recipe: Recipe, device: torch.device, processes: Processes
) -> None:
    name, paths = arguments.network, run_paths(arguments, recipe.loop.keep)
    mode = FeatureMode.NONE if name == "tokenizer" else FeatureMode.CACHED

    def scenes() -> list[Scene]:
        return person_scenes(paths.person, arguments.data, MOTION[name], mode=mode, device=device)

    if processes.is_main:
        prepare(paths.person, arguments.data)
        scenes()
    processes.maximum([0.0])  # all wait until rank 0 has written statistics and features
    parts = split(recipe, scenes())
    torch.manual_seed(recipe.loop.seed)  # initial weights
    training = make_training(name, recipe, paths.person, parts)
    if arguments.compile:
        compile_layers(training.model)
    writer: Writer = NULL_WRITER
    preview = None
    if processes.is_main and not arguments.no_board:
        writer = FolderWriter(paths.board)
        preview = _preview(name, training, parts, paths.person, device)
    train(
        training,
        recipe.loop,
        checkpoints=paths.checkpoints,
        publish=publisher(name, training, recipe, paths),
        device=device,
        processes=processes,
        writer=writer,
        preview=preview,
    )


def _preview(
    name: str, training: Training, scenes: Split, person: Path, device: torch.device
) -> Callable[[], Picture] | None:
    scene = (*scenes.validation, *scenes.training)[0]
    return preview_of(name, training.model, scene, person, device=device)


def publisher(
    name: str, training: Training, recipe: Recipe, paths: RunPaths
) -> Callable[[dict[str, Tensor], Progress], None]:
    """Function that writes the weights selected by the recipe into the person directory.

    The best weights of the validation if the recipe selects them and they exist, else the last.
    """
    weights = paths.person / f"{name}.safetensors"
    best = paths.checkpoints.folder / BEST

    def publish(averaged: dict[str, Tensor], progress: Progress) -> None:
        text = f"{progress.step} steps, {progress.seconds / 60:.0f} min"
        if recipe.loop.publish == "best" and progress.best_step and best.is_file():
            with write_atomically(weights) as draft:
                shutil.copyfile(best, draft)
            text += f", best at {progress.best_step}"
        else:
            training.publish(averaged, weights)
        complete(paths.person, **provenance(paths.checkpoints.folder, text))

    return publish


def provenance(folder: Path, text: str) -> dict[str, str]:
    """Store a network's provenance in its folder; return that of all networks of the run.

    The last network of a person writes person.json, with the provenance of all.
    """
    (folder / PROVENANCE).write_text(text + "\n", encoding="utf-8")
    return {
        path.parent.name: path.read_text(encoding="utf-8").strip()
        for path in sorted(folder.parent.glob(f"*/{PROVENANCE}"))
    }
