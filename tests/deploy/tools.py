"""Programs of the environment for tools, which `make test` and `make check-deploy` install."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.deploy.dockerfile import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = REPOSITORY / ".venv-tools/bin"


def run_tool(name: str, *arguments: str | Path) -> str:
    """Run a program to its end and return its output. It must succeed."""
    assert (TOOLS / name).exists(), f"{TOOLS / name} not found; run `make .venv-tools/.done`"
    command = [str(TOOLS / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
