"""The files of a released avatar, read and held against what is known of them.

What is made of them is the work of `models/released/codec_keys.py`; this is its door.
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

    Size = int | str  # a letter stands for the same number everywhere

HEIGHT, WIDTH = 2048, 1334  # of the released views, where the config does not say
CENTRE_TOLERANCE = 1e-3  # of the distance: how far campos may be from what Rt says
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
PRESENT = (  # of any size, or no array
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
UNUSED = "lbs_fn."  # of the checkpoint; the reference takes these from the assets too


@dataclass(frozen=True)
class ReleasedAvatar:
    """What the four files hold."""

    config: Mapping[str, Any]  # config.yml
    assets: Mapping[str, Any]  # static_assets.pt
    weights: Mapping[str, Tensor]  # body_dec.ckpt: released keys, its buffers among them
    views: Mapping[str, Tensor]  # render_defaults: K [n, 3, 3], Rt [n, 3, 4]; ao [n, 1, h, w]

    @property
    def shadow_from_pose(self) -> bool:
        """Whether light is worked out from the pose; else from a picture of where it reaches."""
        return bool(self.config["model"].get("pose_to_shadow"))


def read_config(path: Path) -> dict[str, Any]:
    """config.yml, with the sizes of a picture where they can be rendered."""
    config = read_yaml(path)
    if not isinstance(config.get("model"), dict):
        raise ReleasedError(f"{path} lacks 'model'")
    for name in ("encoder", "encoder_face", "decoder", "decoder_face"):
        if not isinstance(config["model"].get(name), dict):
            raise ReleasedError(f"{path} lacks model.{name}")
    return config


def read_assets(path: Path) -> dict[str, Any]:
    """static_assets.pt: all that the avatar is made of, in sizes that belong together."""
    assets = read_torch(path)
    if not isinstance(assets, dict):
        raise ReleasedError(f"{path} must be a dict, found {type(assets).__name__}")
    for key in PRESENT:
        _inside(assets, key, path)
    sizes: dict[str, tuple[int, str]] = {}
    for key, wanted in ASSETS.items():
        shape = getattr(_inside(assets, key, path), "shape", None)
        if shape is None or len(shape) != len(wanted):
            raise ReleasedError(
                f"{path}: {key} must be [{', '.join(map(str, wanted))}], found "
                f"{'no array' if shape is None else list(shape)}"
            )
        for size, letter in zip(shape, wanted, strict=True):
            number, origin = sizes.setdefault(str(letter), (size, key))
            number = letter if isinstance(letter, int) else number
            if size != number:
                because = f" as {origin} has" if origin != key else ""
                raise ReleasedError(
                    f"{path}: {key} must have {number}{because} ({letter}), found {list(shape)}"
                )
    return assets


def read_weights(path: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """body_dec.ckpt: the state dict below "model", without what is never read."""
    weights = tensors_of(read_torch(path, inert=OPTIMISER), path, key="model")
    kept = {key.removeprefix("module."): value for key, value in weights.items()}
    shadow = "pose_to_shadow." if config["model"].get("pose_to_shadow") else "shadow_net."
    for part in (*PARTS, shadow):
        if not any(key.startswith(part) for key in kept):
            raise ReleasedError(f"{path} lacks {part}*; it is no whole avatar")
    return {key: value for key, value in kept.items() if not key.startswith(UNUSED)}


def read_views(path: Path, *, shadow_from_pose: bool) -> dict[str, Tensor]:
    """render_defaults: cameras, and light where the avatar does not work it out from the pose."""
    views = tensors_of(_tensors_only(read_torch(path)), path)
    count = len(views["K"]) if "K" in views and views["K"].ndim else 0
    wanted = {"K": [count, 3, 3], "Rt": [count, 3, 4]}
    for key, shape in wanted.items():
        if key not in views:
            raise ReleasedError(f"{path} lacks {key}")
        if list(views[key].shape) != shape or not count:
            raise ReleasedError(
                f"{path}: {key} must be [views, {shape[1]}, {shape[2]}], found "
                f"{list(views[key].shape)}"
            )
    if not shadow_from_pose and "ao" not in views:
        raise ReleasedError(f"{path} lacks ao, which an avatar without pose_to_shadow needs")
    light = None if shadow_from_pose else views["ao"]
    if light is not None and (light.ndim != 4 or light.shape[:2] != (count, 1)):
        raise ReleasedError(
            f"{path}: ao must be [{count}, 1, height, width], found {list(light.shape)}"
        )
    _check_centres(views, path)
    return views


def read_avatar(*, config: Path, assets: Path, weights: Path, views: Path) -> ReleasedAvatar:
    """All four. Raises ReleasedError."""
    settings = read_config(config)
    from_pose = bool(settings["model"].get("pose_to_shadow"))
    return ReleasedAvatar(
        settings,
        read_assets(assets),
        read_weights(weights, settings),
        read_views(views, shadow_from_pose=from_pose),
    )


def picture_size(config: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height that the config renders at."""
    renderer = config["model"].get("renderer") or {}
    return int(renderer.get("image_width", WIDTH)), int(renderer.get("image_height", HEIGHT))


