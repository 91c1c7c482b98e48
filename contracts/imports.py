"""Imports at the start of a process."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
        if not gc.get_freeze_count():  # once: garbage of a running process must be collected
            gc.freeze()
        if was_enabled:
            gc.enable()
