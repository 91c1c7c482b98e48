"""Types of command-line options, checked before a command starts."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import NoReturn

from training.commands.console import MISUSED

STDOUT = Path("-")


class Parser(argparse.ArgumentParser):
    """Parser that reports a mistake in one sentence, without the list of all options."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and exit with status 2."""
        self.exit(MISUSED, f"{self.prog}: {message}; --help lists all options\n")


def positive_int(text: str) -> int:
    """Read a whole number above 0."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def whole_number(text: str) -> int:
    """Read a whole number, 0 or above."""
    return 0 if text == "0" else positive_int(text)


def process_counts(text: str) -> tuple[int, int]:
    """Read a number of processes, or the fewest and the most: 4 or 2:4."""
    fewest, _, most = text.partition(":")
    counts = positive_int(fewest), positive_int(most or fewest)
    if counts[0] > counts[1]:
        raise argparse.ArgumentTypeError(f"the first number must be the smaller one, got {text}")
    return counts


def positive_float(text: str) -> float:
    """Read a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return number


def device_name(text: str) -> str:
    """Check that the device exists: cpu, cuda, or cuda:1 for the second GPU."""
    import torch

    kind, _, number = text.partition(":")
    if text == "cpu":
        return text
    if kind != "cuda" or (number and not number.isdecimal()) or text.endswith(":"):
        raise argparse.ArgumentTypeError(f"must be cpu, cuda or cuda:1, got {text!r}")
    if not torch.cuda.is_available():
        raise argparse.ArgumentTypeError(f"{text}, but torch finds no GPU here; use cpu")
    if int(number or 0) >= (count := torch.cuda.device_count()):
        raise argparse.ArgumentTypeError(f"{text}, but this machine has {count} GPU(s)")
    return text


def output_file(text: str) -> Path:
    """Check that a file can be written in an existing folder; - is stdout."""
    path = Path(text)
    if path == STDOUT:
        return path
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder; name a file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"no folder {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{path.parent} is not writable")
    return path


def output_folder(text: str) -> Path:
    """Check that a folder exists and is writable, or can be created."""
    path = Path(text)
    existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not existing.is_dir():
        raise argparse.ArgumentTypeError(f"{existing} is not a folder; name another one")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{existing} is not writable; name another folder")
    return path
