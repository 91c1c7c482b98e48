"""`python -m training`: makes data and trains the networks that workers load."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import torch

from models.avatar.blendshape import load_blendshape
from training import data_commands, evaluation_commands
from training.loop import Progress, train
from training.people import Hearing, complete, person_scenes, prepare
from training.trainers import DEMO, MOTION, make_training

POSES = Path(__file__).parent / "demo" / "poses.json"
DEMO_PERSON = Path(__file__).parents[1] / "people" / "demo"


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    for name in DEMO:
        train_one = commands.add_parser(name, help=f"train the {name} network of a person")
        train_one.add_argument("--data", type=Path, required=True, help="folder of scenes")
        train_one.add_argument("--out", type=Path, required=True, help="person directory")
        train_one.add_argument("--work", type=Path, help="where the run is kept, to go on from")
        long = train_one.add_mutually_exclusive_group()
        long.add_argument("--steps", type=int)
        long.add_argument("--minutes", type=float, help="by the clock instead of by steps")
        train_one.add_argument("--threads", type=int, default=1)
        train_one.set_defaults(run=train_network, network=name)
    judge = commands.add_parser("judge", help="a person's motion beside the truth of a dataset")
    judge.add_argument("--data", type=Path, required=True, help="scenes not trained on")
    judge.add_argument("--person", type=Path, default=DEMO_PERSON)
    judge.add_argument("--clips", type=int, default=6)
    judge.add_argument("--seconds", type=float, default=20.0)
    judge.add_argument("--steps", type=int)
    judge.add_argument("--json", type=Path, help="where to write the figures, too")
    judge.set_defaults(run=judge_person)
    evaluation_commands.add_commands(commands)
    data = commands.add_parser("data", help="make, fetch, check data").add_subparsers(
        dest="what", required=True
    )
    make = data.add_parser("make-demo", help="synthetic conversations of the demo person")
    make.add_argument("folder", type=Path)
    make.add_argument("--minutes", type=float, default=60.0)
    make.add_argument("--seed", type=int, default=1)
    make.add_argument("--held-out", action="store_true", help="she speaks with the held-out voice")
    make.add_argument("--person", type=Path, default=DEMO_PERSON, help="whose face code to write")
    make.set_defaults(run=make_demo)
    data_commands.add(data)
    return root


def train_network(arguments: argparse.Namespace) -> None:
    """Train until done or asked to stop; every save is published into the person directory."""
    torch.set_num_threads(arguments.threads)
    name, person = arguments.network, arguments.out
    recipe = DEMO[name]
    loop = recipe.loop
    if arguments.steps:
        loop = replace(loop, steps=arguments.steps)
    if arguments.minutes:
        loop = replace(loop, minutes=arguments.minutes)
    prepare(person, arguments.data)
    hearing = Hearing.NOTHING if name == "tokenizer" else Hearing.KEPT
    scenes = person_scenes(person, arguments.data, MOTION[name], hearing=hearing)
    training = make_training(name, person, scenes)
    weights = person / f"{name}.safetensors"

    def publish(averaged: dict[str, torch.Tensor], progress: Progress) -> None:
        training.publish(averaged, weights)
        complete(person, **{name: f"{progress.step} steps, {progress.seconds / 60:.0f} min"})

    work = arguments.work or person / ".training"
    train(training.model, training.loss, loop, state=work / f"{name}.state", publish=publish)


def judge_person(arguments: argparse.Namespace) -> None:
    """Print what `training.demo.judge` measures, and write it as JSON."""
    from training.demo.judge import judged

    figures = judged(
        arguments.person,
        arguments.data,
        clips=arguments.clips,
        seconds=arguments.seconds,
        steps=arguments.steps,
    )
    for name, value in figures.items():
        sys.stdout.write(f"{name:32} {value:8.3f}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def make_demo(arguments: argparse.Namespace) -> None:
    from training.demo.conversations import held_out_voices, make_dataset, training_voices

    avatar = load_blendshape(arguments.person / "avatar.safetensors", device=torch.device("cpu"))
    make_dataset(
        arguments.folder,
        minutes=arguments.minutes,
        seed=arguments.seed,
        keys=json.loads(POSES.read_text()),
        basis=avatar.face_basis.numpy(),
        pick=held_out_voices if arguments.held_out else training_voices,
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    arguments = parser().parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
