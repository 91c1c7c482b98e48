"""person.json, the manifest of a person directory: its members, checks and atomic writes.

Every reader of person.json goes through `read_manifest`. Standard library only, so that the API,
the worker and training on a bare machine share it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from contracts.errors import InputError
from contracts.files import sha256_of, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SCHEMA = 1
MANIFEST = "person.json"
DRAFT = "person.draft.json"  # facts of a person whose training is not complete


class PersonError(InputError):
    """A person directory that is incomplete or damaged."""


@dataclass(frozen=True)
class PersonManifest:
    """The members of person.json."""

    folder: Path
    name: str
    title: str | None
    licence: str | None
    avatar_kind: str | None  # a name in `contracts.avatar_kinds`
    max_seconds: float  # longest clip that the networks accept
    defaults: Mapping[str, Any]  # values of request fields that a request leaves empty
    provenance: Mapping[str, Any]
    files: Mapping[str, str]  # name -> SHA-256
    digest: str = field(repr=False)  # SHA-256 of person.json itself: the version of this person


def read_manifest(folder: Path) -> PersonManifest:
    """Read person.json.

    Raises: PersonError: when it is missing, damaged, or has an unknown schema version.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PersonError(f"no person at {folder}: {path} cannot be read") from error
    try:
        members = json.loads(content)
        if (schema := members["schema"]) == SCHEMA:
            return _manifest(folder, members, hashlib.sha256(content).hexdigest())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PersonError(f"{path} is damaged or lacks a member: {error!r}") from error
    raise PersonError(f"{path}: schema {schema} is not supported; this version reads {SCHEMA}")


def check_files(folder: Path) -> None:
    """Compare the SHA-256 of every file with person.json.

    Raises: PersonError: for the first file that is missing or differs.
    """
    for name, digest in read_manifest(folder).files.items():
        path = folder / name
        if not path.is_file():
            raise PersonError(f"{folder} lacks {name}; copy the person directory again")
        found = sha256_of(path)
        if found != digest:
            raise PersonError(
                f"{path} does not match {MANIFEST} (sha256 {found[:12]}…, expected "
                f"{digest[:12]}…); copy the person directory again"
            )


def write_manifest(folder: Path, facts: Mapping[str, Any], files: Iterable[str]) -> Path:
    """Write person.json: `facts` and the SHA-256 of each of `files`, which exist already.

    The write is atomic and comes last, so a worker that reads meanwhile gets the previous version.
    """
    path = folder / MANIFEST
    digests = {name: sha256_of(folder / name) for name in sorted(files)}
    members = {"schema": SCHEMA, **facts, "files": digests}
    content = json.dumps(members, indent=2, ensure_ascii=False) + "\n"
    with write_atomically(path) as draft:
        draft.write_text(content, encoding="utf-8")
    return path


def _manifest(folder: Path, members: Mapping[str, Any], digest: str) -> PersonManifest:
    avatar = members.get("avatar")
    return PersonManifest(
        folder=folder,
        name=str(members["name"]),
        title=_text(members.get("title")),
        licence=_text(members.get("licence")),
        avatar_kind=_text(avatar.get("kind")) if isinstance(avatar, dict) else None,
        max_seconds=float(members["limits"]["max_seconds"]),
        defaults=dict(members.get("defaults") or {}),
        provenance=dict(members.get("provenance") or {}),
        files={str(name): str(each) for name, each in members["files"].items()},
        digest=digest,
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
