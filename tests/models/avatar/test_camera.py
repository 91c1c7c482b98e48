"""Cameras: projection against closed forms, sizes, files."""

from pathlib import Path

import pytest
import torch

from models.avatar.camera import (
    Camera,
    CameraError,
    looking_at,
    read_cameras,
    write_cameras,
)


@pytest.fixture
def camera() -> Camera:
    """Camera ten decimetres in front of the origin, looking at it."""
    return looking_at("front", eye=(0, 0, 10), target=(0, 0, 0), focal=2.0, width=400, height=200)


def test_the_target_is_in_the_centre_of_the_image(camera: Camera) -> None:
    assert camera.project(torch.zeros(3)).tolist() == pytest.approx([200, 100, 10])


def test_up_is_up_and_right_is_right(camera: Camera) -> None:
    # One decimetre at a distance of ten and a focal length of 2 x 200 pixels is 40 pixels.
    assert camera.project(torch.tensor([0.0, 1, 0])).tolist() == pytest.approx([200, 60, 10])
    assert camera.project(torch.tensor([1.0, 0, 0])).tolist() == pytest.approx([240, 100, 10])


def test_the_position_of_a_camera_is_its_centre(camera: Camera) -> None:
    assert camera.position.tolist() == pytest.approx([0, 0, 10])


@pytest.mark.parametrize("size", [(200, 100), (800, 400), (400, 400), (1000, 200)])
def test_resizing_keeps_visible_points_visible(camera: Camera, size: tuple[int, int]) -> None:
    corner = torch.tensor([2.4, 1.2, 5.0])  # at a corner of the original image
    assert camera.project(corner)[:2].tolist() == pytest.approx([392, 4], abs=1e-3)
    u, v, _ = camera.resized(*size).project(corner).tolist()
    assert 0 <= u <= size[0]
    assert 0 <= v <= size[1]
    assert camera.resized(*size).project(torch.zeros(3))[:2].tolist() == pytest.approx(
        [size[0] / 2, size[1] / 2]
    )


@pytest.mark.parametrize("size", [(401, 200), (400, 201), (62, 64), (2050, 512), (0, 0)])
def test_invalid_image_sizes_raise_an_error(camera: Camera, size: tuple[int, int]) -> None:
    with pytest.raises(CameraError, match=f"even and 64 to 2048 pixels, got {size[0]}x{size[1]}"):
        camera.resized(*size)


def test_cameras_survive_a_round_trip_through_a_file(camera: Camera, tmp_path: Path) -> None:
    other = looking_at("side", eye=(8, 1, 6), target=(0, 1, 0), focal=1.5, width=64, height=64)
    write_cameras(tmp_path / "cameras.json", {"front": camera, "side": other})
    assert read_cameras(tmp_path / "cameras.json") == {"front": camera, "side": other}
    assert next(iter(read_cameras(tmp_path / "cameras.json"))) == "front"


def test_a_missing_or_empty_file_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="cameras not found: "):
        read_cameras(tmp_path / "cameras.json")
    (tmp_path / "cameras.json").write_text('{"cameras": []}')
    with pytest.raises(CameraError, match="contains no camera"):
        read_cameras(tmp_path / "cameras.json")
