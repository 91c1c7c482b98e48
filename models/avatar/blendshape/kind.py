"""Avatar kind "blendshape": the demo person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contracts.avatar_kinds import SHADINGS, AvatarKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from models.avatar.blendshape.renderer import BlendshapeAvatar


def load_blendshape_avatar(
    folder: Path,
    *,
    device: torch.device,
    samples: int = 2,
    threads: int | None = None,
    plain: bool = False,
) -> BlendshapeAvatar:
    """Load a blendshape avatar; the options are those of `BlendshapeAvatar`.

    Raises: AvatarError, CameraError: when a file is missing or invalid.
    """
    from safetensors import SafetensorError

    from models.avatar.avatar import AvatarError
    from models.avatar.blendshape.model import load_blendshape
    from models.avatar.blendshape.renderer import BlendshapeAvatar
    from models.avatar.camera import read_cameras

    weights = folder / "avatar.safetensors"
    if not weights.is_file():
        raise AvatarError(f"no avatar at {weights}; check that this is a person directory")
    cameras = read_cameras(folder / "cameras.json")
    try:
        model = load_blendshape(weights, device=device)
    except (SafetensorError, KeyError, TypeError) as error:
        raise AvatarError(f"{weights}: invalid blendshape avatar: {error}") from error
    return BlendshapeAvatar(model, cameras, samples=samples, threads=threads, plain=plain)


def _load(folder: Path, *, device: torch.device, settings: Mapping[str, Any]) -> BlendshapeAvatar:
    return load_blendshape_avatar(folder, device=device)


def _prepare() -> None:
    from models.avatar.raster.rasterise import kernels_available

    if kernels_available():
        from models.avatar.blendshape.warp_painter import shading_kernels

        shading_kernels()


AVATAR_KIND = AvatarKind(
    name="blendshape",
    description="a mesh with face units and a painted texture",
    load=_load,
    face_units=True,
    shadings=SHADINGS,
    prepare=_prepare,
    order=10,
)
