"""Output and errors of the training commands."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from contracts.errors import InputError, os_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

MISUSED = 2  # exit status: a retry does not help


def print_line(line: object) -> None:
    """Write a line of a command's answer to stdout."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def one_line_errors(program: str) -> Iterator[None]:
    """Report a user's mistake as one sentence on stderr, with exit status 2.

    Other exceptions pass through with their traceback.
    """
    try:
        yield
    except (InputError, OSError) as error:
        text = os_fault(error) if isinstance(error, OSError) else str(error)
        sys.stderr.write(f"{program}: {' '.join(text.split())}\n")
        raise SystemExit(MISUSED) from error
