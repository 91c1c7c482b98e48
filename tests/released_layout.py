"""Small released person: all files with the released folders and pickle formats.

The keys are those of the reference (`tests/models/motion/parity/specs`), the weights are random.
The speech and motion networks are narrow, so that a clip is animated quickly.
"""

import argparse
import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.avatar.codec.config import CodecConfig
from models.avatar.codec.model import CodecNetworks
from models.avatar.codec.networks.layers import TransposedConvolution
from models.motion.denoiser import BodyDenoiser, Denoiser, DenoiserConfig
from models.motion.guide import Guide, GuideConfig
from models.motion.lips import LipConfig, LipRegressor, sinusoids
from models.motion.resample import sinc_filters
from models.motion.speech import ConvSpeech, ConvSpeechConfig
from models.motion.tokenizer import Tokenizer, TokenizerConfig
from models.released import motion_keys as released
from models.released.codec_keys import layer_names
from models.released.weight_names import guide_rules, tokenizer_rules

PERSON = "PXB184"
SPECS = Path(__file__).parent / "models" / "motion" / "parity" / "specs"
WIDTH = 8  # channels of the speech models
KERNELS = ((10, 5), (8, 4), (4, 2), (4, 2), (4, 2), (1, 1), (1, 1), (1, 1))
SPEECH = ConvSpeechConfig(layers=tuple((WIDTH, kernel, stride) for kernel, stride in KERNELS))
LIPS = LipConfig(layers=SPEECH.layers[:7], vertices=2, hidden=16)
FACE = DenoiserConfig(
    channels=256, audio_channels=2 * WIDTH + 6, width=16, layers=2, heads=2, hidden=16,
    encoder_layers=2,
)  # fmt: skip
BODY = DenoiserConfig(
    channels=104, audio_channels=2 * WIDTH, width=16, layers=2, heads=2, hidden=16,
    longest_keys=20, tail_hidden=8,
)  # fmt: skip
GUIDE = GuideConfig(
    codes=8, audio_channels=2 * WIDTH, audio_blocks=1, width=16, layers=2, hidden=16
)
TOKENIZER = TokenizerConfig(width=8, codes=8, depth=3)
AVATAR = CodecConfig(
    parents=(-1, 0), uv_size=32, pose=104, local_pose=98, pose_channels=2, body_code=4,
    face_vertices=3, face_hidden=4, face_view_features=2, face_shape_features=4, face_features=4,
    body_encoder=(3, 2, 2), face_encoder=(3, 2, 2), face_texture=(2, 2, 3), body_map=(2, 2, 2),
    face_map=(2, 2), maps=(4, 2), view=(2, 2), upscale=2, pose_shadow=(2, 1),
)  # fmt: skip
SPEECH_ARGS = {
    "conv_feature_layers": str(list(SPEECH.layers)),
    "activation": "gelu",
    "log_compression": True,
    "skip_connections_feat": False,
    "vq_type": "gumbel",
}
LIP_ARGS = {  # the released file names no activation: the default is relu
    "conv_feature_layers": str(list(LIPS.layers)),
    "log_compression": True,
    "skip_connections_agg": True,
    "residual_scale": 0.5,
}
DIFFUSION_ARGS = {"heads": 2, "layers": 2, "noise_schedule": "cosine", "max_seq_length": 600}
TABLES = {  # rules that rename or drop keys
    "speech_vq": released.SPEECH,
    "lip": released.LIPS,
    "face_small": released.DENOISER,
    "pose_small": released.DENOISER,
    "guide_small": guide_rules(GUIDE.audio_blocks),
    "vq_small": tokenizer_rules(),
}


def write_released_person(folder: Path, person: str = PERSON) -> Path:
    """Write all files of a person below `folder` and return `folder`."""
    torch.manual_seed(0)
    speech = state_of("speech_vq", ConvSpeech(SPEECH))
    lips = state_of("lip", LipRegressor(LIPS))
    inside = {released.AUDIO_PART + key: value for key, value in speech.items()}
    features = inside | {released.LIP_PART + key: value for key, value in lips.items()}
    write_diffusion(folder, "face", state_of("face_small", Denoiser(FACE)) | features, person)
    write_diffusion(folder, "pose", state_of("pose_small", BodyDenoiser(BODY)) | inside, person)
    write_guide(folder, state_of("guide_small", Guide(GUIDE)) | inside, person)
    write_tokenizer(folder, state_of("vq_small", Tokenizer(TOKENIZER)), person)
    write_assets(folder, speech, lips)
    write_statistics(folder, person)
    write_avatar(folder, person)
    return folder


