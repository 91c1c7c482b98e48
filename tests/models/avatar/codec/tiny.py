"""Tiny released avatar that renders in milliseconds: a bent sheet on two bones.

Letters: V vertices, S side of the maps (32), C side of the coarse maps (16).
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from models.avatar.camera import Camera, looking_at
from models.avatar.codec.config import CodecConfig
from models.avatar.codec.model import CodecModel
from models.released import codec_keys as released
from tests.models.avatar.parity.weights import released_state

Tensor = torch.Tensor

FROM_POSE = CodecConfig(
    parents=(-1, 0),
    uv_size=32,
    pose_channels=2,
    body_code=4,
    face_vertices=3,
    face_hidden=4,
    face_view_features=2,
    face_shape_features=4,
    face_features=4,
    body_encoder=(3, 2, 2),
    face_encoder=(3, 2, 2),
    face_texture=(2, 2, 3),
    body_map=(2, 3, 2),
    face_map=(2, 2),
    maps=(4, 2),
    view=(2, 3),
    upscale=2,
    pose_shadow=(2, 1),
    joint_names=("root", "head"),
)
FROM_OCCLUSION = replace(
    FROM_POSE, shadow_from_pose=False, pose_shadow=CodecConfig(parents=()).pose_shadow,
    occlusion=2, occlusion_size=16, occlusion_levels=3,
)  # fmt: skip
SIDE = 5  # vertices along each side of the sheet


def tiny_state(config: CodecConfig = FROM_POSE, seed: int = 1) -> dict[str, Tensor]:
    """State dict of a released checkpoint."""
    return released_state(config, seed)


def tiny_assets() -> dict[str, Any]:
    """Content of static_assets.pt; arrays and tensors are mixed as in the released file."""
    at = np.linspace(0, 1, SIDE, dtype=np.float32)
    u, v = (x.reshape(-1) for x in np.meshgrid(at, at))
    corners = np.stack([10 * u - 5, 10 - 10 * v, 2 * np.sin(3 * u)], -1)
    first = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).reshape(-1)
    below = first + SIDE
    upper, lower = (first, below, first + 1), (first + 1, below, below + 1)
    faces = np.concatenate([np.stack(corner, -1) for corner in (upper, lower)])
    bone = {"PreRotation": [0.0, 0.0, 0.0, 1.0]}
    bones = [
        {"Name": "root", "Parent": 2**32 - 1, "TranslationOffset": [0.0, 0.0, 0.0], **bone},
        {"Name": "head", "Parent": 0, "TranslationOffset": [0.0, 5.0, 0.0], **bone},
    ]
    weights = [[joint, 0.5] for _ in corners for joint in (0, 1)]
    return {
        "topology": {
            "vi": faces,
            "vt": (0.1 + 0.8 * np.stack([u, v], -1)).astype(np.float32),
            "vti": faces.copy(),
            "v2uv": np.arange(len(corners), dtype=np.int32)[:, None].repeat(4, 1),
        },
        "lbs_model_json": {
            "Skeleton": {"Bones": bones},
            "SkinnedModel": {
                "SkinningWeights": weights,
                "SkinningOffsets": list(range(0, len(weights) + 1, 2)),
            },
        },
        "lbs_config_dict": {
            "transform": 0.1 * np.eye(14, 106, dtype=np.float32),
            "transform_offsets": np.zeros((1, 14), np.float32),
        },
        "lbs_template_verts": torch.from_numpy(corners.astype(np.float32)),
        "lbs_scale": torch.zeros(2),
        "global_scaling": torch.tensor([10.0, 10.0, 10.0]),
        "seam_data_1024": _seams(32),
        "seam_data_2048": _seams(64),
        "tex_mean": np.full((3, 32, 32), 120, np.float32),
        "face_cond_mask": np.pad(np.ones((4, 4), np.float32), ((10, 2), (2, 10))),
        "head_cond_mask": np.pad(np.ones((6, 6), np.float32), ((9, 1), (1, 9))),
        "body_cond_mask": np.ones((16, 16), np.float32),
        "pose_cond_mask": np.ones((98, 16, 16), np.int32),
        "face_mask": np.pad(np.ones((8, 8), np.float32), ((20, 4), (4, 20))),
        "mugsy_face_mask": np.ones((32, 32, 3), np.float32),
        "face_frontal_view": np.array([0.0, 0.0, 1.0], np.float32),
        "ao_mean": np.ones((1, 32, 32), np.float32),
    }


def tiny_released(config: CodecConfig = FROM_POSE) -> released.Converted:
    """Released avatar, converted to the names of this project."""
    from_pose = config.shadow_from_pose
    return released.convert(
        tiny_state(config),
        tiny_assets(),
        shadow_from_pose=from_pose,
        occlusion=None if from_pose else torch.ones(1, 40, 40),
    )


def tiny_model(config: CodecConfig = FROM_POSE) -> CodecModel:
    made = tiny_released(config)
    return CodecModel(made.config, made.weights)


def tiny_cameras() -> dict[str, Camera]:
    """Front and side cameras that look at the middle of the sheet, 64 x 96 pixels."""
    shared = {"target": (0.0, 50.0, 10.0), "focal": 1.5, "width": 64, "height": 96}
    return {
        "front": looking_at("front", eye=(0.0, 50.0, 300.0), **shared),
        "side": looking_at("side", eye=(150.0, 50.0, 250.0), **shared),
    }


def tiny_motion(frames: int) -> tuple[Tensor, Tensor]:
    """Face codes [frames, 256] and pose [frames, 104]."""
    rng = torch.Generator().manual_seed(5)
    face, pose = torch.randn(frames, 256, generator=rng), torch.randn(frames, 104, generator=rng)
    return face, 0.5 * pose


def _seams(size: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(size)
    return {
        "dst_ij": torch.tensor([[0, 0], [0, 1]]),
        "src_ij": torch.tensor([[5, 5], [5, 6]], dtype=torch.int32),
        "uvs": torch.rand(size, size, 2, generator=rng),
        "weights": torch.zeros(size, size).index_fill(1, torch.tensor([4]), 0.5),
    }
