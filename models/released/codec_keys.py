"""Conversion of a released avatar (checkpoint and assets) to the names of this project.

Source: spec/renderer.md sections 2 to 6 and parity/avatar/contract.json.
Buffers of a checkpoint take precedence over the assets, weight norm is folded into the kernels, and
tensors that only training uses are dropped. The files are read in `models/released/avatar.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from models.avatar.camera import Camera, camera_of
from models.avatar.codec.body import MOST_JOINTS
from models.avatar.codec.config import CodecConfig
from models.avatar.codec.model import NETWORKS, CodecNetworks
from models.avatar.codec.networks.layers import TransposedConvolution, resized
from models.avatar.codec.networks.upscaler import blurred_mean
from models.avatar.codec.texture.seams import seam_tables
from models.avatar.codec.texture.uv import lay_out
from models.checkpoint import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PARALLEL = "module."
SPREAD = 64.0  # standard deviation of the texture, if the assets do not contain it
PARTS = {"skip": "conv_resize", "first": "conv1", "second": "conv2"}  # of a block: here, released
LEGACY = {"weight": "weight_v", "g": "weight_g"}
DROPPED = ("lbs_fn.", "cal.", "pixel_cal.", "learn_blur.", "renderer.", "meye_mask")
BUFFERS = ("geo_fn.", "seam_sampler.", "seam_sampler_2k.", "tex_mean", "face_cond_mask")
MASKS = {
    "body_encoder.mask": "encoder.mask",
    "face_encoder.mask": "encoder_face.tex_cond_mask",
    "face_decoder.frontal_view": "decoder_face.frontal_view",
    "decoder.pose_mask": "decoder.pose_cond_mask",
    "decoder.face_mask": "decoder.face_cond_mask",
    "decoder.body_mask": "decoder.body_cond_mask",
    "occlusion_shadow.mean": "shadow_net.ao_mean",
}


@dataclass(frozen=True)
class Converted:
    """Config and weights of avatar.safetensors, and unused keys of the checkpoint."""

    config: CodecConfig
    weights: dict[str, Tensor]
    unknown: tuple[str, ...]  # keys that the known released avatars do not have


def convert(
    state: Mapping[str, Tensor],  # the checkpoint's "model"
    assets: Mapping[str, Any],  # static_assets.pt, arrays or tensors
    *,
    shadow_from_pose: bool,  # True if config.yml has `pose_to_shadow`
    occlusion: Tensor | None = None,  # [1 or views, H, W] `ao` of the defaults; None otherwise
) -> Converted:
    """Convert an avatar.

    Raises: CheckpointError: when a tensor is missing or has another shape, with its released name.
    """
    state = _normalised_keys(state)
    try:
        config = config_of(state, assets, shadow_from_pose=shadow_from_pose)
        weights = _networks(config, state, assets) | _tables(config, state, assets)
    except KeyError as error:
        raise CheckpointError(f"{error.args[0]} is missing in the released avatar") from error
    if not shadow_from_pose:
        if occlusion is None:
            raise CheckpointError(
                "`ao` is missing in the render defaults; avatars without pose_to_shadow need it"
            )
        weights["occlusion"] = occlusion.float()
    return Converted(config, weights, _unknown(state))


def config_of(
    state: Mapping[str, Tensor], assets: Mapping[str, Any], *, shadow_from_pose: bool
) -> CodecConfig:
    """Infer the sizes from the shapes of weights.

    Raises: KeyError: when a tensor is missing.
    """
    bones = assets["lbs_model_json"]["Skeleton"]["Bones"]
    decoder = "decoder.local_pose_conv_block.conv2.weight_v"
    more: dict[str, Any] = {}
    if shadow_from_pose:
        more["pose_shadow"] = _transposed(state, "pose_to_shadow.conv_block.{}")
        more["pose"] = state["pose_to_shadow.fc_block.0.weight_v"].shape[1]
    else:
        more["occlusion"] = state["shadow_net.enc_layers.0.0.weight_v"].shape[0]
        more["occlusion_size"] = state["shadow_net.enc_layers.0.0.bias"].shape[-1]
        more["occlusion_levels"] = len(list(_numbered(state, "shadow_net.enc_layers.{}.0")))
    return CodecConfig(
        parents=tuple(bone["Parent"] if bone["Parent"] < len(bones) else -1 for bone in bones),
        joint_names=_joint_names(bones),
        shadow_from_pose=shadow_from_pose,
        uv_size=state["decoder.verts_conv.bias"].shape[-1],
        local_pose=state[decoder].shape[1],
        pose_channels=state[decoder].shape[0],
        body_code=state["decoder.embs_fc.0.weight_v"].shape[1],
        face_code=state["decoder.face_embs_fc.0.weight_v"].shape[1],
        face_vertices=state["decoder_face.geommod.0.weight_v"].shape[0] // 3,
        face_hidden=state["decoder_face.encmod.0.weight_v"].shape[0],
        face_view_features=state["decoder_face.viewmod.0.weight_v"].shape[0],
        face_shape_features=state["encoder_face.geommod.0.weight_v"].shape[0],
        face_features=state["encoder_face.jointmod.0.weight_v"].shape[0],
        body_encoder=(
            state["encoder.verts_conv.conv2.weight_v"].shape[1],
            *_channels(state, "encoder.joint_conv_blocks.{}.conv2"),
        ),
        face_encoder=_channels(state, "encoder_face.conv_blocks.{}.conv2"),
        face_texture=_transposed(state, "decoder_face.texmod.{}"),
        body_map=_channels(state, "decoder.embs_conv_block.{}.conv2"),
        face_map=_channels(state, "decoder.face_embs_conv_block.{}.conv2"),
        maps=_channels(state, "decoder.conv_blocks.{}.conv2", halves=2),
        view=_channels(state, "decoder_view.unet.down{}.0", first=1)[1:],
        upscale=state["upscale_net.conv_block.0.weight_v"].shape[0],
        **more,
    )


def _joint_names(bones: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Names of the joints; empty unless every joint has a name that no other joint has."""
    names = tuple(str(bone.get("Name", "")) for bone in bones)
    return names if all(names) and len(set(names)) == len(names) else ()


