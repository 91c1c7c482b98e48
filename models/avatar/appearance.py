"""Render options that every kind of avatar supports: background and antialiasing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from contracts.avatar_kinds import FAST, SHADINGS

Colour = tuple[int, int, int]  # sRGB bytes
TRANSPARENT: Final = "transparent"
MOST_SAMPLES = 4


@dataclass(frozen=True)
class RenderOptions:
    """Options of one render; None selects the avatar's default.

    Transparent frames are RGBA with straight alpha: the colour is that of the person alone, and
    alpha is the share of the pixel that the person covers.
    """

    background: Colour | Literal["transparent"] | None = None
    samples: int | None = None  # along each side of a pixel
    shading: str = FAST  # or FULL, where the kind of avatar has it
    clay: bool = False  # without textures that networks compute; other kinds render as ever
    extra: tuple[tuple[str, Any], ...] = ()  # options of one avatar kind, by request field

    def __post_init__(self) -> None:
        if self.samples is not None and not 1 <= self.samples <= MOST_SAMPLES:
            raise ValueError(
                f"samples: must be 1 to {MOST_SAMPLES} along a pixel's side ({self.samples})"
            )
        if self.shading not in SHADINGS:
            raise ValueError(f"shading: must be {' or '.join(SHADINGS)} ({self.shading})")

    @property
    def channels(self) -> int:
        """Channels of a frame: 3 for RGB, 4 for RGBA."""
        return 4 if self.background == TRANSPARENT else 3

    def option(self, name: str, default: Any = None) -> Any:
        """Return an option of one avatar kind."""
        return dict(self.extra).get(name, default)


OWN = RenderOptions()
