"""Triangles to pixels: closed forms, and the kernels against the plain twin."""

import sys

import pytest
import torch

from models.avatar.blendshape.renderer import BlendshapeAvatar
from models.avatar.raster.plain import rasterise_plain
from models.avatar.raster.rasterise import kernels_available, rasterise
from models.avatar.raster.types import Raster, to_normalised

SIZES = [(64, 64), (48, 90), (90, 48)]


def triangles(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Small, large, thin and far ones, and some behind the camera."""
    draw = torch.Generator().manual_seed(seed)
    points = torch.randn(2, count * 3, 3, generator=draw)
    points[..., 2] = points[..., 2] * 2 + 3
    small = points[:, ::3].repeat_interleave(3, 1) + 0.05 * torch.randn(
        points.shape, generator=draw
    )
    points = torch.where(torch.arange(count * 3)[None, :, None] < count, small, points)
    return points, torch.randint(0, count * 3, (count, 3), generator=draw)


def assert_same(one: Raster, other: Raster) -> None:
    assert torch.equal(one.faces, other.faces)
    torch.testing.assert_close(one.weights, other.weights, atol=1e-5, rtol=0)
    torch.testing.assert_close(one.depth, other.depth, atol=1e-5, rtol=1e-6)


def square(depth: float) -> torch.Tensor:
    return torch.tensor([[-1.0, -1, depth], [-1, 1, depth], [1, -1, depth], [1, 1, depth]])


def test_warp_is_what_the_tests_run_with() -> None:
    assert kernels_available()


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_the_kernels_see_what_the_plain_twin_sees(seed: int, height: int, width: int) -> None:
    points, faces = triangles(120, seed)
    fast = rasterise(points, faces, height=height, width=width)
    assert_same(fast, rasterise_plain(points, faces, height=height, width=width))
    assert (fast.faces >= 0).float().mean() > 0.2


def test_both_leave_out_what_is_too_near() -> None:
    points, faces = triangles(120, 9)
    fast = rasterise(points, faces, height=64, width=64, near=2.0)
    assert_same(fast, rasterise_plain(points, faces, height=64, width=64, near=2.0))
    assert fast.depth.min() > 2.0


def test_both_leave_out_backs_when_asked() -> None:
    points, faces = triangles(120, 7)
    fast = rasterise(points, faces, height=64, width=64, front_only=True)
    assert_same(fast, rasterise_plain(points, faces, height=64, width=64, front_only=True))
    backs = rasterise(points, faces.flip(1), height=64, width=64, front_only=True)
    shown = set(fast.faces[0].unique().tolist()) & set(backs.faces[0].unique().tolist())
    assert shown == {-1}


def test_the_kernels_see_the_demo_person_as_the_plain_twin_does(
    demo: BlendshapeAvatar, face: torch.Tensor, pose: torch.Tensor
) -> None:
    posed = demo.model.posed(face[:1], pose[:1])
    camera = demo.camera("front").resized(320, 256)
    points = to_normalised(camera, posed)
    fast = rasterise(points, demo.model.faces, height=256, width=320)
    assert_same(fast, rasterise_plain(points, demo.model.faces, height=256, width=320))
    assert 0.1 < (fast.faces >= 0).float().mean() < 0.8


def test_the_twin_works_through_long_lists_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    points, faces = triangles(120, 3)
    whole = rasterise_plain(points, faces, height=64, width=64)
    monkeypatch.setattr("models.avatar.raster.plain.CANDIDATES", 500)
    assert_same(whole, rasterise_plain(points, faces, height=64, width=64))


@pytest.mark.parametrize("way", [rasterise, rasterise_plain])
class TestClosedForms:
    def test_the_nearer_face_wins(self, way: type) -> None:
        points = torch.cat([square(5.0), square(2.0)])[None]
        faces = torch.tensor([[0, 1, 2], [1, 3, 2], [4, 5, 6], [5, 7, 6]])
        seen = way(points, faces, height=16, width=16)
        assert set(seen.faces.unique().tolist()) <= {-1, 2, 3}
        assert seen.depth[seen.faces >= 0].unique().tolist() == pytest.approx([2.0])

    def test_of_equally_near_faces_the_lower_number_wins(self, way: type) -> None:
        faces = torch.tensor([[0, 1, 2], [0, 1, 2]])
        seen = way(square(2.0)[None], faces, height=16, width=16)
        assert set(seen.faces.unique().tolist()) == {-1, 0}

    def test_both_sides_of_a_face_are_seen(self, way: type) -> None:
        points = square(2.0)[None]
        one = way(points, torch.tensor([[0, 1, 2]]), height=16, width=16)
        other = way(points, torch.tensor([[0, 2, 1]]), height=16, width=16)
        assert torch.equal(one.faces, other.faces)
        assert (one.faces >= 0).any()

    def test_a_centre_on_an_edge_is_outside(self, way: type) -> None:
        # The diagonal of the square runs through the centres of a 16 x 16 picture.
        faces = torch.tensor([[0, 1, 2], [1, 3, 2]])
        seen = way(square(2.0)[None], faces, height=16, width=16)
        assert (torch.flip(seen.faces[0], [1]).diagonal() == -1).all()
        assert (seen.faces >= 0).sum() == 16 * 16 - 16

    def test_weights_follow_perspective(self, way: type) -> None:
        points = torch.tensor([[[0.9, 0.9, 1.0], [-0.9, 0.9, 4.0], [0.9, -0.9, 2.0]]])
        seen = way(points, torch.tensor([[0, 1, 2]]), height=64, width=64)
        row, column = 20, 20
        assert seen.faces[0, row, column] == 0
        weights = seen.weights[0, row, column]
        assert weights.sum().item() == pytest.approx(1, abs=1e-5)
        # 1 / z is even over the picture, so it is the plain mix by area.
        x, y = -((column + 0.5) - 32) / 32, -((row + 0.5) - 32) / 32
        by_area = [0.0, (0.9 - x) / 1.8, (0.9 - y) / 1.8]
        by_area[0] = 1 - by_area[1] - by_area[2]
        inverse = sum(w / z for w, z in zip(by_area, (1.0, 4.0, 2.0), strict=True))
        assert seen.depth[0, row, column].item() == pytest.approx(1 / inverse, rel=1e-4)

    def test_a_face_without_area_is_not_seen(self, way: type) -> None:
        points = torch.tensor([[[0.0, 0, 1], [0.5, 0.5, 1], [1.0, 1.0, 1]]])
        seen = way(points, torch.tensor([[0, 1, 2]]), height=16, width=16)
        assert (seen.faces == -1).all()
        assert torch.isinf(seen.depth).all()


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"points must be \[B, V, 3\], got \[4, 3\]"):
        rasterise(torch.zeros(4, 3), torch.zeros(1, 3, dtype=torch.long), height=8, width=8)
    with pytest.raises(ValueError, match=r"faces must be \[F, 3\], got \[2, 4\]"):
        rasterise(torch.zeros(1, 4, 3), torch.zeros(2, 4, dtype=torch.long), height=8, width=8)


def test_without_warp_the_plain_twin_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.avatar.raster.rasterise.kernels_available", lambda: False)
    monkeypatch.setitem(sys.modules, "models.avatar.blendshape.warp_painter", None)
    seen = rasterise(square(2.0)[None], torch.tensor([[0, 1, 2]]), height=16, width=16)
    assert (seen.faces == 0).any()


@pytest.mark.gpu
def test_a_gpu_sees_what_the_plain_twin_sees() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    points, faces = triangles(120, 0)
    fast = rasterise(points.cuda(), faces.cuda(), height=64, width=64)
    plain = rasterise_plain(points, faces, height=64, width=64)
    assert_same(Raster(fast.faces.cpu(), fast.weights.cpu(), fast.depth.cpu()), plain)
