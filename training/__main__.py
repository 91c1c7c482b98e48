"""`python -m training`: make datasets and train the networks that workers load."""

from __future__ import annotations

import sys

# `python -m` searches the working directory first, where a user may have files with the names of
# modules (models/, jobs.py). This must come before all other imports.
if (
    __name__ == "__main__"
    and not sys.flags.safe_path
    and __file__ != f"{sys.path[0]}/training/__main__.py"
):
    del sys.path[0]

import argparse
import logging

import torch

from training.commands import data, evaluate, judge, train
from training.loop.checkpoints import ResumeError
from training.loop.distributed import DeviceError
from training.networks.recipes import RecipeError


def parser() -> argparse.ArgumentParser:
    """Parser with all commands."""
    root = argparse.ArgumentParser(
        prog="python -m training",
        description="Make datasets, train the networks that workers load, and evaluate them.",
    )
    commands = root.add_subparsers(dest="command", required=True)
    for group in (train, judge, evaluate, data):
        group.add_commands(commands)
    return root


def main() -> None:
    """Run the command of the command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    arguments = parser().parse_args()
    try:
        arguments.run(arguments)
    except (DeviceError, RecipeError, ResumeError) as error:
        raise SystemExit(f"python -m training: {error}") from error


if __name__ == "__main__":
    main()
