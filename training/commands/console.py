"""Output and errors of the training commands."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def print_line(line: object) -> None:
    """Write a line of a command's answer to stdout."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Report errors in files as one sentence on stderr, with exit status 1."""
    try:
        yield
    except (ValueError, OSError) as error:  # DatasetError, CheckpointError and others
        raise SystemExit(str(error)) from error