def layer_names(config: CodecConfig) -> Iterator[tuple[str, str]]:
    """Pairs of names of each layer, here and in a checkpoint, without weight and bias."""
    yield from _block("decoder.local_pose", "decoder.local_pose_conv_block")
    yield "decoder.body_seed", "decoder.embs_fc.0"
    yield from _blocks("decoder.body_blocks", "decoder.embs_conv_block", config.body_map)
    yield "decoder.face_seed", "decoder.face_embs_fc.0"
    yield from _blocks("decoder.face_blocks", "decoder.face_embs_conv_block", config.face_map)
    yield from _block("decoder.joint", "decoder.joint_conv_block")
    yield from _blocks("decoder.blocks", "decoder.conv_blocks", config.maps)
    yield "decoder.offsets_out", "decoder.verts_conv"
    yield "decoder.texture_out", "decoder.tex_conv"
    yield from _block("body_encoder.blocks.0", "encoder.verts_conv")
    for n in range(1, len(config.body_encoder) - 1):
        yield from _block(f"body_encoder.blocks.{n}", f"encoder.joint_conv_blocks.{n - 1}")
    yield from _code("body_encoder", "encoder")
    yield from _blocks("face_encoder.blocks", "encoder_face.conv_blocks", config.face_encoder)
    yield "face_encoder.shape", "encoder_face.geommod.0"
    yield "face_encoder.joint", "encoder_face.jointmod.0"
    yield from _code("face_encoder", "encoder_face")
    yield "face_decoder.hidden", "decoder_face.encmod.0"
    yield "face_decoder.shape", "decoder_face.geommod.0"
    yield "face_decoder.view", "decoder_face.viewmod.0"
    yield "face_decoder.seed", "decoder_face.texmod2.0"
    for n in range(len(config.face_texture) - 1):
        yield f"face_decoder.layers.{n}", f"decoder_face.texmod.{2 * n}"
    for n in range(len(config.view)):
        yield f"view.down.{n}", f"decoder_view.unet.down{n + 1}.0"
        yield f"view.up.{n}", f"decoder_view.unet.up{n + 1}.0"
    yield "view.out", "decoder_view.unet.out"
    yield "upscaler.inner", "upscale_net.conv_block.0"
    yield "upscaler.out", "upscale_net.out_block"
    yield from _shadow_names(config)


