"""Loading of avatars from person directories, and the demo person as shipped."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contracts.person import write_manifest
from models.avatar.avatar import AvatarError
from models.avatar.blendshape.renderer import BlendshapeAvatar
from models.avatar.camera import CameraError
from models.avatar.loading import load_avatar
from tests.tiny_avatar import write_tiny_avatar

Tensor = torch.Tensor
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_avatar(tmp_path)
    write_manifest(tmp_path, facts("blendshape"), [])
    return tmp_path


def facts(kind: str | None) -> dict[str, Any]:
    avatar = {} if kind is None else {"avatar": {"kind": kind}}
    return {"name": "ada", "limits": {"max_seconds": 20.0}, **avatar}


def test_a_person_directory_gives_an_avatar(folder: Path) -> None:
    avatar = load_avatar(folder, device=CPU)
    assert list(avatar.cameras) == ["front", "side"]
    assert len(avatar.unit_names) == 52
    assert len(avatar.parameter_names) == 104


def test_a_folder_without_a_person_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match=r"no person at .*nobody: .*person\.json cannot be read"):
        load_avatar(tmp_path / "nobody", device=CPU)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("puppet", "unknown avatar kind 'puppet'; available: blendshape, codec"),
        (None, "unknown avatar kind ''; available: blendshape, codec"),
    ],
)
def test_an_unknown_avatar_kind_raises_an_error(
    folder: Path, kind: str | None, message: str
) -> None:
    write_manifest(folder, facts(kind), [])
    with pytest.raises(AvatarError, match=message):
        load_avatar(folder, device=CPU)


@pytest.mark.parametrize("content", ["[]", '{"avatar": '])
def test_a_damaged_manifest_raises_an_error(folder: Path, content: str) -> None:
    (folder / "person.json").write_text(content)
    with pytest.raises(AvatarError, match=r"person\.json is damaged"):
        load_avatar(folder, device=CPU)


@pytest.mark.parametrize("content", [b"", b"not a tensor in sight", b"\x08" + 30 * b"\x00"])
def test_invalid_weights_raise_an_error(folder: Path, content: bytes) -> None:
    (folder / "avatar.safetensors").write_bytes(content)
    with pytest.raises(AvatarError, match=r"avatar\.safetensors: invalid blendshape avatar"):
        load_avatar(folder, device=CPU)


def test_the_error_names_the_missing_file(folder: Path) -> None:
    (folder / "cameras.json").unlink()
    with pytest.raises(CameraError, match=r"cameras not found: .*cameras\.json"):
        load_avatar(folder, device=CPU)
    (folder / "avatar.safetensors").unlink()
    with pytest.raises(AvatarError, match=r"no avatar at .*avatar\.safetensors"):
        load_avatar(folder, device=CPU)


class TestTheDemoPerson:
    def test_the_demo_person_has_four_cameras(self, demo: BlendshapeAvatar) -> None:
        assert list(demo.cameras) == ["front", "wide", "side", "portrait"]

    def test_the_avatar_file_is_small_enough_for_the_repository(self) -> None:
        person = Path(__file__).parents[3] / "people" / "demo"
        assert (person / "avatar.safetensors").stat().st_size < 3_000_000

    def test_every_camera_shows_the_person_in_front_of_a_wall(self, demo: BlendshapeAvatar) -> None:
        for name, camera in demo.cameras.items():
            still = torch.zeros(1, 256), torch.zeros(1, 104)
            frame = next(demo.render(*still, [camera.resized(640, 360)]))[0]
            assert frame[:, 320].std() > 20, name
            assert frame[2:20, 2:20].std() < 8, name

    def test_opening_the_jaw_changes_only_the_face(self, demo: BlendshapeAvatar) -> None:
        units = torch.zeros(2, 52)
        units[1, demo.unit_names.index("jawOpen")] = 0.6
        camera = demo.camera().resized(256, 256)
        still, opened = np.concatenate(
            list(demo.render(demo.face_code(units), torch.zeros(2, 104), [camera]))
        ).astype(int)
        changed = np.argwhere(np.abs(opened - still).max(-1) > 2)
        skin = demo.model.template[demo.model.vertices_of("skin")]
        head = camera.project(skin[skin[:, 1] > 5.2])
        (top, left), (bottom, right) = changed.min(0), changed.max(0)
        assert len(changed) > 100
        assert left >= head[:, 0].min() - 2
        assert right <= head[:, 0].max() + 2
        assert top >= camera.project(demo.model.template)[:, 1].min()
        assert bottom <= head[:, 1].max() + 2

    def test_an_open_mouth_is_darker_than_closed_lips(self, demo: BlendshapeAvatar) -> None:
        units = torch.zeros(2, 52)
        units[1, demo.unit_names.index("jawOpen")] = 0.8
        camera = demo.camera().resized(512, 512)
        lip = demo.model.template[list(demo.model.config.upper_lip)].mean(0)
        u, v, _ = camera.project(lip - torch.tensor([0.0, 0.2, 0.0])).int().tolist()
        frames = demo.render(demo.face_code(units), torch.zeros(2, 104), [camera])
        shut, opened = np.concatenate(list(frames))
        spot = (slice(v - 1, v + 2), slice(u - 1, u + 2))
        assert opened[spot].mean() < 0.7 * shut[spot].mean()

    def test_no_teeth_shine_between_closed_lips(self, demo: BlendshapeAvatar) -> None:
        """Lips do not quite meet at the corners of the mouth, so the inside must be dark."""
        camera = demo.camera().resized(1024, 1024)
        frame = next(demo.render(torch.zeros(1, 256), torch.zeros(1, 104), [camera]))[0]
        lip = demo.model.template[list(demo.model.config.upper_lip)].mean(0)
        corners = lip + torch.tensor([[-0.26, 0.0, -0.1], [0.26, 0.0, -0.1]])
        (left, v, _), (right, _, _) = camera.project(corners).int().tolist()
        lips = frame[v - 6 : v + 7, left:right].astype(int)
        red, blue = lips[..., 0], lips[..., 2]
        white = (red > 150) & (red - blue < 20)  # lips are red, teeth are not
        assert not white.any()
