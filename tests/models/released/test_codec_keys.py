"""Conversion of released avatars: sizes, precedence, errors, round trip."""

import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from models import checkpoint
from models.avatar.codec.model import NETWORKS, load_codec
from models.checkpoint import CheckpointError
from models.released.codec_keys import cameras, convert, skin_tables
from tests.models.avatar.codec.tiny import (
    FROM_OCCLUSION,
    FROM_POSE,
    tiny_assets,
    tiny_motion,
    tiny_released,
    tiny_state,
)

Tensor = torch.Tensor
CPU = torch.device("cpu")


def make(state: dict[str, Tensor], **assets: object) -> dict[str, Tensor]:
    return convert(state, {**tiny_assets(), **assets}, shadow_from_pose=True).weights


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("config", [FROM_POSE, FROM_OCCLUSION], ids=["pose", "occlusion"])
def test_sizes_are_inferred_from_the_weights(config: object) -> None:
    assert tiny_released(config).config == config


def test_keys_of_training_on_several_gpus_are_read() -> None:
    state = {f"module.{key}": value for key, value in tiny_state().items()}
    assert same(make(state), make(tiny_state()))


def test_names_of_older_weights_are_read() -> None:
    older = {}
    for key, value in tiny_state().items():
        renamed = re.sub(r"weight_v$", "weight", re.sub(r"weight_g$", "g", key))
        older[renamed] = value.flatten() if key.endswith("_g") else value
    assert same(make(older), make(tiny_state()))


def test_tensors_of_the_checkpoint_take_precedence_over_the_assets() -> None:
    mean, mask = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 16, 16)
    index = torch.zeros(32, 32, 3, dtype=torch.int64)
    more = {
        "tex_mean": mean,
        "decoder.face_cond_mask": mask,
        "geo_fn.index_image": index,
        "geo_fn.bary_image": torch.ones(32, 32, 3),
        "seam_sampler_2k.weights": torch.zeros(64, 64),
    }
    weights = make(tiny_state() | more)
    assert torch.equal(weights["texture_mean"], mean)
    assert torch.equal(weights[NETWORKS + "decoder.face_mask"], mask[0, 0])
    assert torch.equal(weights["uv_corners"], index.int())
    assert len(weights["fine_seams.blended"]) == 0
    assert len(weights["seams.blended"]) == 32


def test_unknown_keys_are_reported() -> None:
    state = tiny_state() | {"cal.holder.params": torch.ones(4, 6), "mystery.weight": torch.ones(1)}
    converted = convert(state, tiny_assets(), shadow_from_pose=True)
    assert converted.unknown == ("mystery.weight_v",)


def test_the_assets_may_contain_the_spread_of_the_texture() -> None:
    assert make(tiny_state())["texture_spread"] == 64
    assert make(tiny_state(), tex_var=32.0)["texture_spread"] == 32


@pytest.mark.parametrize(
    "key",
    ["decoder.tex_conv.bias", "encoder.mu.weight_g", "upscale_net.conv_block.0.weight_v"],
)
def test_the_error_names_a_missing_key(key: str) -> None:
    state = tiny_state()
    del state[key]
    with pytest.raises(CheckpointError, match=f"{re.escape(key)} is missing"):
        make(state)


def test_the_error_names_a_missing_asset() -> None:
    assets = tiny_assets()
    del assets["ao_mean"], assets["face_mask"]
    with pytest.raises(CheckpointError, match="face_mask is missing"):
        convert(tiny_state(), assets, shadow_from_pose=True)


def test_the_error_for_a_wrong_shape_gives_the_right_one() -> None:
    state = tiny_state() | {"decoder.tex_conv.bias": torch.zeros(3, 8, 8)}
    with pytest.raises(
        CheckpointError,
        match=r"decoder\.tex_conv\.bias must be \[3, 32, 32\], found \[3, 8, 8\]",
    ):
        make(state)


def test_a_wrong_number_of_gains_is_refused() -> None:
    state = tiny_state() | {"encoder.mu.weight_g": torch.ones(9)}
    with pytest.raises(CheckpointError, match=r"encoder\.mu\.weight_g must have 4 values, found 9"):
        make(state)


def test_an_avatar_without_any_source_of_shadows_is_refused() -> None:
    with pytest.raises(CheckpointError, match="`ao` is missing in the render defaults"):
        convert(tiny_state(FROM_OCCLUSION), tiny_assets(), shadow_from_pose=False)


def test_a_vertex_has_at_most_eight_joints() -> None:
    pairs = [[3, 1.0], *([joint, 0.1] for joint in range(10))]
    weights, joints = skin_tables(pairs, [0, 1, 11])
    assert joints.tolist() == [[3, 0, 0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5, 6, 7]]
    torch.testing.assert_close(weights.sum(1), torch.tensor([1.0, 0.8]))


def test_cameras_are_named_by_their_order() -> None:
    views = {"K": np.stack([np.eye(3)] * 2), "Rt": torch.eye(3, 4).repeat(2, 1, 1)}
    assert list(cameras(views, height=96, width=64)) == ["view-1", "view-2"]


@pytest.mark.parametrize("config", [FROM_POSE, FROM_OCCLUSION], ids=["pose", "occlusion"])
def test_a_saved_avatar_is_restored(tmp_path: Path, config: object) -> None:
    made, path = tiny_released(config), tmp_path / "avatar.safetensors"
    checkpoint.write(path, asdict(made.config), made.weights)
    model = load_codec(path, device=CPU)
    assert model.config == config
    with torch.inference_mode():
        posed = model.posed(*tiny_motion(2))
        texture = model.view_texture(posed, torch.tensor([0.0, 0.0, 300.0]))
    assert texture.shape == (2, 3, 64, 64)
    assert texture.isfinite().all()


@pytest.mark.parametrize(
    ("removed", "message"),
    [("uv_corners", "lacks 'uv_corners'"), (f"{NETWORKS}view.out.bias", "is not a codec avatar")],
)
def test_an_incomplete_file_is_refused(tmp_path: Path, removed: str, message: str) -> None:
    made, path = tiny_released(), tmp_path / "avatar.safetensors"
    del made.weights[removed]
    checkpoint.write(path, asdict(made.config), made.weights)
    with pytest.raises(CheckpointError, match=message):
        load_codec(path, device=CPU)


def test_a_config_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "avatar.safetensors"
    checkpoint.write(path, {"channels": 3}, {"x": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="unknown field 'channels' in the config"):
        load_codec(path, device=CPU)