def _shadow_names(config: CodecConfig) -> Iterator[tuple[str, str]]:
    if config.shadow_from_pose:
        yield "pose_shadow.seed", "pose_to_shadow.fc_block.0"
        for n in range(len(config.pose_shadow) - 1):
            yield f"pose_shadow.layers.{n}", f"pose_to_shadow.conv_block.{2 * n}"
        return
    for n in range(config.occlusion_levels):
        yield f"occlusion_shadow.down.{n}", f"shadow_net.enc_layers.{n}.0"
        yield f"occlusion_shadow.up.{n}", f"shadow_net.dec_layers.{n}.0"
    yield "occlusion_shadow.out", "shadow_net.shadow_pred"


def cameras(
    defaults: Mapping[str, Any],  # K [views, 3, 3] and Rt [views, 3, 4]
    *,
    height: int,
    width: int,
) -> dict[str, Camera]:
    """Convert the cameras of released render defaults, named by their order."""
    result = {}
    for number, (k, rt) in enumerate(zip(defaults["K"], defaults["Rt"], strict=True), start=1):
        intrinsics, pose = np.asarray(k, np.float64), np.asarray(rt, np.float64)
        name = f"view-{number}"
        result[name] = camera_of(name, width, height, intrinsics, pose[:, :3], pose[:, 3])
    return result


def _block(name: str, released: str) -> Iterator[tuple[str, str]]:
    for part, released_part in PARTS.items():
        yield f"{name}.{part}", f"{released}.{released_part}"


def _blocks(name: str, released: str, channels: Sequence[int]) -> Iterator[tuple[str, str]]:
    for n in range(len(channels) - 1):
        yield from _block(f"{name}.{n}", f"{released}.{n}")


def _code(name: str, released: str) -> Iterator[tuple[str, str]]:
    yield f"{name}.mean", f"{released}.mu"
    yield f"{name}.log_spread", f"{released}.logvar"


