"""Reading of the files of a released avatar, and refusal of invalid ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import interpolate

from models.released.avatar import ReleasedAvatar, _shared, cameras_of, network_of, read_avatar
from models.released.networks import Network
from models.released.reader import ReleasedError
from tests.released_layout import (
    PERSON,
    avatar_assets,
    avatar_state,
    avatar_views,
    write_avatar,
)

Read = Callable[[], ReleasedAvatar]
SIDES = (16, 16)  # of the masks of the encoders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    torch.manual_seed(0)
    return write_avatar(tmp_path, PERSON)


@pytest.fixture
def read(folder: Path, tmp_path: Path) -> Read:
    return lambda: read_avatar(
        config=folder / "config.yml",
        assets=folder / "static_assets.pt",
        weights=folder / "body_dec.ckpt",
        views=tmp_path / "assets" / f"render_defaults_{PERSON}.pth",
    )


def converted(read: Read) -> Network:
    return network_of(read(), Path("body_dec.ckpt"))


def save_state(folder: Path, state: dict[str, Any]) -> None:
    torch.save({"model": state}, folder / "body_dec.ckpt")


def views_with(tmp_path: Path, **more: torch.Tensor) -> None:
    torch.save(avatar_views() | more, tmp_path / "assets" / f"render_defaults_{PERSON}.pth")


def edit_config(folder: Path, old: str, new: str) -> None:
    path = folder / "config.yml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_old_names_of_weight_norm_and_of_several_gpus_are_accepted(
    folder: Path, read: Read
) -> None:
    state = torch.load(folder / "body_dec.ckpt")["model"]
    plain = converted(read)
    renamed = {}
    for key, value in state.items():
        if key.endswith("weight_v"):
            renamed["module." + key.replace("weight_v", "weight")] = value
        elif key.endswith("weight_g"):
            renamed["module." + key.replace("weight_g", "g")] = value.flatten()
        else:
            renamed["module." + key] = value
    save_state(folder, renamed)

    again = converted(read)

    assert again.config == plain.config
    assert all(torch.equal(again.weights[key], value) for key, value in plain.weights.items())


def test_buffers_of_the_checkpoint_take_precedence_over_the_assets(
    folder: Path, read: Read
) -> None:
    state = avatar_state()
    state["decoder.body_cond_mask"] = torch.full((1, 1, 16, 16), 0.25)
    state["tex_mean"] = torch.full((1, 3, 64, 64), 7.0)
    save_state(folder, state)
    weights = converted(read).weights
    assert weights["networks.decoder.body_mask"].unique().tolist() == [0.25]
    assert weights["texture_mean"].unique().tolist() == [7.0]


@pytest.mark.parametrize("shape", [(15, 16), (16, 15), (15, 15), (24, 40)])
def test_masks_of_another_shape_are_resized_if_the_checkpoint_has_none(
    folder: Path, read: Read, shape: tuple[int, int]
) -> None:
    """A released mask of 480 x 512 has the right width; its height counts, too."""
    generator = torch.Generator().manual_seed(1)
    face = torch.rand(*shape, 3, generator=generator)
    body = (torch.rand(shape, generator=generator) < 0.5).float()
    assets = avatar_assets() | {"mugsy_face_mask": face.numpy(), "face_mask": body.numpy()}
    torch.save(assets, folder / "static_assets.pt")

    weights = converted(read).weights

    front = interpolate(face[None, None, ..., 0], SIDES, mode="bilinear", align_corners=True)
    torch.testing.assert_close(weights["networks.face_encoder.mask"], front[0, 0])
    rest = interpolate(1 - body[None, None], SIDES, mode="bilinear")
    torch.testing.assert_close(weights["networks.body_encoder.mask"], (rest[0, 0] != 0).float())


def test_unused_keys_are_reported_in_a_note(folder: Path, read: Read) -> None:
    assert converted(read).notes == ()
    save_state(folder, avatar_state() | {"loss.scale": torch.ones(1), "loss.x": torch.ones(1)})
    assert converted(read).notes == ("body_dec.ckpt: loss.scale and 1 more not used",)


def test_references_in_the_config_are_resolved(read: Read) -> None:
    cameras = cameras_of(read(), Path("views.pth"))
    assert [(camera.width, camera.height) for camera in cameras.values()] == [(64, 96)] * 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("model:\n", "other:\n", r"config\.yml: 'model' is missing"),
        ("  encoder_face:", "  encoder_faces:", r"config\.yml: model\.encoder_face is missing"),
        ("pose_to_shadow:", "other:", r"body_dec\.ckpt: shadow_net\.\* is missing; the avatar is"),
        ("width: 64", "width: 63", r"views\.pth: image width and height must be even"),
    ],
)
def test_a_config_that_does_not_match_is_refused(
    folder: Path, read: Read, old: str, new: str, message: str
) -> None:
    edit_config(folder, old, new)
    with pytest.raises(ReleasedError, match=message):
        cameras_of(read(), Path("views.pth"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"K": torch.zeros(0, 3, 3)}, r"K must be \[views, 3, 3\], found \[0, 3, 3\]"),
        ({"campos": torch.zeros(2, 3)}, "campos does not match the camera centres"),
        ({"campos": torch.zeros(3)}, r"campos must be \[2, 3\], found \[3\]"),
        ({"K": torch.full((2, 3, 3), torch.nan)}, "K and Rt must be finite"),
    ],
)
def test_invalid_cameras_are_refused(
    read: Read, tmp_path: Path, more: dict[str, torch.Tensor], message: str
) -> None:
    views_with(tmp_path, **more)
    with pytest.raises(ReleasedError, match=message):
        cameras_of(read(), Path("views.pth"))


def test_an_avatar_with_an_occlusion_map_needs_that_map(
    folder: Path, tmp_path: Path, read: Read
) -> None:
    edit_config(folder, "pose_to_shadow:", "other:")
    save_state(folder, avatar_state() | {"shadow_net.shadow_pred.bias": torch.zeros(1)})
    with pytest.raises(ReleasedError, match="ao is missing; avatars without pose_to_shadow"):
        read()
    views_with(tmp_path, ao=torch.ones(2, 40, 40))
    with pytest.raises(ReleasedError, match=r"ao must be \[2, 1, height, width\], found \[2, 40"):
        read()


def test_occlusion_maps_are_stored_once_if_they_are_equal() -> None:
    same = torch.rand(1, 1, 5, 5).expand(3, -1, -1, -1)
    assert _shared(same).shape == (1, 5, 5)
    own = torch.rand(3, 1, 5, 5)
    assert torch.equal(_shared(own), own[:, 0])


def test_the_error_names_a_missing_network_of_the_avatar(folder: Path, read: Read) -> None:
    state = {k: v for k, v in avatar_state().items() if not k.startswith("decoder_view.")}
    save_state(folder, state)
    with pytest.raises(ReleasedError, match=r"body_dec\.ckpt: decoder_view\.\* is missing; the"):
        read()
