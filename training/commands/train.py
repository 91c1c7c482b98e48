"""The command that trains a network: `python -m training face | body | tokenizer | guide`.

Alone, or as several processes: `torchrun --nproc-per-node 2 -m training face ...`.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from training.loop.checkpoints import States
from training.loop.distributed import DEVICES, Processes, chosen_device, joined
from training.loop.loop import BEST, Progress, compile_layers, train
from training.loop.tensorboard import NOTHING, Board, FolderBoard
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

logger = logging.getLogger(__name__)

PROVENANCE = "provenance.txt"


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """One for each network."""
    for name in NETWORKS:
        command = commands.add_parser(name, help=f"train the {name} network of a person")
        command.add_argument("--data", type=Path, required=True, help="folder of scenes")
        command.add_argument("--out", type=Path, required=True, help="person directory")
        command.add_argument("--work", type=Path, help="where the run is kept, to go on from")
        command.add_argument(
            "--config", default="demo", help="a recipe: demo, released, or a TOML file"
        )
        long = command.add_mutually_exclusive_group()
        long.add_argument("--steps", type=int)
        long.add_argument("--minutes", type=float, help="by the clock instead of by steps")
        command.add_argument("--threads", type=int, default=1, help="of torch on a CPU")
        command.add_argument("--device", choices=DEVICES, default="auto")
        command.add_argument("--compile", action="store_true", help="the layers, by torch.compile")
        command.add_argument(
            "--no-board", action="store_true", help="no scalars and previews beside the states"
        )
        command.set_defaults(run=run, network=name)


def run(arguments: argparse.Namespace) -> None:
    """Train until done or asked to stop; every save is published into the person directory."""
    torch.set_num_threads(arguments.threads)
    recipe = _recipe(arguments)
    device = chosen_device(arguments.device)
    with joined(device) as processes:
        _train(arguments, recipe, device, processes)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    """What is asked for on the command line stands above the file."""
    recipe = read_recipe(arguments.network, arguments.config)
    asked = {"steps": arguments.steps, "minutes": arguments.minutes}
    changes = {name: value for name, value in asked.items() if value is not None}
    return replace(recipe, loop=replace(recipe.loop, **changes))


@dataclass(frozen=True)
class RunPaths:
    """Where the files of a run are."""

    person: Path
    states: States
    board: Path


def places_of(arguments: argparse.Namespace, keep: int) -> RunPaths:
    """States and pictures of a network: a folder of its name in the work folder."""
    work = (arguments.work or arguments.out / ".training") / arguments.network
    return RunPaths(arguments.out, States(work, keep), work / "board")


def _train(
    arguments: argparse.Namespace, recipe: Recipe, device: torch.device, processes: Processes
) -> None:
    name, places = arguments.network, places_of(arguments, recipe.loop.keep)
    hearing = FeatureMode.NOTHING if name == "tokenizer" else FeatureMode.KEPT

    def scenes() -> list[Scene]:
        return person_scenes(
            places.person, arguments.data, MOTION[name], hearing=hearing, device=device
        )

    if processes.leads:
        prepare(places.person, arguments.data)
        scenes()
    processes.largest([0.0])  # the others wait for what the first one writes: statistics, features
    parts = split(recipe, scenes())
    torch.manual_seed(recipe.loop.seed)  # what networks begin with
    training = make_training(name, recipe, places.person, parts)
    if arguments.compile:
        compile_layers(training.model)
    board: Board = NOTHING
    preview = None
    if processes.leads and not arguments.no_board:
        board = FolderBoard(places.board)
        preview = _preview(name, training, parts, places.person, device)
    train(
        training,
        recipe.loop,
        states=places.states,
        publish=publisher(name, training, recipe, places),
        device=device,
        processes=processes,
        board=board,
        preview=preview,
    )


def _preview(
    name: str, training: Training, scenes: Split, person: Path, device: torch.device
) -> Callable[[], Picture] | None:
    shown = (*scenes.validation, *scenes.training)[0]
    return preview_of(name, training.model, shown, person, device=device)


def publisher(
    name: str, training: Training, recipe: Recipe, places: RunPaths
) -> Callable[[dict[str, Tensor], Progress], None]:
    """Puts the weights that the recipe asks for into the person directory.

    Those that validate best, where it asks for them and there are some; else the last.
    """
    weights = places.person / f"{name}.safetensors"
    best = places.states.folder / BEST

    def publish(averaged: dict[str, Tensor], progress: Progress) -> None:
        told = f"{progress.step} steps, {progress.seconds / 60:.0f} min"
        if recipe.loop.publish == "best" and progress.best_step and best.is_file():
            draft = weights.with_name(f".{weights.name}.best")
            shutil.copyfile(best, draft)
            draft.replace(weights)
            told += f", best at {progress.best_step}"
        else:
            training.publish(averaged, weights)
        complete(places.person, **provenance(places.states.folder, told))

    return publish


def provenance(folder: Path, told: str) -> dict[str, str]:
    """Keeps what is told of a network in its folder; answers that of all networks of the run.

    The last of a person's networks makes her complete, and says how the others were made.
    """
    (folder / PROVENANCE).write_text(told + "\n", encoding="utf-8")
    return {
        path.parent.name: path.read_text(encoding="utf-8").strip()
        for path in sorted(folder.parent.glob(f"*/{PROVENANCE}"))
    }
