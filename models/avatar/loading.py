"""Load the avatar of a person directory, of any registered kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contracts.avatar_kinds import AVATAR_KINDS
from contracts.person import PersonError, read_manifest
from contracts.registry import UnknownName
from models.avatar.avatar import Avatar, AvatarError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch


def load_avatar(
    person_folder: Path, *, device: torch.device, settings: Mapping[str, Any] | None = None
) -> Avatar:
    """Load the avatar of a person.

    settings: values of the settings that avatar kinds declare, by name; missing ones have their
    defaults.
    Raises: AvatarError: without a valid person.json, or for an unknown kind.
    """
    try:
        manifest = read_manifest(person_folder)
        kind = AVATAR_KINDS[manifest.avatar_kind or ""]
    except PersonError as error:
        raise AvatarError(str(error)) from error
    except UnknownName as error:
        raise AvatarError(f"{person_folder / 'person.json'}: {error}") from error
    avatar: Avatar = kind.load(person_folder, device=device, settings=settings or {})
    return avatar
