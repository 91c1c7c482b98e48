"""`python -m training`: makes data and trains the networks that workers load."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import torch

from models.avatar.blendshape import load_blendshape

POSES = Path(__file__).parent / "demo" / "poses.json"
DEMO = Path(__file__).parents[1] / "people" / "demo"


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data", help="make data").add_subparsers(dest="what", required=True)
    make = data.add_parser("make-demo", help="synthetic conversations of the demo person")
    make.add_argument("folder", type=Path)
    make.add_argument("--minutes", type=float, default=60.0)
    make.add_argument("--seed", type=int, default=1)
    make.add_argument("--held-out", action="store_true", help="she speaks with the held-out voice")
    make.add_argument("--person", type=Path, default=DEMO, help="whose face code to write")
    make.set_defaults(run=make_demo)
    return root


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
