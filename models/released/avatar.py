"""Reading and checking of the files of a released avatar.

`models/released/codec_keys.py` converts their content.
Letters: V vertices, F faces, N texture coordinates (U of a vertex), J joints, P parameters of pose
(L of them local), Q of scale, S side of the maps, C of the coarse ones, A and B texels at seams.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from models.avatar.camera import CameraError
from models.checkpoint import CheckpointError
from models.released.codec_keys import cameras, convert
from models.released.networks import Network
from models.released.reader import OPTIMISER, ReleasedError, read_torch, read_yaml, tensors_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from models.avatar.camera import Camera

    Size = int | str  # equal letters mean equal sizes

HEIGHT, WIDTH = 2048, 1334  # of the released views, if the config does not contain them
CENTRE_TOLERANCE = 1e-3  # largest relative distance between campos and the centre given by Rt
ASSETS: Mapping[str, tuple[Size, ...]] = {
    "topology.vi": ("F", 3),
    "topology.vt": ("N", 2),
    "topology.vti": ("F", 3),
    "topology.v2uv": ("V", "U"),
    "lbs_config_dict.transform": ("7 J", "P + Q"),
    "lbs_config_dict.transform_offsets": (1, "7 J"),
    "lbs_template_verts": ("V", 3),
    "lbs_scale": ("Q",),
    "seam_data_1024.dst_ij": ("A", 2),
    "seam_data_1024.src_ij": ("A", 2),
    "seam_data_1024.uvs": ("S", "S", 2),
    "seam_data_2048.dst_ij": ("B", 2),
    "seam_data_2048.src_ij": ("B", 2),
    "seam_data_2048.uvs": ("2 S", "2 S", 2),
    "face_cond_mask": ("C", "C"),
    "head_cond_mask": ("C", "C"),
    "body_cond_mask": ("C", "C"),
    "pose_cond_mask": ("L", "C", "C"),
    "mouth_eyes_mask_geom": ("V",),
    "face_frontal_view": (3,),
}
PRESENT = (  # of any size and type
    "lbs_model_json.Skeleton.Bones",
    "lbs_model_json.SkinnedModel.RestPositions",
    "lbs_model_json.SkinnedModel.SkinningWeights",
    "lbs_model_json.SkinnedModel.SkinningOffsets",
    "global_scaling",
    "seam_data_1024.weights",
    "seam_data_2048.weights",
    "tex_mean",
    "face_mask",
    "mugsy_face_mask",
    "ao_mean",
)
PARTS = (
    "encoder.", "encoder_face.", "decoder.", "decoder_face.", "decoder_view.", "upscale_net.",
)  # fmt: skip
UNUSED = "lbs_fn."  # weights that the reference also reads from the assets


@dataclass(frozen=True)
class ReleasedAvatar:
    """Content of the four files."""

    config: Mapping[str, Any]  # config.yml
    assets: Mapping[str, Any]  # static_assets.pt
    weights: Mapping[str, Tensor]  # body_dec.ckpt: released keys, buffers included
    views: Mapping[str, Tensor]  # render_defaults: K [n, 3, 3], Rt [n, 3, 4]; ao [n, 1, h, w]

    @property
    def shadow_from_pose(self) -> bool:
        """True if shadows are computed from the pose, not from an ambient occlusion map."""
        return bool(self.config["model"].get("pose_to_shadow"))


def read_config(path: Path) -> dict[str, Any]:
    """Read config.yml.

    Raises: ReleasedError: when the file is invalid or a network is missing.
    """
    config = read_yaml(path)
    if not isinstance(config.get("model"), dict):
        raise ReleasedError(f"{path}: 'model' is missing")
    for name in ("encoder", "encoder_face", "decoder", "decoder_face"):
        if not isinstance(config["model"].get(name), dict):
            raise ReleasedError(f"{path}: model.{name} is missing")
    return config


def read_assets(path: Path) -> dict[str, Any]:
    """Read static_assets.pt.

    Raises: ReleasedError: when an asset is missing or its shape does not match the others.
    """
    assets = read_torch(path)
    if not isinstance(assets, dict):
        raise ReleasedError(f"{path}: must be a dict, found {type(assets).__name__}")
    for key in PRESENT:
        _asset(assets, key, path)
    sizes: dict[str, tuple[int, str]] = {}
    for key, expected in ASSETS.items():
        shape = getattr(_asset(assets, key, path), "shape", None)
        if shape is None or len(shape) != len(expected):
            raise ReleasedError(
                f"{path}: {key} must be [{', '.join(map(str, expected))}], found "
                f"{'no array' if shape is None else list(shape)}"
            )
        for size, letter in zip(shape, expected, strict=True):
            number, origin = sizes.setdefault(str(letter), (size, key))
            number = letter if isinstance(letter, int) else number
            if size != number:
                as_in = f" as in {origin}" if origin != key else ""
                raise ReleasedError(
                    f"{path}: {key} must have {letter} = {number}{as_in}, found {list(shape)}"
                )
    return assets


def read_weights(path: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read body_dec.ckpt: the state dict under "model", without unused weights.

    Raises: ReleasedError: when the file is invalid or a network is missing.
    """
    state = tensors_of(read_torch(path, inert=OPTIMISER), path, key="model")
    weights = {key.removeprefix("module."): value for key, value in state.items()}
    shadow = "pose_to_shadow." if config["model"].get("pose_to_shadow") else "shadow_net."
    for part in (*PARTS, shadow):
        if not any(key.startswith(part) for key in weights):
            raise ReleasedError(f"{path}: {part}* is missing; the avatar is incomplete")
    return {key: value for key, value in weights.items() if not key.startswith(UNUSED)}


