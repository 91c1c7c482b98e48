"""The interface of an avatar of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from contracts.errors import InputError
from models.avatar.appearance import OWN, RenderOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from models.avatar.camera import Camera


class AvatarError(InputError):
    """A person directory without a valid avatar."""


class Avatar(Protocol):
    """Renderer of one person. Letters: T frames of motion, N frames of a batch."""

    @property
    def cameras(self) -> Mapping[str, Camera]:
        """Cameras by name; the first is the default."""
        ...

    def camera(self, name: str | None = None) -> Camera:
        """Return a camera by name, None for the default. Raises: CameraUnknown."""
        ...

    def render(
        self,
        face: Tensor,  # [T, 256]
        pose: Tensor,  # [T, 104]
        cameras: Sequence[Camera],
        *,
        batch: int = 8,
        options: RenderOptions = OWN,
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield frames in order, [N, H, W * views, C] with N <= batch, views side by side.

        C is 3 for RGB, 4 for RGBA with a transparent background.
        """
        ...
