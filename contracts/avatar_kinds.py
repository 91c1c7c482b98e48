"""Kinds of avatar: each is declared in `models/avatar/<kind>/kind.py`, with its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from contracts.registry import Registry

FAST: Final = "fast"
FULL: Final = "full"
SHADINGS: Final = (FAST, FULL)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import torch


class LoadAvatar(Protocol):
    """Loader of one kind."""

    def __call__(
        self, folder: Path, *, device: torch.device, settings: Mapping[str, Any]
    ) -> Any:  # models.avatar.loading.Avatar
        ...


@dataclass(frozen=True)
class AvatarSetting:
    """A setting of the service that only one kind of avatar reads: VISAVIS_<NAME>."""

    name: str  # "render_rounding"
    type: Any  # an annotation that pydantic understands, such as bool or a Literal
    default: Any
    meaning: str  # for docs/configuration.md


def nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class AvatarKind:
    """One kind of avatar: the value of `avatar.kind` in person.json."""

    name: str
    description: str
    load: LoadAvatar  # (person folder, device, settings by name) -> avatar
    settings: tuple[AvatarSetting, ...] = ()
    face_units: bool = False  # whether faces have named units, such as jawOpen
    shadings: tuple[str, ...] = (FAST,)  # values of the request field `shading` that it has
    prepare: Callable[[], None] = nothing  # imports what takes long, when a worker starts
    order: int = 100


AVATAR_KINDS: Registry[AvatarKind] = Registry(
    "avatar kind", "models.avatar", "AVATAR_KIND", pattern="*/kind.py"
)


def avatar_settings() -> tuple[AvatarSetting, ...]:
    """Settings of all kinds."""
    return tuple(setting for kind in AVATAR_KINDS for setting in kind.settings)