def read_views(path: Path, *, shadow_from_pose: bool) -> dict[str, Tensor]:
    """Read render_defaults: cameras, and the occlusion map unless shadows come from the pose.

    Raises: ReleasedError: when an array is missing or has another shape.
    """
    views = tensors_of(_tensors_only(read_torch(path)), path)
    count = len(views["K"]) if "K" in views and views["K"].ndim else 0
    expected = {"K": [count, 3, 3], "Rt": [count, 3, 4]}
    for key, shape in expected.items():
        if key not in views:
            raise ReleasedError(f"{path}: {key} is missing")
        if list(views[key].shape) != shape or not count:
            raise ReleasedError(
                f"{path}: {key} must be [views, {shape[1]}, {shape[2]}], found "
                f"{list(views[key].shape)}"
            )
    if not shadow_from_pose and "ao" not in views:
        raise ReleasedError(f"{path}: ao is missing; avatars without pose_to_shadow need it")
    occlusion = None if shadow_from_pose else views["ao"]
    if occlusion is not None and (occlusion.ndim != 4 or occlusion.shape[:2] != (count, 1)):
        raise ReleasedError(
            f"{path}: ao must be [{count}, 1, height, width], found {list(occlusion.shape)}"
        )
    _check_centres(views, path)
    return views


def read_avatar(*, config: Path, assets: Path, weights: Path, views: Path) -> ReleasedAvatar:
    """Read all four files.

    Raises: ReleasedError: when one of them is invalid.
    """
    settings = read_config(config)
    from_pose = bool(settings["model"].get("pose_to_shadow"))
    return ReleasedAvatar(
        settings,
        read_assets(assets),
        read_weights(weights, settings),
        read_views(views, shadow_from_pose=from_pose),
    )


def image_size(config: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of images in the config."""
    renderer = config["model"].get("renderer") or {}
    return int(renderer.get("image_width", WIDTH)), int(renderer.get("image_height", HEIGHT))


def cameras_of(avatar: ReleasedAvatar, path: Path) -> dict[str, Camera]:
    """Convert the released views to cameras.

    Raises: ReleasedError: when a camera is invalid.
    """
    width, height = image_size(avatar.config)
    if not all(bool(avatar.views[key].isfinite().all()) for key in ("K", "Rt")):
        raise ReleasedError(f"{path}: K and Rt must be finite")
    try:
        return cameras(avatar.views, height=height, width=width)
    except CameraError as error:
        raise ReleasedError(f"{path}: {error}") from error


def network_of(avatar: ReleasedAvatar, path: Path) -> Network:
    """Convert an avatar to the content of avatar.safetensors.

    path: path of the checkpoint, for error messages.

    Raises: ReleasedError: when weights and assets do not match.
    """
    occlusion = avatar.views.get("ao")
    try:
        converted = convert(
            avatar.weights,
            avatar.assets,
            shadow_from_pose=avatar.shadow_from_pose,
            occlusion=None if occlusion is None else _shared(occlusion),
        )
    except CheckpointError as error:
        raise ReleasedError(f"{path}: {error}") from error
    except (ValueError, RuntimeError, TypeError, IndexError) as error:
        raise ReleasedError(f"{path}: does not match its static_assets.pt: {error}") from error
    notes = []
    if converted.unknown:  # the reference ignores them too
        more = f" and {len(converted.unknown) - 1} more" if len(converted.unknown) > 1 else ""
        notes.append(f"{path.name}: {converted.unknown[0]}{more} not used")
    return Network(asdict(converted.config), converted.weights, tuple(notes))


def _shared(occlusion: Tensor) -> Tensor:
    """Occlusion maps of all views [n, 1, h, w] -> [1, h, w] if they are equal, else [n, h, w]."""
    first = occlusion[:1]
    return first[:, 0] if torch.equal(occlusion, first.expand_as(occlusion)) else occlusion[:, 0]


def _asset(assets: Mapping[str, Any], key: str, path: Path) -> Any:
    value: Any = assets
    for name in key.split("."):
        if not isinstance(value, dict) or name not in value:
            raise ReleasedError(f"{path}: {key} is missing")
        value = value[name]
    return value


def _tensors_only(views: Any) -> Any:
    """Drop values other than arrays; the reference never uses them."""
    if not isinstance(views, dict):
        return views
    arrays = {key: value for key, value in views.items() if hasattr(value, "shape")}
    return {key: torch.as_tensor(value) for key, value in arrays.items()}


def _check_centres(views: Mapping[str, Tensor], path: Path) -> None:
    """Check that campos agrees with Rt; only Rt is used."""
    if "campos" not in views:
        return
    rotation, translation = views["Rt"][:, :, :3].double(), views["Rt"][:, :, 3:].double()
    centres = -(rotation.mT @ translation)[..., 0]
    if views["campos"].shape != centres.shape:
        raise ReleasedError(
            f"{path}: campos must be {list(centres.shape)}, found {list(views['campos'].shape)}"
        )
    offsets = (views["campos"].double() - centres).norm(dim=1)
    relative = offsets / centres.norm(dim=1).clamp(min=1e-9)
    if not float(relative.max()) < CENTRE_TOLERANCE:
        raise ReleasedError(f"{path}: campos does not match the camera centres given by Rt")
