"""Environment of the processes of a run."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGES = Path(__file__).parents[2]


def find_our_packages() -> None:
    """Let child processes import these packages, and none of the working folder."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PACKAGES), *([before] if before else [])])
    os.environ["PYTHONSAFEPATH"] = "1"
