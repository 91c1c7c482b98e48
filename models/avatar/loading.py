"""The door of this room: a person's folder in, an avatar out, of whatever kind it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from safetensors import SafetensorError

from models.avatar.appearance import OWN, RenderOptions
from models.avatar.blendshape.model import load_blendshape
from models.avatar.blendshape.renderer import BlendshapeAvatar
from models.avatar.camera import read_cameras
from models.avatar.codec.model import load_codec
from models.avatar.codec.precision import EXACT, Precision
from models.avatar.codec.renderer import CodecAvatar
from models.checkpoint import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from models.avatar.camera import Camera
    from models.avatar.codec.renderer import CodecOptions


class AvatarError(ValueError):
    """A person's folder without an avatar that can be rendered."""


class Avatar(Protocol):
    """What every kind of avatar can do. T frames of motion, N frames of a batch."""

    @property
    def cameras(self) -> Mapping[str, Camera]:
        """By name; the first is the default."""
        ...

    def camera(self, name: str | None = None) -> Camera:
        """A camera by name, the default one for None. Raises CameraUnknown for an unknown name."""
        ...

    def render(
        self,
        face: Tensor,  # [T, 256]
        pose: Tensor,  # [T, 104]
        cameras: Sequence[Camera],
        *,
        batch: int = 8,
        look: RenderOptions = OWN,
    ) -> Iterator[NDArray[np.uint8]]:
        """Frames in order, [N, H, W * views, C] with N <= batch, views side by side.

        RGB, or RGBA where the look is transparent.
        """
        ...


def load_avatar(
    person_folder: Path,
    *,
    device: torch.device,
    options: CodecOptions | None = None,
    precision: Precision = EXACT,
) -> Avatar:
    """The avatar of a person. Raises AvatarError where there is none, or of an unknown kind.

    options, precision: of a codec avatar; others have no such choice.
    """
    manifest = person_folder / "person.json"
    if not manifest.is_file():
        raise AvatarError(f"no person at {person_folder}: there is no person.json")
    kind = _kind(manifest)
    if kind == "blendshape":
        return load_blendshape_avatar(person_folder, device=device)
    if kind == "codec":
        return load_codec_avatar(person_folder, device=device, options=options, precision=precision)
    raise AvatarError(
        f"{manifest} asks for an avatar of kind {kind!r}; known is 'blendshape' or 'codec'"
    )


def load_blendshape_avatar(
    folder: Path,
    *,
    device: torch.device,
    samples: int = 2,
    threads: int | None = None,
    plain: bool = False,
) -> BlendshapeAvatar:
    """A blendshape avatar with choices of how it is painted; see `BlendshapeAvatar`.

    Raises AvatarError or CameraError where a file is missing or holds something else.
    """
    weights = folder / "avatar.safetensors"
    if not weights.is_file():
        raise AvatarError(f"no avatar at {weights}; is this a person's folder?")
    cameras = read_cameras(folder / "cameras.json")
    try:
        model = load_blendshape(weights, device=device)
    except (SafetensorError, KeyError, TypeError) as error:
        raise AvatarError(f"{weights} is no blendshape avatar: {error}") from error
    return BlendshapeAvatar(model, cameras, samples=samples, threads=threads, plain=plain)


def load_codec_avatar(
    folder: Path,
    *,
    device: torch.device,
    options: CodecOptions | None = None,
    precision: Precision = EXACT,
) -> CodecAvatar:
    """A codec avatar, that of released people, with choices of how it is painted.

    Raises AvatarError or CameraError where a file is missing or holds something else.
    """
    cameras = read_cameras(folder / "cameras.json")
    try:
        model = load_codec(folder / "avatar.safetensors", device=device, precision=precision)
    except CheckpointError as error:
        raise AvatarError(str(error)) from error
    return CodecAvatar(model, cameras, options=options)


def _kind(manifest: Path) -> str | None:
    """The kind of avatar that a person.json asks for."""
    try:
        kind: str | None = json.loads(manifest.read_text(encoding="utf-8"))["avatar"]["kind"]
    except json.JSONDecodeError as error:
        raise AvatarError(f"{manifest} is not JSON: {error}") from error
    except (KeyError, TypeError):
        return None
    return kind
