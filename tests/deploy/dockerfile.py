"""The instructions of a Dockerfile that decide what an image contains and how it starts."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONTINUATION = re.compile(r"\\\n")


@dataclass(frozen=True)
class Copy:
    """One COPY from the repository."""

    sources: tuple[str, ...]
    target: str  # absolute, or relative to the working directory of the stage


@dataclass(frozen=True)
class Dockerfile:
    """Files, environment and command of the last stage, with the COPY lines of all stages."""

    copies: tuple[Copy, ...]
    runs: tuple[str, ...]
    extras: tuple[str, ...]  # of pyproject.toml, which it installs
    environment: dict[str, str]
    writable: tuple[str, ...]  # paths of VOLUME
    user: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]


def instructions(text: str) -> list[tuple[str, str]]:
    """Return instructions with their arguments, continued lines joined and comments removed."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = CONTINUATION.sub(" ", "\n".join(lines))
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


def read_dockerfile(name: str) -> Dockerfile:
    """Read docker/NAME.Dockerfile."""
    copies: list[Copy] = []
    runs: list[str] = []
    last: dict[str, str] = {}
    environment: dict[str, str] = {}
    for word, rest in instructions((REPOSITORY / f"docker/{name}.Dockerfile").read_text()):
        if word == "FROM":
            environment = {}
        elif word == "COPY" and not rest.startswith("--from="):
            *sources, target = rest.split()
            copies.append(Copy(tuple(sources), target))
        elif word == "RUN":
            runs.append(rest)
        elif word == "ENV":
            pairs = [pair.partition("=") for pair in shlex.split(rest)]
            environment |= {key: value for key, _, value in pairs}
        last[word] = rest
    installed = re.findall(r"docker/requirements\.py ([a-z0-9 -]+) >", " ".join(runs))
    return Dockerfile(
        copies=tuple(copies),
        runs=tuple(runs),
        extras=tuple(" ".join(installed).split()),
        environment=environment,
        writable=tuple(json.loads(last.get("VOLUME", "[]"))),
        user=last.get("USER", ""),
        entrypoint=tuple(json.loads(last.get("ENTRYPOINT", "[]"))),
        command=tuple(json.loads(last.get("CMD", "[]"))),
    )


def requirements(extras: tuple[str, ...]) -> list[str]:
    """Return the output of docker/requirements.py for some extras."""
    command = [sys.executable, "docker/requirements.py", *extras]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
