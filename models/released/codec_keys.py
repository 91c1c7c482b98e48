"""A released avatar under this project's names: what its checkpoint and its assets become.

Source: spec/renderer.md sections 2 to 6 and parity/avatar/contract.json. Reading the files is the
importer's work. Buffers of a checkpoint hold over what the assets would give; weight norm is
folded; what only training reads is dropped.
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
from models.avatar.codec.networks.layers import Upwards, resized
from models.avatar.codec.networks.upscaler import blurred_mean
from models.avatar.codec.texture.seams import seam_tables
from models.avatar.codec.texture.uv import lay_out
from models.checkpoint import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PARALLEL = "module."
SPREAD = 64.0  # of a texture, where the assets name none
PARTS = {"skip": "conv_resize", "first": "conv1", "second": "conv2"}  # of a block: ours, theirs
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
    """What `checkpoint.write` puts into avatar.safetensors, and what was of no use."""

    config: CodecConfig
    weights: dict[str, Tensor]
    unknown: tuple[str, ...]  # keys of the checkpoint that no released avatar is known to have


def convert(
    state: Mapping[str, Tensor],  # the checkpoint's "model"
    assets: Mapping[str, Any],  # static_assets.pt, arrays or tensors
    *,
    shadow_from_pose: bool,  # does config.yml have `pose_to_shadow`?
    occlusion: Tensor | None = None,  # [1 or views, H, W] the `ao` of the defaults, without it
) -> Converted:
    """Raises CheckpointError for what is missing or has another shape, by its released name."""
    state = _current(state)
    try:
        config = config_of(state, assets, shadow_from_pose=shadow_from_pose)
        weights = _networks(config, state, assets) | _tables(config, state, assets)
    except KeyError as error:
        raise CheckpointError(f"the released avatar lacks {error.args[0]}") from error
    if not shadow_from_pose:
        if occlusion is None:
            raise CheckpointError(
                "this avatar has no pose_to_shadow and needs `ao` in its render defaults"
            )
        weights["occlusion"] = occlusion.float()
    return Converted(config, weights, _unknown(state))


def config_of(
    state: Mapping[str, Tensor], assets: Mapping[str, Any], *, shadow_from_pose: bool
) -> CodecConfig:
    """The sizes, told by the shapes of weights. KeyError names a key that is not there."""
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


def layer_names(config: CodecConfig) -> Iterator[tuple[str, str]]:
    """Every layer's name here and in a checkpoint, without weight and bias."""
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
    """The cameras of released render defaults, named by their order."""
    result = {}
    for number, (k, rt) in enumerate(zip(defaults["K"], defaults["Rt"], strict=True), start=1):
        intrinsics, pose = np.asarray(k, np.float64), np.asarray(rt, np.float64)
        name = f"view-{number}"
        result[name] = camera_of(name, width, height, intrinsics, pose[:, :3], pose[:, 3])
    return result


