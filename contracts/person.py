"""person.json, the manifest of a person directory: its members, checks and atomic writes.

Every reader of person.json goes through `read_manifest`. Standard library only, so that the API,
the worker and training on a bare machine share it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from contracts.consent import UNKNOWN, Consent
from contracts.errors import InputError
from contracts.files import sha256_of, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SCHEMA = 1
MANIFEST = "person.json"
DRAFT = "person.draft.json"  # facts of a person whose training is not complete


# Files that show a person before any job: their kinds with the types that browsers display.
MEDIA: Mapping[str, Mapping[str, str]] = {
    "picture": {".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg"},
    "loop": {".mp4": "video/mp4", ".webm": "video/webm"},  # silent, a few seconds
}


GUIDANCE = ("guidance_face", "guidance_body")
FINISHING = "finishing.json"  # parameters of steps after sampling; only for people with finishing
LONGEST_LINK = 200  # bytes
CONTROLS = ("expressiveness", "gestures")  # request fields that need a step of finishing


class PersonError(InputError):
    """A person directory that is incomplete or damaged."""


@dataclass(frozen=True)
class StudentFacts:
    """Options for which the student of a person was made."""

    steps: int
    guidance_face: float
    guidance_body: float

    def guides_as(self, options: Mapping[str, Any]) -> bool:
        """Check whether the guidance of some options is the one that is folded in."""
        return all(options[name] == getattr(self, name) for name in GUIDANCE)


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
    consent: Consent
    files: Mapping[str, str]  # name -> SHA-256
    media: Mapping[str, str]  # kind in `MEDIA` -> name in `files`
    student: StudentFacts | None  # None: the sampler `student` cannot be used
    controls: tuple[str, ...]  # of `CONTROLS`, which the finishing supports
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
            raise PersonError(f"{folder} lacks {name}; {_remedy(path)}")
        found = sha256_of(path)
        if found != digest:
            raise PersonError(
                f"{path} does not match {MANIFEST} (sha256 {found[:12]}…, expected "
                f"{digest[:12]}…); {_remedy(path)}"
            )


def link_target(path: Path) -> str | None:
    """File that a file of a person is a link to, as written in the link; None for other files.

    Tools without links leave a small file with this text in place of the link.
    """
    if path.is_symlink():
        return str(path.readlink())
    if path.is_file() and path.stat().st_size <= LONGEST_LINK:
        text = path.read_bytes().decode("utf-8", "replace").strip()
        if text.startswith("../") and text.endswith(f"/{path.name}"):
            return text
    return None


def _remedy(path: Path) -> str:
    """Remedy for a file that is missing or another one."""
    if (target := link_target(path)) is None:
        return "copy the person directory again"
    other = (path.parent / target).parent
    return (
        f"it is a link to {target}, and both people share this file: copy {other.name!r} beside "
        f"{path.parent.name!r}, both of one version, or copy {path.parent.name!r} with "
        "`cp -rL`, which puts files in place of links"
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
        consent=Consent.parse(members["consent"]) if "consent" in members else UNKNOWN,
        files={str(name): str(each) for name, each in members["files"].items()},
        media=_media(members.get("media") or {}, members["files"]),
        student=_student(members.get("student")),
        controls=_controls(members.get("controls") or ()),
        digest=digest,
    )


def _media(members: Mapping[str, Any], files: Mapping[str, str]) -> Mapping[str, str]:
    media = {kind: str(members[kind]) for kind in MEDIA if members.get(kind) is not None}
    for kind, name in media.items():
        if name not in files:
            raise ValueError(f"media.{kind}: {name!r} is not in files")
        if PurePath(name).suffix not in MEDIA[kind]:
            raise ValueError(f"media.{kind}: {name!r} must end in {', '.join(MEDIA[kind])}")
    return media


def _student(members: Mapping[str, Any] | None) -> StudentFacts | None:
    if members is None:
        return None
    guidance = (float(members[name]) for name in GUIDANCE)
    return StudentFacts(int(members["steps"]), *guidance)


def _controls(names: Iterable[str]) -> tuple[str, ...]:
    controls = tuple(str(name) for name in names)
    if unknown := sorted(set(controls) - set(CONTROLS)):
        raise ValueError(f"controls: {unknown} must be of {CONTROLS}")
    return controls


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
