"""Facts of a person before person.json exists: name, title, licence, and origin of the avatar.

`person.draft.json` holds them until all files of the person exist.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.errors import InputError
from contracts.files import sha256_of, write_atomically
from contracts.person import DRAFT, MANIFEST, PersonError, read_manifest
from models import checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEMO = "demo"
DEMO_PERSON = Path(__file__).parents[1] / "people" / DEMO
DEFAULTS: dict[str, dict[str, float]] = {  # sampling, by the kind of speech front end
    "mel": {"steps": 50, "guidance_face": 2.5, "guidance_body": 1.5, "diversity": 0.94},
    "convolutions": {"steps": 100, "guidance_face": 10.0, "guidance_body": 2.0, "diversity": 0.97},
}
AVATAR_FILES = ("avatar.safetensors", "cameras.json")
SIZE = "512x512"  # of videos, unless the person that the avatar comes from has another one


@dataclass(frozen=True)
class AvatarSource:
    """An avatar to copy, with the facts that belong to it."""

    folder: Path
    kind: str
    origin: str  # for the provenance of the new person
    look: Mapping[str, Any]  # defaults of request fields that depend on the avatar


def person_name(folder: Path, name: str | None = None) -> str:
    """Return the name of a person, which is the name of the folder.

    Raises: InputError: when `name` is another one, or the name is invalid.
    """
    expected = folder.resolve().name
    if not NAME.fullmatch(expected):
        raise InputError(f"invalid person name {expected!r}; use letters, digits, '.', '_' and '-'")
    if name is not None and name != expected:
        raise InputError(
            f"--name: must be the name of the folder ({name!r}, {folder}); "
            f"name the folder {folder.resolve().parent / name}"
        )
    return expected


def avatar_source(text: str) -> AvatarSource:
    """Find the avatar to copy: `demo`, or a person directory with an avatar.

    Raises: InputError: when the avatar is missing or of an unknown kind.
    """
    folder = DEMO_PERSON if text == DEMO else Path(text)
    folder = folder.parent if folder.name == AVATAR_FILES[0] else folder
    for name in AVATAR_FILES:
        if not (folder / name).is_file():
            raise InputError(
                f"--avatar: {folder / name} not found; pass demo or a person directory"
            )
    kind, digest = avatar_kind(folder), sha256_of(folder / AVATAR_FILES[0])[:12]
    if folder.resolve() == DEMO_PERSON.resolve():
        origin = "comes with visavis, made from public-domain sources listed in NOTICE"
        return AvatarSource(folder, kind, f"{origin}; sha256 {digest}", {"size": SIZE})
    if not (folder / MANIFEST).is_file():
        origin = f"copied from {folder.resolve().name}; sha256 {digest}"
        return AvatarSource(folder, kind, origin, {"size": SIZE})
    source = read_manifest(folder)
    origin = f"avatar of {source.name}, licence {source.licence or 'unknown'}; sha256 {digest}"
    look = {name: source.defaults[name] for name in ("size", "views") if name in source.defaults}
    return AvatarSource(folder, kind, origin, {"size": SIZE, **look})


def avatar_kind(folder: Path) -> str:
    """Kind of the avatar in a folder, by the sizes that its file holds.

    Raises: CheckpointError: when the file is missing or damaged.
    """
    config = checkpoint.read_config(folder / AVATAR_FILES[0])
    return "blendshape" if "unit_names" in config else "codec"


def copy_avatar(source: AvatarSource, person: Path) -> None:
    """Copy the files of an avatar into a person directory."""
    for name in AVATAR_FILES:
        if (source.folder / name).resolve() != (person / name).resolve():
            with write_atomically(person / name) as draft:
                shutil.copyfile(source.folder / name, draft)


def read_facts(person: Path) -> dict[str, Any] | None:
    """Return what is known of a person: the members of person.json, or of the draft.

    None without both, or when person.json is a copy of another person's.
    Raises: PersonError: when the file is damaged.
    """
    for name in (MANIFEST, DRAFT):
        path = person / name
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            if name == DRAFT or facts["name"] == person.resolve().name:
                return {key: facts[key] for key in facts if key not in ("schema", "files")}
        except FileNotFoundError:
            continue
        except (KeyError, TypeError, ValueError) as error:
            raise PersonError(
                f"{path} is damaged ({error!r}); remove it and start again"
            ) from error
    return None


def write_draft(person: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts of a person that is not complete; person.json of another person goes."""
    with write_atomically(person / DRAFT) as draft:
        draft.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (person / MANIFEST).unlink(missing_ok=True)