def state_of(spec: str, network: nn.Module) -> dict[str, Tensor]:
    """Weights under the released keys of a spec, without those of nested networks.

    Weights of the network are random; tables and unused values are as released.
    """
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    result = {}
    for key in json.loads((SPECS / f"{spec}.json").read_text()):
        if key.startswith((released.AUDIO_PART, released.LIP_PART)):
            continue
        width = getattr(network.config, "width", WIDTH)
        if (table := _computed(key, width)) is not None:
            result[key] = table
        else:
            result[key] = _random(key, _shape(key, shapes, TABLES[spec]))
    return result


def write_diffusion(folder: Path, form: str, weights: Mapping[str, Tensor], person: str) -> Path:
    """form: "face" or "pose"."""
    path = folder / "checkpoints" / "diffusion" / f"c1_{form}" / "model000155000.pt"
    args = DIFFUSION_ARGS | {"data_format": form, "data_root": f"./dataset/{person}/"}
    _write_args(path.parent, args)
    torch.save(OrderedDict(weights), path.with_name("model000150000.pt"))
    torch.save(OrderedDict(weights), path)
    torch.save({"state": {}}, path.with_name("opt000155000.pt"))
    return path


def write_guide(folder: Path, weights: Mapping[str, Tensor], person: str) -> Path:
    path = folder / "checkpoints" / "guide" / "c1_pose" / "checkpoints" / "iter-0100000.pt"
    args = {"layers": 2, "dim": 16, "data_root": f"./dataset/{person}/"}  # no num_audio_layers
    tokenizer = "checkpoints/vq/c1_pose/net_iter300000.pth"
    _write_args(path.parent.parent, args | {"resume_pth": tokenizer})
    path.parent.mkdir()
    _, optimiser = trained()
    torch.save(
        {
            "iteration": 100000,
            "model_state_dict": OrderedDict(weights),
            "optimizer_state_dict": optimiser.state_dict(),
        },
        path,
    )
    return path


def write_tokenizer(folder: Path, weights: Mapping[str, Tensor], person: str) -> Path:
    path = folder / "checkpoints" / "vq" / "c1_pose" / "net_iter300000.pth"
    args = {"nb_joints": 104, "output_emb_width": 8, "code_dim": 8, "depth": 3}
    _write_args(path.parent, args | {"data_root": f"./dataset/{person}/"})
    scheduler, optimiser = trained()
    torch.save(
        {
            "net": OrderedDict(weights),
            "optimizer": optimiser.state_dict(),
            "scheduler": scheduler,  # the pickled object, which contains its optimizer
        },
        path,
    )
    return path


def write_assets(folder: Path, speech: Mapping[str, Tensor], lips: Mapping[str, Tensor]) -> None:
    """Write the speech models in the old format of torch and in half precision."""
    assets = folder / "assets"
    assets.mkdir()
    write_fairseq(assets / "vq-wav2vec.pt", SPEECH_ARGS, speech)
    prefix = "audio_encoder.wav2vec_model."
    large = {k.removeprefix(prefix): v for k, v in lips.items() if k.startswith(prefix)}
    write_fairseq(assets / "wav2vec_large.pt", LIP_ARGS, large)
    torch.save({"model_state_dict": OrderedDict(lips), "epoch": 3}, assets / "iter-0200000.pt")


