"""The files of a released avatar: what is accepted, and how the rest is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.released.avatar import ReleasedAvatar, _once, cameras_of, network_of, read_avatar
from models.released.networks import Network
from models.released.reader import ReleasedError
from tests.released_layout import PERSON, avatar_state, avatar_views, write_avatar

Read = Callable[[], ReleasedAvatar]


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


def made(read: Read) -> Network:
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


def test_old_names_of_weight_norm_and_of_several_gpus_are_taken(folder: Path, read: Read) -> None:
    state = torch.load(folder / "body_dec.ckpt")["model"]
    plain = made(read)
    renamed = {}
    for key, value in state.items():
        if key.endswith("weight_v"):
            renamed["module." + key.replace("weight_v", "weight")] = value
        elif key.endswith("weight_g"):
            renamed["module." + key.replace("weight_g", "g")] = value.flatten()
        else:
            renamed["module." + key] = value
    save_state(folder, renamed)

    again = made(read)

    assert again.config == plain.config
    assert all(torch.equal(again.weights[key], value) for key, value in plain.weights.items())


def test_buffers_of_the_checkpoint_hold_over_the_assets(folder: Path, read: Read) -> None:
    state = avatar_state()
    state["decoder.body_cond_mask"] = torch.full((1, 1, 16, 16), 0.25)
    state["tex_mean"] = torch.full((1, 3, 64, 64), 7.0)
    save_state(folder, state)
    weights = made(read).weights
    assert weights["networks.decoder.body_mask"].unique().tolist() == [0.25]
    assert weights["texture_mean"].unique().tolist() == [7.0]


def test_keys_that_nobody_reads_are_told_and_no_fault(folder: Path, read: Read) -> None:
    assert made(read).notes == ()
    save_state(folder, avatar_state() | {"loss.scale": torch.ones(1), "loss.x": torch.ones(1)})
    assert made(read).notes == ("body_dec.ckpt holds loss.scale and 1 more, which nobody reads",)


def test_references_in_the_config_are_followed(read: Read) -> None:
    cameras = cameras_of(read(), Path("views.pth"))
    assert [(camera.width, camera.height) for camera in cameras.values()] == [(64, 96)] * 2


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("model:\n", "other:\n", r"config\.yml lacks 'model'"),
        ("  encoder_face:", "  encoder_faces:", r"config\.yml lacks model\.encoder_face"),
        ("pose_to_shadow:", "other:", r"body_dec\.ckpt lacks shadow_net\.\*; it is no whole"),
        ("width: 64", "width: 63", r"views\.pth: a picture's sides must be even"),
    ],
)
def test_a_config_that_does_not_fit_is_told(
    folder: Path, read: Read, old: str, new: str, words: str
) -> None:
    edit_config(folder, old, new)
    with pytest.raises(ReleasedError, match=words):
        cameras_of(read(), Path("views.pth"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"K": torch.zeros(0, 3, 3)}, r"K must be \[views, 3, 3\], found \[0, 3, 3\]"),
        ({"campos": torch.zeros(2, 3)}, "campos is not where Rt puts the cameras"),
        ({"campos": torch.zeros(3)}, r"campos must be \[2, 3\], found \[3\]"),
        ({"K": torch.full((2, 3, 3), torch.nan)}, "K and Rt must be finite everywhere"),
    ],
)
def test_cameras_that_do_not_fit_are_told(
    read: Read, tmp_path: Path, more: dict[str, torch.Tensor], words: str
) -> None:
    views_with(tmp_path, **more)
    with pytest.raises(ReleasedError, match=words):
        cameras_of(read(), Path("views.pth"))


def test_an_avatar_whose_light_is_a_picture_needs_that_picture(
    folder: Path, tmp_path: Path, read: Read
) -> None:
    edit_config(folder, "pose_to_shadow:", "other:")
    save_state(folder, avatar_state() | {"shadow_net.shadow_pred.bias": torch.zeros(1)})
    with pytest.raises(ReleasedError, match="lacks ao, which an avatar without pose_to_shadow"):
        read()
    views_with(tmp_path, ao=torch.ones(2, 40, 40))
    with pytest.raises(ReleasedError, match=r"ao must be \[2, 1, height, width\], found \[2, 40"):
        read()


def test_a_picture_of_light_is_kept_once_unless_views_have_their_own() -> None:
    same = torch.rand(1, 1, 5, 5).expand(3, -1, -1, -1)
    assert _once(same).shape == (1, 5, 5)
    own = torch.rand(3, 1, 5, 5)
    assert torch.equal(_once(own), own[:, 0])


def test_parts_of_an_avatar_are_told_when_missing(folder: Path, read: Read) -> None:
    state = {k: v for k, v in avatar_state().items() if not k.startswith("decoder_view.")}
    save_state(folder, state)
    with pytest.raises(ReleasedError, match=r"body_dec\.ckpt lacks decoder_view\.\*; it is no"):
        read()
