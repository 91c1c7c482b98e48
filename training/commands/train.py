"""`python -m training face | body | tokenizer | guide | person`: train a network, or all four.

In one process, or in several of an engine: `--processes 2`, or `--engine ray --processes 2`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from contracts.errors import InputError
from contracts.files import write_atomically
from models.motion.pipeline import LIP_UNITS
from training.commands.console import print_line
from training.commands.options import (
    output_folder,
    positive_float,
    positive_int,
    process_counts,
    whole_number,
)
from training.data.scenes import Shard
from training.engines import torchrun
from training.loop.checkpoints import CheckpointStore, StoredCheckpoints
from training.loop.distributed import (
    DEVICES,
    Processes,
    choose_device,
    is_launched,
    machine_share,
    process_group,
)
from training.loop.loop import BEST, Progress, compile_layers, train
from training.loop.object_storage import ObjectStorage
from training.loop.tensorboard import NULL_WRITER, FolderWriter, Writer
from training.networks.checks import check_codes, check_training
from training.networks.previews import preview_of
from training.networks.recipes import LIPS, NETWORKS, Recipe, read_recipe
from training.networks.trainers import MOTION, Split, make_training, split
from training.person_directory import (
    DEMO_SPEECH,
    ORDER,
    FeatureMode,
    complete,
    fill_features,
    next_step,
    person_scenes,
    prepare,
)
from training.person_facts import person_name, read_facts

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torch import Tensor

    from training.data.scenes import Scene
    from training.loop.loop import Training
    from training.loop.tensorboard import Picture

PROVENANCE = "provenance.txt"
ALL = "person"  # the command that trains all networks
DATA, PERSON, WORK = "data", "person", "work"  # folders of --storage
ENGINES = ("torchrun", "ray")


# Shares of --minutes of the command `person`, as the committed demo person was trained.
SHARES = {"tokenizer": 0.02, "face": 0.33, "body": 0.46, "guide": 0.19}


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add one command per network, and one for all four."""
    texts = {name: f"the {name} network" for name in NETWORKS}
    texts |= {LIPS: "the lip regressor", ALL: "all four networks"}
    for name, text in texts.items():
        command = commands.add_parser(name, help=f"train {text} of a person")
        command.add_argument("--data", type=Path, required=True, help="folder of scenes")
        command.add_argument("--out", type=output_folder, required=True, help="person directory")
        command.add_argument(
            "--work", type=output_folder, help="folder of checkpoints; default: .training in --out"
        )
        command.add_argument(
            "--storage",
            metavar="URL",
            help="s3://bucket/folder of the run, for machines without a shared file system; "
            "--data, --out and --work then have copies",
        )
        command.add_argument(
            "--config",
            default="demo",
            help="recipe: demo, released, a TOML file, or a folder of them",
        )
        length = command.add_mutually_exclusive_group()
        length.add_argument(
            "--steps", type=positive_int, help="length of the run; default: the recipe's"
        )
        length.add_argument("--minutes", type=positive_float, help="length of the run by the clock")
        command.add_argument(
            "--threads", type=positive_int, default=1, help="threads of torch on a CPU"
        )
        command.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")
        command.add_argument(
            "--compile", action="store_true", help="compile the layers with torch.compile"
        )
        command.add_argument(
            "--no-board", action="store_true", help="do not write scalars and previews"
        )
        command.add_argument(
            "--engine", choices=ENGINES, default="torchrun", help="starts several processes"
        )
        command.add_argument(
            "--processes",
            type=process_counts,
            default=(1, 1),
            help="number of processes; 2:4 with Ray: as many as the cluster has room for",
        )
        command.add_argument(
            "--restarts",
            type=whole_number,
            default=3,
            help="restarts of all processes from the latest checkpoint after one has failed",
        )
        command.set_defaults(run=run, network=name)


def run(arguments: argparse.Namespace) -> None:
    """Train until done or stopped; each checkpoint also updates the person directory.

    Everything is checked before anything is written. Then the networks are trained in order; a
    stopped run does not start the next one.
    """
    options = {name: value for name, value in vars(arguments).items() if name != "run"}
    if is_launched() or arguments.engine == "torchrun":
        choose_device(arguments.device)  # a device that is not there is reported before the data
    if (storage := _storage(arguments)) is not None:
        storage.pull_by_size(DATA, arguments.data)
        storage.pull(PERSON, arguments.out)
    recipes = _checked(arguments)
    fewest, most = arguments.processes
    if is_launched() or (arguments.engine == "torchrun" and most == 1):
        run_in_process(options, choose_device(arguments.device))
    elif arguments.engine == "ray":
        from training.engines import ray_train

        work = arguments.work or arguments.out / ".training"
        ray_train.launch(
            run_in_process,
            {**options, **_absolute(options)},
            processes=arguments.processes,
            restarts=arguments.restarts,
            device=arguments.device,
            folder=work / f"ray-{'-'.join(recipes)}",
        )
    elif fewest != most:
        raise InputError(
            f"--processes {fewest}:{most}: torchrun needs one number here; use --engine ray, or "
            "the program torchrun with --nnodes"
        )
    else:
        torchrun.launch(sys.argv[1:], processes=most, restarts=arguments.restarts)