def write_fairseq(path: Path, args: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    torch.save(
        {
            "args": argparse.Namespace(**args),
            "model": OrderedDict((key, value.half()) for key, value in weights.items()),
            "optimizer_history": [{"criterion_name": "BinaryCrossEntropyCriterion"}],
            "extra_state": {"epoch": 9},
            "last_optimizer_state": None,
        },
        path,
        _use_new_zipfile_serialization=False,
    )


def write_statistics(folder: Path, person: str) -> Path:
    path = folder / "dataset" / person / "data_stats.pth"
    path.parent.mkdir(parents=True)
    draw = np.random.default_rng(7)
    torch.save(
        {
            "pose_mean": draw.normal(size=104),
            "pose_std": draw.uniform(0.1, 0.2, 104),
            "pose_std_flat": np.array([2.9]),
            "code_mean": draw.normal(size=256),
            "code_std": draw.uniform(0.1, 0.2, 256),
            "code_std_flat": np.array([0.36]),
            "audio_mean": np.array([-1e-7, 1e-7], np.float32),
            "audio_std": np.array([0.012, 0.013], np.float32),
            "audio_std_flat": np.array([0.014], np.float32),
            "facekp_mean": np.zeros((274, 3)),
        },
        path,
    )
    return path


def write_avatar(folder: Path, person: str) -> Path:
    """Write the four files of the avatar and return the folder of the first three."""
    data = folder / "checkpoints" / "ca_body" / "data" / person
    data.mkdir(parents=True)
    (data / "config.yml").write_text(
        "gpu: 0\n"
        "size: {height: 96, width: 64}\n"
        "model:\n"
        "  class_name: ca_body.models.mesh_vae_drivable.AutoEncoder\n"
        "  encoder: {n_embs: 4, noise_std: 1.0}\n"
        "  encoder_face: {n_embs: 256, noise_std: 1.0}\n"
        "  decoder_face: {n_latent: 256, n_vert_out: 9}\n"
        "  decoder: {n_pose_dims: 98, uv_size: 32}\n"
        "  renderer: {image_height: '${size.height}', image_width: '${size.width}'}\n"
        "  pose_to_shadow: {n_pose_dims: 104, uv_size: 64}\n"
    )
    torch.save(avatar_assets(), data / "static_assets.pt")
    torch.save({"model": avatar_state(), "iteration": 3}, data / "body_dec.ckpt")
    views = folder / "assets" / f"render_defaults_{person}.pth"
    torch.save(avatar_views(), views)
    return data


def avatar_state() -> "OrderedDict[str, Tensor]":
    """Weights with the two parts of weight norm, and some of the buffers."""
    networks = CodecNetworks(AVATAR)
    shapes = networks.state_dict()
    state: OrderedDict[str, Tensor] = OrderedDict()
    for ours, theirs in layer_names(AVATAR):
        kernel = shapes[f"{ours}.weight"]
        gains = [1] * kernel.ndim
        axis = 1 if isinstance(networks.get_submodule(ours), TransposedConvolution) else 0
        gains[axis] = kernel.shape[axis]
        state[f"{theirs}.weight_v"] = torch.randn_like(kernel)
        state[f"{theirs}.weight_g"] = torch.rand(gains) + 0.5
        state[f"{theirs}.bias"] = 0.1 * torch.randn_like(shapes[f"{ours}.bias"])
    state["decoder_face.bias"] = torch.zeros_like(shapes["face_decoder.mean"])
    state["lbs_fn.lbs_scale"] = torch.zeros(2)
    state["renderer.image_size"] = torch.tensor([96, 64])
    return state


def avatar_assets() -> dict[str, Any]:
    """Two triangles on two bones, with numpy arrays and tensors as in the released file."""
    corners = np.array([[0, 0, 0], [0, 9, 0], [6, 9, 0], [6, 0, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    uv = np.array([[0.1, 0.9], [0.1, 0.1], [0.9, 0.1], [0.9, 0.9]], np.float32)
    bone = {"PreRotation": [0.0, 0.0, 0.0, 1.0], "TranslationOffset": [0.0, 1.0, 0.0]}
    return {
        "topology": {
            "vi": faces, "vt": uv, "vti": faces.copy(),
            "v2uv": np.arange(4, dtype=np.int32)[:, None].repeat(4, 1),
        },
        "lbs_model_json": {
            "Skeleton": {
                "Bones": [
                    {"Name": "root", "Parent": 4294967295, **bone},
                    {"Name": "head", "Parent": 0, **bone},
                ]
            },
            "SkinnedModel": {
                "RestPositions": corners.tolist(),
                "SkinningWeights": [[0, 1.0], [0, 0.5], [1, 0.5], [1, 1.0], [0, 1.0]],
                "SkinningOffsets": [0, 1, 3, 4, 5],
            },
        },
        "lbs_config_dict": {
            "channel_names": ["tx", "ty", "tz", "rx", "ry", "rz", "sc"],
            "transform": np.eye(14, 106, dtype=np.float32),
            "transform_offsets": np.zeros((1, 14), np.float32),
        },
        "lbs_template_verts": torch.from_numpy(corners),
        "lbs_scale": torch.zeros(2),
        "global_scaling": torch.tensor([10.0, 10.0, 10.0]),
        "seam_data_1024": _seams(32),
        "seam_data_2048": _seams(64),
        "tex_mean": np.full((3, 32, 32), 120, np.float32),
        "tex_var": 64.0,
        "face_cond_mask": np.zeros((16, 16), np.float32),
        "head_cond_mask": np.zeros((16, 16), np.float32),
        "body_cond_mask": np.ones((16, 16), np.float32),
        "pose_cond_mask": np.ones((98, 16, 16), np.int32),
        "face_mask": np.zeros((32, 32), np.float32),
        "mouth_eyes_mask_geom": np.zeros(4, np.float32),
        "mugsy_face_mask": np.ones((32, 32, 3), np.float32),
        "face_frontal_view": np.array([0.0, 0.0, 1.0], np.float32),
        "ao_mean": np.ones((1, 32, 32), np.float32),
        "camera_ids": ["400870", "400883"],
    }  # fmt: skip


def avatar_views() -> dict[str, Tensor]:
    """Two cameras at ten times the height of the body."""
    inner = torch.tensor([[100.0, 0, 32], [0, 100, 48], [0, 0, 1]]).repeat(2, 1, 1)
    outer = torch.cat([torch.eye(3), torch.tensor([[-30.0], [-45], [900]])], 1).repeat(2, 1, 1)
    outer[1, 0, 3] = -60
    return {"K": inner, "Rt": outer, "campos": -outer[:, :, 3], "_index": torch.tensor([0, 1])}


def trained() -> tuple[torch.optim.lr_scheduler.MultiStepLR, torch.optim.AdamW]:
    """Scheduler and optimizer after one training step."""
    layer = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones=[3], gamma=0.05)
    layer(torch.zeros(1, 2)).sum().backward()
    optimiser.step()
    scheduler.step()
    return scheduler, optimiser


def _seams(size: int) -> dict[str, Tensor]:
    return {
        "dst_ij": torch.tensor([[0, 0], [0, 1]]),
        "src_ij": torch.tensor([[5, 5], [5, 6]], dtype=torch.int32),
        "uvs": torch.rand(size, size, 2),
        "weights": torch.zeros(size, size).index_fill(1, torch.tensor([4]), 0.5),
    }


def _write_args(folder: Path, args: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True)
    (folder / "args.json").write_text(json.dumps(args, indent=4, sort_keys=True))


def _computed(key: str, width: int) -> Tensor | None:
    """Tables that depend on the sizes alone."""
    if key.endswith("rotary.freqs"):
        return 1 / 10000 ** (torch.arange(0, width, 2) / width)
    if key.endswith("resampler.kernel"):
        return sinc_filters(48_000, 16_000)
    return sinusoids(LIPS.positions, WIDTH) if key.endswith(".pe") else None


def _shape(key: str, shapes: Mapping[str, torch.Size], rules: released.Rules) -> list[int]:
    """Shape in the network; [1] for unused keys."""
    name = released.rename_key(key, rules) if "_codebook" not in key else "codebooks"
    if name == "codebooks":
        return list(shapes[name][1:])
    return [1] if name is None else list(shapes[name])


def _random(key: str, shape: list[int]) -> Tensor:
    if key.endswith("inited"):
        return torch.ones(1)
    scale = 1 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.1
    return torch.randn(shape) * scale + (1.0 if "norm" in key and key.endswith("weight") else 0.0)
