"""`python -m training`: makes data and trains the networks that workers load."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import torch

from models.avatar.blendshape.model import load_blendshape
from training.commands import data as data_commands
from training.commands import evaluate as evaluation_commands
from training.commands import train as command
from training.loop.checkpoints import StateError
from training.loop.distributed import DeviceError
from training.networks.recipes import RecipeError

POSES = Path(__file__).parent / "demo" / "poses.json"
DEMO_PERSON = Path(__file__).parents[1] / "people" / "demo"


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    command.add_commands(commands)
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


def judge_person(arguments: argparse.Namespace) -> None:
    """Print what `training.demo.judge` measures, and write it as JSON."""
    from training.demo.judge import judge

    figures = judge(
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
    from training.demo.speech.conversations import held_out_voices, make_dataset, training_voices

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
    try:
        arguments.run(arguments)
    except (DeviceError, RecipeError, StateError) as error:
        raise SystemExit(f"python -m training: {error}") from error


if __name__ == "__main__":
    main()
