"""What is behind the person, and how finely edges are drawn: the same for every kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Colour = tuple[int, int, int]  # sRGB bytes
TRANSPARENT: Final = "transparent"
MOST_SAMPLES = 4


@dataclass(frozen=True)
class RenderOptions:
    """None means what is the avatar's own.

    Transparent frames are RGBA. Their colour is that of the person alone, whatever share of a pixel
    the person covers, and alpha is that share ("straight" alpha): laid over a colour they are what
    would have been painted on it.
    """

    background: Colour | Literal["transparent"] | None = None
    samples: int | None = None  # of a pixel's side: what is covered in part is mixed of them

    def __post_init__(self) -> None:
        if self.samples is not None and not 1 <= self.samples <= MOST_SAMPLES:
            raise ValueError(
                f"a pixel has 1 to {MOST_SAMPLES} samples along its side, got {self.samples}"
            )

    @property
    def channels(self) -> int:
        """Of a frame: 3 of RGB, 4 of RGBA."""
        return 4 if self.background == TRANSPARENT else 3


OWN = RenderOptions()
