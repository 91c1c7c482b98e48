"""Imports at the start of a process, without garbage collection."""

import gc
import subprocess
import sys

from contracts.imports import quick_imports
from tests.house.source import ROOT

PROGRAM = """
import gc
from contracts.imports import quick_imports

with quick_imports():
    assert not gc.isenabled()
    import http.server
assert gc.isenabled()
frozen = gc.get_freeze_count()
assert frozen > 1000, frozen
with quick_imports():
    later = [[] for _ in range(100_000)]
assert gc.get_freeze_count() <= frozen, "garbage of a running process must be collected"
try:
    with quick_imports():
        import no_such_module
except ModuleNotFoundError:
    assert gc.isenabled()
    print("as before")
"""


def test_the_first_modules_are_left_out_of_garbage_collection() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert done.stdout == "as before\n", done.stderr


def test_a_process_without_garbage_collection_stays_so() -> None:
    gc.disable()
    try:
        with quick_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
