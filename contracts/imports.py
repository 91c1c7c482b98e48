"""Imports at the start of a process."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import modules without garbage collection, and leave the first ones out of it afterwards.

    Modules stay to the end of the process. Collections that visit them take a quarter of the CPU
    time of `import torch` and of the exit.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        _freeze_once()
        if was_enabled:
            gc.enable()


@cache
def _freeze_once() -> None:
    """Freeze what is there, only the first time: garbage of a running process must be collected.

    The count of frozen objects visits all of them, so it is not asked for again.
    """
    if not gc.get_freeze_count():
        gc.freeze()