def _block(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    for part, released in PARTS.items():
        yield f"{ours}.{part}", f"{theirs}.{released}"


def _blocks(ours: str, theirs: str, channels: Sequence[int]) -> Iterator[tuple[str, str]]:
    for n in range(len(channels) - 1):
        yield from _block(f"{ours}.{n}", f"{theirs}.{n}")


def _code(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    yield f"{ours}.mean", f"{theirs}.mu"
    yield f"{ours}.log_spread", f"{theirs}.logvar"


def _current(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what training on several GPUs put before every key, and under today's names."""
    result = {}
    for key, value in state.items():
        stem, _, leaf = key.removeprefix(PARALLEL).rpartition(".")
        result[f"{stem}.{LEGACY.get(leaf, leaf)}" if stem else leaf] = value
    return result


def _numbered(
    state: Mapping[str, Tensor], pattern: str, *, first: int = 0, step: int = 1
) -> Iterator[Tensor]:
    """The kernels of layers that are counted. KeyError where there is not even the first."""
    number = first
    if (key := pattern.format(first) + ".weight_v") not in state:
        raise KeyError(key)
    while (key := pattern.format(number) + ".weight_v") in state:
        yield state[key]
        number += step


def _channels(
    state: Mapping[str, Tensor], pattern: str, *, first: int = 0, halves: int = 1
) -> tuple[int, ...]:
    """What goes into the first layer and comes out of each; halves: of layers in groups."""
    kernels = list(_numbered(state, pattern, first=first))
    return kernels[0].shape[1], *(len(kernel) // halves for kernel in kernels)


def _transposed(state: Mapping[str, Tensor], pattern: str) -> tuple[int, ...]:
    """The same of transposed convolutions; between them are layers without weights."""
    kernels = list(_numbered(state, pattern, step=2))
    return kernels[0].shape[0], *(kernel.shape[1] for kernel in kernels)


def _networks(
    config: CodecConfig, state: Mapping[str, Tensor], assets: Mapping[str, Any]
) -> dict[str, Tensor]:
    with torch.device("meta"):
        networks = CodecNetworks(config)
    wanted, result = networks.state_dict(), {}
    for ours, theirs in layer_names(config):
        transposed = isinstance(networks.get_submodule(ours), Upwards)
        kernel, bias = folded(state, theirs, transposed=transposed), state[f"{theirs}.bias"]
        _check_shape(f"{theirs}.weight_v", kernel, wanted[f"{ours}.weight"])
        _check_shape(f"{theirs}.bias", bias, wanted[f"{ours}.bias"])
        result[f"{ours}.weight"], result[f"{ours}.bias"] = kernel, bias.float()
    result["face_decoder.mean"] = state["decoder_face.bias"].float()
    for ours, theirs in MASKS.items():
        if ours in wanted:
            mask = state.get(theirs)
            result[ours] = _mask(theirs, mask, assets, wanted[ours])
    return {NETWORKS + name: value for name, value in result.items()}


def folded(state: Mapping[str, Tensor], layer: str, *, transposed: bool) -> Tensor:
    """A kernel with its gains, over one norm of all of it."""
    kernel, gain = state[f"{layer}.weight_v"].float(), state[f"{layer}.weight_g"].float()
    shape = [1] * kernel.ndim
    shape[1 if transposed else 0] = -1
    out = kernel.shape[1 if transposed else 0]
    if gain.numel() != out:
        raise CheckpointError(f"{layer}.weight_g must hold {out} numbers, found {gain.numel()}")
    return kernel * (gain.reshape(shape) / kernel.norm())


def _check_shape(key: str, found: Tensor, expected: Tensor) -> None:
    if found.shape != expected.shape:
        raise CheckpointError(f"{key} must be {list(expected.shape)}, found {list(found.shape)}")


def _mask(key: str, stored: Tensor | None, assets: Mapping[str, Any], wanted: Tensor) -> Tensor:
    """A checkpoint's mask, or what the assets make of it."""
    size = wanted.shape[-1]
    mask = _mask_from_assets(key, assets, size) if stored is None else stored.float()
    if mask.numel() != wanted.numel():
        raise CheckpointError(f"{key} must be {list(wanted.shape)}, found {list(mask.shape)}")
    return mask.reshape(wanted.shape)


def _mask_from_assets(key: str, assets: Mapping[str, Any], size: int) -> Tensor:
    if key == "encoder.mask":
        return (resized(1 - _asset(assets, "face_mask")[None, None], size) != 0).float()
    if key == "encoder_face.tex_cond_mask":
        seen = _asset(assets, "mugsy_face_mask")[..., 0]
        return resized(seen[None, None], size, corners=True)
    if key == "decoder.pose_cond_mask":
        heard = _asset(assets, "pose_cond_mask") * (1 - _asset(assets, "head_cond_mask"))
        return heard.int().float()
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
    pairs: Sequence[Sequence[float]],  # (joint, weight), one vertex after the other
    offsets: Sequence[int],  # [V + 1] where each vertex's start
) -> tuple[Tensor, Tensor]:
    """-> weights and joints [V, 8]; further ones are dropped, missing ones weigh nothing."""
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
    prefix: str, state: Mapping[str, Tensor], theirs: str, assets: Mapping[str, Any]
) -> dict[str, Tensor]:
    target, source, uv, weight = (
        state.get(theirs + name, _tensor(assets[name]))
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