def cameras_of(avatar: ReleasedAvatar, path: Path) -> dict[str, Camera]:
    """The released views as cameras.json has them."""
    width, height = picture_size(avatar.config)
    if not all(bool(avatar.views[key].isfinite().all()) for key in ("K", "Rt")):
        raise ReleasedError(f"{path}: K and Rt must be finite everywhere")
    try:
        return cameras(avatar.views, height=height, width=width)
    except CameraError as error:
        raise ReleasedError(f"{path}: {error}") from error


def network_of(avatar: ReleasedAvatar, path: Path) -> Network:
    """What avatar.safetensors will hold. path: of the checkpoint, for errors."""
    occlusion = avatar.views.get("ao")
    try:
        made = convert(
            avatar.weights,
            avatar.assets,
            shadow_from_pose=avatar.shadow_from_pose,
            occlusion=None if occlusion is None else _once(occlusion),
        )
    except CheckpointError as error:
        raise ReleasedError(f"{path}: {error}") from error
    except (ValueError, RuntimeError, TypeError, IndexError) as error:
        raise ReleasedError(f"{path} and its static_assets.pt do not fit: {error}") from error
    notes = []
    if made.unknown:  # the reference reads past them too
        more = f" and {len(made.unknown) - 1} more" if len(made.unknown) > 1 else ""
        notes.append(f"{path.name} holds {made.unknown[0]}{more}, which nobody reads")
    return Network(asdict(made.config), made.weights, tuple(notes))


def _once(light: Tensor) -> Tensor:
    """Pictures of light of every view [n, 1, h, w] -> [1, h, w], or [n, h, w] where they differ."""
    return light[:1, 0] if torch.equal(light, light[:1].expand_as(light)) else light[:, 0]


def _inside(assets: Mapping[str, Any], key: str, path: Path) -> Any:
    found: Any = assets
    for name in key.split("."):
        if not isinstance(found, dict) or name not in found:
            raise ReleasedError(f"{path} lacks {key}")
        found = found[name]
    return found


def _tensors_only(views: Any) -> Any:
    """Everything else in render defaults is passed through by the reference and never read."""
    if not isinstance(views, dict):
        return views
    arrays = {key: value for key, value in views.items() if hasattr(value, "shape")}
    return {key: torch.as_tensor(value) for key, value in arrays.items()}


def _check_centres(views: Mapping[str, Tensor], path: Path) -> None:
    """Hold campos against Rt, which is what is used."""
    if "campos" not in views:
        return
    rotation, translation = views["Rt"][:, :, :3].double(), views["Rt"][:, :, 3:].double()
    centres = -(rotation.mT @ translation)[..., 0]
    if views["campos"].shape != centres.shape:
        raise ReleasedError(
            f"{path}: campos must be {list(centres.shape)}, found {list(views['campos'].shape)}"
        )
    away = (views["campos"].double() - centres).norm(dim=1) / centres.norm(dim=1).clamp(min=1e-9)
    if not float(away.max()) < CENTRE_TOLERANCE:
        raise ReleasedError(f"{path}: campos is not where Rt puts the cameras")
