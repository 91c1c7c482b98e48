"""A person directory: what person.json says, and whether the files are those that it names."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SCHEMA = 1
MANIFEST = "person.json"
CHUNK = 1 << 20


class PersonError(ValueError):
    """A person directory that is not whole."""


@dataclass(frozen=True)
class Person:
    """What person.json says."""

    folder: Path
    name: str
    max_seconds: float
    files: Mapping[str, str]  # name -> sha256
    digest: str  # sha256 of person.json itself: the version of this person


def read_person(folder: Path) -> Person:
    """Read person.json. PersonError where there is none, or one that is not understood."""
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PersonError(f"no person at {folder}: {path} cannot be read") from error
    try:
        manifest = json.loads(content)
        if (schema := manifest["schema"]) == SCHEMA:
            name, max_seconds = str(manifest["name"]), float(manifest["limits"]["max_seconds"])
            files = {str(file): str(digest) for file, digest in manifest["files"].items()}
            return Person(folder, name, max_seconds, files, hashlib.sha256(content).hexdigest())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PersonError(f"{path} is damaged or lacks a part: {error!r}") from error
    raise PersonError(f"{path} is of schema {schema}; this version reads {SCHEMA}")


def check_files(folder: Path) -> None:
    """Compare every file that person.json names with its sha256. PersonError names the first."""
    for name, digest in read_person(folder).files.items():
        path = folder / name
        if not path.is_file():
            raise PersonError(f"{folder} lacks {name}; copy the person directory again")
        found = sha256(path)
        if found != digest:
            raise PersonError(
                f"{path} is not the file that {MANIFEST} names (sha256 {found[:12]}…, expected "
                f"{digest[:12]}…); copy the person directory again"
            )


def write_person(folder: Path, facts: Mapping[str, Any], files: Iterable[str]) -> Path:
    """Write person.json over files that are there already: `facts` and the sha256 of each file.

    It is written last and at once, so a worker that looks meanwhile sees the version before.
    """
    path = folder / MANIFEST
    digests = {name: sha256(folder / name) for name in sorted(files)}
    draft = path.with_name(f".{MANIFEST}.{os.getpid()}")
    manifest = {"schema": SCHEMA, **facts, "files": digests}
    content = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    try:
        draft.write_text(content, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