def _storage(arguments: argparse.Namespace) -> ObjectStorage | None:
    """Open the storage of the run, if it has one. Raises: InputError."""
    return ObjectStorage(arguments.storage) if arguments.storage else None


def _absolute(options: dict[str, Any]) -> dict[str, Any]:
    """Paths for processes in other folders."""
    paths = {name: value for name, value in options.items() if isinstance(value, Path)}
    if Path(options["config"]).exists():
        paths["config"] = Path(options["config"])
    return {name: type(options[name])(path.resolve()) for name, path in paths.items()}


def _checked(arguments: argparse.Namespace) -> dict[str, Recipe]:
    """Read the recipes by network, and check them with the data and the person."""
    names = list(ORDER) if arguments.network == ALL else [arguments.network]
    recipes = {name: _recipe(arguments, name) for name in names}
    person_name(arguments.out)
    read_facts(arguments.out)
    for name, recipe in recipes.items():
        if name == "guide" and "tokenizer" in recipes:
            check_codes(recipes["tokenizer"], recipe)
        check_training(
            name,
            recipe,
            arguments.out,
            arguments.data,
            new_front_end=DEMO_SPEECH,
            tokenizer_follows="tokenizer" in recipes,
        )
    return recipes


def run_in_process(options: dict[str, Any], device: torch.device) -> None:
    """Train in this process, one of those of the engine or a single one.

    options: of the command, with their names there.
    """
    arguments = argparse.Namespace(**options)
    torch.set_num_threads(arguments.threads)
    names = list(ORDER) if arguments.network == ALL else [arguments.network]
    recipes = {name: _recipe(arguments, name) for name in names}
    with process_group(device) as processes:
        for name, recipe in recipes.items():
            progress = _train(name, arguments, recipe, device, processes)
            if progress.share(recipe.loop) < 1:
                return
        if processes.is_main:
            print_line(next_step(arguments.out, arguments.data, arguments.config))


def _recipe(arguments: argparse.Namespace, name: str) -> Recipe:
    """Read the recipe of a network; options override it."""
    recipe = read_recipe(name, arguments.config)
    minutes = arguments.minutes
    if minutes is not None and arguments.network == ALL:
        minutes *= SHARES[name]
    options = {"steps": arguments.steps, "minutes": minutes}
    changes = {name: value for name, value in options.items() if value is not None}
    return replace(recipe, loop=replace(recipe.loop, **changes))


@dataclass(frozen=True)
class RunPaths:
    """Paths of a run. storage: has the checkpoints and the person, and the paths have copies."""

    person: Path
    checkpoints: CheckpointStore
    board: Path
    storage: ObjectStorage | None = None

    def share_person(self, processes: Processes) -> None:
        """Give the files of the first process to the machines of the others."""
        if self.storage is not None and processes.is_main:
            self.storage.push(self.person, PERSON)
        processes.maximum([0.0])  # all wait until the first has written and stored them
        if self.storage is not None and not processes.is_main:
            self.storage.pull(PERSON, self.person)

    def store_results(self) -> None:
        """Store the published files, and the notes of the run."""
        if self.storage is not None and isinstance(self.checkpoints, StoredCheckpoints):
            self.checkpoints.store_notes()
            self.storage.push(self.person, PERSON)


def run_paths(arguments: argparse.Namespace, name: str, keep: int) -> RunPaths:
    """Paths of a network's run: a folder with its name in the work folder."""
    work = arguments.work or arguments.out / ".training"
    checkpoints, storage = CheckpointStore(work / name, keep), _storage(arguments)
    if storage is not None:
        notes = lambda each: each.endswith(f"/{PROVENANCE}")  # noqa: E731
        storage.pull(WORK, work, notes)
        checkpoints = StoredCheckpoints(work / name, keep, storage=storage, place=f"{WORK}/{name}")
    return RunPaths(arguments.out, checkpoints, work / name / "board", storage)


def _train(
    name: str,
    arguments: argparse.Namespace,
    recipe: Recipe,
    device: torch.device,
    processes: Processes,
) -> Progress:
    paths = run_paths(arguments, name, recipe.loop.keep)
    mode = FeatureMode.NONE if name in ("tokenizer", LIPS) else FeatureMode.CACHED

    def scenes() -> list[Scene]:
        return person_scenes(paths.person, arguments.data, MOTION[name], mode=mode, device=device)

    shard = Shard(processes.rank, processes.count)
    if processes.is_main:
        prepare(paths.person, arguments.data)
    paths.share_person(processes)
    if mode is FeatureMode.CACHED:
        own = shard if paths.storage is None else Shard(*machine_share())  # of the scenes
        fill_features(paths.person, arguments.data, MOTION[name], own, device=device)
        processes.maximum([0.0])  # all wait for the features of all scenes
    parts = replace(split(recipe, scenes()), shard=shard)
    torch.manual_seed(recipe.loop.seed)  # initial weights
    training = make_training(name, recipe, paths.person, parts)
    if arguments.compile:
        compile_layers(training.model)
    writer: Writer = NULL_WRITER
    preview = None
    if processes.is_main and not arguments.no_board:
        writer = FolderWriter(paths.board)
        if name != LIPS:
            preview = _preview(name, training, parts, paths.person, device)
    return train(
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
    weights = paths.person / (LIP_UNITS if name == LIPS else f"{name}.safetensors")
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
        paths.store_results()

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
