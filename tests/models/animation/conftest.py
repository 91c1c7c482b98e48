"""The demo person and a small codec person, as animation files describe them, and motion."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.animation.figure import Figure
from models.animation.quaternions import IDENTITY, inverse, multiply, rotate
from models.animation.rows import MotionRows, rows_of
from models.avatar.codec.model import CodecModel
from models.avatar.codec.renderer import CodecAvatar
from models.avatar.loading import load_avatar
from models.released.codec_keys import convert
from tests.models.avatar.codec.tiny import (
    tiny_assets,
    tiny_cameras,
    tiny_model,
    tiny_motion,
    tiny_state,
)

PERSON = Path(__file__).parents[3] / "people" / "demo"
FRAMES = 45


@pytest.fixture(scope="session")
def demo() -> Figure:
    """The demo person."""
    return load_avatar(PERSON, device=torch.device("cpu")).figure("demo")  # type: ignore[attr-defined,no-any-return]


@pytest.fixture(scope="session")
def codec() -> Figure:
    """A codec avatar of a few vertices."""
    return CodecAvatar(tiny_model(), tiny_cameras()).figure("tiny")


def motion_of(figure: Figure, frames: int = FRAMES, seed: int = 0) -> MotionRows:
    """Smooth motion of every pose parameter and face unit."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(frames)[:, None] / 30

    def waves(width: int) -> NDArray[np.float64]:
        speed, phase = rng.uniform(1, 6, (1, width)), rng.uniform(0, 6, (1, width))
        return np.asarray(np.sin(seconds * speed + phase))

    pose = 0.35 * waves(figure.pose_width)
    if figure.face_codes is None:
        face = tiny_motion(frames)[0].numpy()
    else:
        face = figure.face_codes(0.5 + 0.5 * waves(len(figure.unit_names)))
    return rows_of(face.astype(np.float32), pose.astype(np.float32))


@pytest.fixture(scope="session")
def demo_motion(demo: Figure) -> MotionRows:
    return motion_of(demo)


@pytest.fixture(scope="session")
def codec_motion(codec: Figure) -> MotionRows:
    return motion_of(codec)


# Joint, parent and place in centimetres; those of the left side stand for both.
HUMAN_JOINTS = (
    ("b_root", "", (0, 95, 0)),
    ("b_spine0", "b_root", (0, 104, 0)),
    ("b_spine1", "b_spine0", (0, 114, 0)),
    ("b_spine2", "b_spine1", (0, 126, 0)),
    ("b_spine3", "b_spine2", (0, 138, 0)),
    ("b_neck0", "b_spine3", (0, 150, 0)),
    ("b_head", "b_neck0", (0, 158, 2)),
    ("b_l_shoulder", "b_spine3", (3, 145, 0)),
    ("b_l_arm", "b_l_shoulder", (17, 146, 0)),
    ("b_l_forearm", "b_l_arm", (32, 124, 0)),
    ("b_l_wrist", "b_l_forearm", (44, 104, 6)),
    ("b_l_upleg", "b_root", (9, 92, 0)),
    ("b_l_leg", "b_l_upleg", (10, 50, 1)),
    ("b_l_foot", "b_l_leg", (11, 8, -2)),
)


def human_bones() -> list[dict[str, object]]:
    """Skeleton of static_assets.pt with the joints above on both sides, each with its own axes."""
    rng = np.random.default_rng(5)
    joints = [
        (name.replace("_l_", side), parent.replace("_l_", side), (x * sign, y, z))
        for side, sign in (("_l_", 1), ("_r_", -1))
        for name, parent, (x, y, z) in HUMAN_JOINTS
        if side == "_l_" or "_l_" in name
    ]
    names = [name for name, _, _ in joints]
    world: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    bones: list[dict[str, object]] = []
    for name, parent, place in joints:
        q = np.append(rng.uniform(-0.3, 0.3, 3), 1.0)
        local = q / np.linalg.norm(q)
        at = np.array(place, float)
        above, start = world.get(parent, (IDENTITY, np.zeros(3)))
        world[name] = multiply(above, local), at
        bones.append(
            {
                "Name": name,
                "Parent": names.index(parent) if parent else 2**32 - 1,
                "PreRotation": local.tolist(),
                "TranslationOffset": rotate(inverse(above), at - start).tolist(),
            }
        )
    return bones


@pytest.fixture(scope="session")
def human_codec() -> Figure:
    """A codec avatar with a humanoid skeleton; its mesh is still a sheet."""
    bones, assets = human_bones(), tiny_assets()
    assets["lbs_model_json"]["Skeleton"]["Bones"] = bones
    rng = np.random.default_rng(6)
    transform = np.zeros((len(bones), 7, 106), np.float32)
    transform[:, 3:6, :104] = rng.normal(0, 0.05, (len(bones), 3, 104))
    transform[0, :3, :3] = np.eye(3)
    assets["lbs_config_dict"]["transform"] = transform.reshape(-1, 106)
    assets["lbs_config_dict"]["transform_offsets"] = np.zeros((1, len(bones) * 7), np.float32)
    corners = assets["lbs_template_verts"]
    assets["lbs_template_verts"] = corners * torch.tensor([1.0, 17.0, 1.0])
    made = convert(tiny_state(), assets, shadow_from_pose=True)
    model = CodecModel(made.config, made.weights)
    return CodecAvatar(model, tiny_cameras()).figure("human")