def _normalised_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefix of training on several GPUs and use the current names of weight norm."""
    result = {}
    for key, value in state.items():
        stem, _, leaf = key.removeprefix(PARALLEL).rpartition(".")
        result[f"{stem}.{LEGACY.get(leaf, leaf)}" if stem else leaf] = value
    return result


def _numbered(
    state: Mapping[str, Tensor], pattern: str, *, first: int = 0, step: int = 1
) -> Iterator[Tensor]:
    """Kernels of consecutively numbered layers.

    Raises: KeyError: when the first is missing.
    """
    number = first
    if (key := pattern.format(first) + ".weight_v") not in state:
        raise KeyError(key)
    while (key := pattern.format(number) + ".weight_v") in state:
        yield state[key]
        number += step


def _channels(
    state: Mapping[str, Tensor], pattern: str, *, first: int = 0, halves: int = 1
) -> tuple[int, ...]:
    """Input channels of the first layer and output channels of each; halves: number of groups."""
    kernels = list(_numbered(state, pattern, first=first))
    return kernels[0].shape[1], *(len(kernel) // halves for kernel in kernels)


def _transposed(state: Mapping[str, Tensor], pattern: str) -> tuple[int, ...]:
    """Channels of transposed convolutions, with layers without weights in between."""
    kernels = list(_numbered(state, pattern, step=2))
    return kernels[0].shape[0], *(kernel.shape[1] for kernel in kernels)


def _networks(
    config: CodecConfig, state: Mapping[str, Tensor], assets: Mapping[str, Any]
) -> dict[str, Tensor]:
    with torch.device("meta"):
        networks = CodecNetworks(config)
    expected, result = networks.state_dict(), {}
    for name, released in layer_names(config):
        transposed = isinstance(networks.get_submodule(name), TransposedConvolution)
        kernel = fold_weight_norm(state, released, transposed=transposed)
        bias = state[f"{released}.bias"]
        _check_shape(f"{released}.weight_v", kernel, expected[f"{name}.weight"])
        _check_shape(f"{released}.bias", bias, expected[f"{name}.bias"])
        result[f"{name}.weight"], result[f"{name}.bias"] = kernel, bias.float()
    result["face_decoder.mean"] = state["decoder_face.bias"].float()
    for name, released in MASKS.items():
        if name in expected:
            mask = state.get(released)
            result[name] = _mask(released, mask, assets, expected[name])
    return {NETWORKS + name: value for name, value in result.items()}


def fold_weight_norm(state: Mapping[str, Tensor], layer: str, *, transposed: bool) -> Tensor:
    """Kernel with weight norm folded in: one gain per output channel, one norm of the kernel."""
    kernel, gain = state[f"{layer}.weight_v"].float(), state[f"{layer}.weight_g"].float()
    shape = [1] * kernel.ndim
    shape[1 if transposed else 0] = -1
    out = kernel.shape[1 if transposed else 0]
    if gain.numel() != out:
        raise CheckpointError(f"{layer}.weight_g must have {out} values, found {gain.numel()}")
    return kernel * (gain.reshape(shape) / kernel.norm())


def _check_shape(key: str, found: Tensor, expected: Tensor) -> None:
    if found.shape != expected.shape:
        raise CheckpointError(f"{key} must be {list(expected.shape)}, found {list(found.shape)}")


def _mask(key: str, stored: Tensor | None, assets: Mapping[str, Any], expected: Tensor) -> Tensor:
    """Mask of the checkpoint, or computed from the assets."""
    size = expected.shape[-1]
    mask = _mask_from_assets(key, assets, size) if stored is None else stored.float()
    if mask.numel() != expected.numel():
        raise CheckpointError(f"{key} must be {list(expected.shape)}, found {list(mask.shape)}")
    return mask.reshape(expected.shape)


def _mask_from_assets(key: str, assets: Mapping[str, Any], size: int) -> Tensor:
    if key == "encoder.mask":
        return (resized(1 - _asset(assets, "face_mask")[None, None], size) != 0).float()
    if key == "encoder_face.tex_cond_mask":
        face = _asset(assets, "mugsy_face_mask")[..., 0]
        return resized(face[None, None], size, corners=True)
    if key == "decoder.pose_cond_mask":
        body = _asset(assets, "pose_cond_mask") * (1 - _asset(assets, "head_cond_mask"))
        return body.int().float()
    if key == "shadow_net.ao_mean":
        return interpolate(_asset(assets, "ao_mean")[None], (size, size), mode="nearest")
    if key == "decoder_face.frontal_view":
        return _asset(assets, "face_frontal_view")
    return _asset(assets, key.removeprefix("decoder."))


def _tables(
    config: CodecConfig, state: Mapping[str, Tensor], assets: Mapping[str, Any]
) -> dict[str, Tensor]:
    mean = state.get("tex_mean")
    if mean is None:
        mean = blurred_mean(_asset(assets, "tex_mean"), config.texture_size)
    spread = assets.get("tex_var", SPREAD)
    return {
        **_skeleton(assets),
        **_mesh(config, state, assets),
        **_seams("seams.", state, "seam_sampler.", assets["seam_data_1024"]),
        **_seams("fine_seams.", state, "seam_sampler_2k.", assets["seam_data_2048"]),
        "texture_mean": mean.float(),
        "texture_spread": torch.as_tensor(spread).float().reshape(()),
    }


def _skeleton(assets: Mapping[str, Any]) -> dict[str, Tensor]:
    model, config = assets["lbs_model_json"], assets["lbs_config_dict"]
    bones = model["Skeleton"]["Bones"]
    skin = model["SkinnedModel"]
    weights, joints = skin_tables(skin["SkinningWeights"], skin["SkinningOffsets"])
    return {
        "joint_offsets": torch.tensor([bone["TranslationOffset"] for bone in bones]).float(),
        "joint_rotations": torch.tensor([bone["PreRotation"] for bone in bones]).float(),
        "transform": _tensor(config["transform"]).float(),
        "transform_offsets": _tensor(config["transform_offsets"]).float().flatten(),
        "template": _asset(assets, "lbs_template_verts"),
        "scale": _asset(assets, "lbs_scale").flatten(),
        "scaling": _asset(assets, "global_scaling").flatten(),
        "skin_weights": weights,
        "skin_joints": joints,
    }


def skin_tables(
    pairs: Sequence[Sequence[float]],  # (joint, weight), ordered by vertex
    offsets: Sequence[int],  # [V + 1] index of the first pair of each vertex
) -> tuple[Tensor, Tensor]:
    """Skinning weights and joints, [V, 8]: at most 8 joints per vertex, padded with weight 0."""
    flat = torch.tensor(pairs, dtype=torch.float64)
    weights = torch.zeros(len(offsets) - 1, MOST_JOINTS)
    joints = torch.zeros(len(offsets) - 1, MOST_JOINTS, dtype=torch.int32)
    for vertex, (start, stop) in enumerate(pairwise(offsets)):
        some = flat[start : min(stop, start + MOST_JOINTS)]
        joints[vertex, : len(some)] = some[:, 0].int()
        weights[vertex, : len(some)] = some[:, 1].float()
    return weights, joints


def _mesh(
    config: CodecConfig, state: Mapping[str, Tensor], assets: Mapping[str, Any]
) -> dict[str, Tensor]:
    topology = {
        name: state.get(f"geo_fn.{name}", _tensor(value))
        for name, value in assets["topology"].items()
    }
    corners, weights = state.get("geo_fn.index_image"), state.get("geo_fn.bary_image")
    if corners is None or weights is None:
        charts = lay_out(topology["vi"], topology["vt"], topology["vti"], config.uv_size)
        corners, weights = charts.corners, charts.weights
    return {
        "faces": topology["vi"].int(),
        "uv_faces": topology["vti"].int(),
        "uv": topology["vt"].float(),
        "coordinates": topology["v2uv"].int(),
        "uv_corners": corners.int(),
        "uv_weights": weights.float(),
    }


def _seams(
    prefix: str, state: Mapping[str, Tensor], released: str, assets: Mapping[str, Any]
) -> dict[str, Tensor]:
    target, source, uv, weight = (
        state.get(released + name, _tensor(assets[name]))
        for name in ("dst_ij", "src_ij", "uvs", "weights")
    )
    return {prefix + k: v for k, v in seam_tables(target, source, uv, weight).items()}


def _unknown(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    modules = ("decoder.", "encoder.", "encoder_face.", "decoder_face.", "decoder_view.")
    more = ("upscale_net.", "shadow_net.", "pose_to_shadow.")
    known = (*DROPPED, *BUFFERS, *modules, *more)
    return tuple(sorted(key for key in state if not key.startswith(known)))


def _asset(assets: Mapping[str, Any], name: str) -> Tensor:
    return _tensor(assets[name]).float()


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(np.asarray(value))
