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

import logging

from contracts.imports import quick_imports

with quick_imports():
    import torch

    from training.commands import data, distill, evaluate, judge, new_person, train
    from training.commands.console import one_line_errors
    from training.commands.options import Parser


def parser() -> Parser:
    """Parser with all commands."""
    root = Parser(
        prog="python -m training",
        description="Make datasets, train the networks that workers load, and evaluate them.",
    )
    commands = root.add_subparsers(dest="command", required=True)
    for group in (new_person, train, distill, judge, evaluate, data):
        group.add_commands(commands)
    return root


def main() -> None:
    """Run the command of the command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    arguments = parser().parse_args()
    with one_line_errors("python -m training"):
        arguments.run(arguments)


if __name__ == "__main__":
    main()
