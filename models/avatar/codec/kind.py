"""Avatar kind "codec": released people, with the settings of its networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from contracts.avatar_kinds import AvatarKind, AvatarSetting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from models.avatar.codec.precision import Precision
    from models.avatar.codec.renderer import CodecAvatar, CodecOptions

PRECISION = AvatarSetting(
    "render_precision",
    Literal["exact", "tf32", "bfloat16"],
    "exact",
    "arithmetic of the networks of [codec avatars](released-people.md#how-exact-pictures-are); "
    "`tf32` and `bfloat16` are for GPUs that are fast at them",
)
COMPILE = AvatarSetting(
    "render_compile",
    bool,
    default=False,
    meaning="compile these networks with torch when a person is first rendered: minutes once, "
    "cached on disk; needs a C++ compiler",
)
ROUNDING = AvatarSetting(
    "render_rounding",
    bool,
    default=False,
    meaning="round their colours to the nearest byte; by default they are truncated, like the "
    "reference's",
)


def load_codec_avatar(
    folder: Path,
    *,
    device: torch.device,
    options: CodecOptions | None = None,
    precision: Precision | None = None,
) -> CodecAvatar:
    """Load a codec avatar. Raises: AvatarError, CameraError: when a file is missing or invalid."""
    from models.avatar.avatar import AvatarError
    from models.avatar.camera import read_cameras
    from models.avatar.codec.model import load_codec
    from models.avatar.codec.precision import EXACT
    from models.avatar.codec.renderer import CodecAvatar
    from models.checkpoint import CheckpointError

    cameras = read_cameras(folder / "cameras.json")
    try:
        model = load_codec(
            folder / "avatar.safetensors", device=device, precision=precision or EXACT
        )
    except CheckpointError as error:
        raise AvatarError(str(error)) from error
    return CodecAvatar(model, cameras, options=options)


def _load(folder: Path, *, device: torch.device, settings: Mapping[str, Any]) -> CodecAvatar:
    from models.avatar.codec.precision import Precision
    from models.avatar.codec.renderer import CodecOptions

    precision = settings.get(PRECISION.name, PRECISION.default)
    return load_codec_avatar(
        folder,
        device=device,
        options=CodecOptions(rounding=settings.get(ROUNDING.name, ROUNDING.default)),
        precision=Precision(
            half=precision == "bfloat16",
            tf32=precision == "tf32",
            compiler="inductor" if settings.get(COMPILE.name, COMPILE.default) else None,
        ),
    )


AVATAR_KIND = AvatarKind(
    name="codec",
    description="a mesh whose texture networks compute for each frame",
    load=_load,
    settings=(PRECISION, COMPILE, ROUNDING),
    order=20,
)
