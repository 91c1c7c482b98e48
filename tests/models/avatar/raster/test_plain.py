"""Rasterisation: closed forms, and the kernels against plain torch."""

import sys

import pytest
import torch

from models.avatar.blendshape.renderer import BlendshapeAvatar
from models.avatar.raster.plain import rasterise_plain
from models.avatar.raster.rasterise import kernels_available, rasterise
from models.avatar.raster.types import Raster, to_normalised

SIZES = [(64, 64), (48, 90), (90, 48)]


def triangles(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random triangles: small, large, thin and distant ones, some behind the camera."""
    rng = torch.Generator().manual_seed(seed)
    points = torch.randn(2, count * 3, 3, generator=rng)
    points[..., 2] = points[..., 2] * 2 + 3
    small = points[:, ::3].repeat_interleave(3, 1) + 0.05 * torch.randn(points.shape, generator=rng)
    points = torch.where(torch.arange(count * 3)[None, :, None] < count, small, points)
    return points, torch.randint(0, count * 3, (count, 3), generator=rng)


def assert_same(one: Raster, other: Raster) -> None:
    assert torch.equal(one.faces, other.faces)
    torch.testing.assert_close(one.weights, other.weights, atol=1e-5, rtol=0)
    torch.testing.assert_close(one.depth, other.depth, atol=1e-5, rtol=1e-6)


def square(depth: float) -> torch.Tensor:
    return torch.tensor([[-1.0, -1, depth], [-1, 1, depth], [1, -1, depth], [1, 1, depth]])


def test_the_tests_run_with_warp() -> None:
    assert kernels_available()


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_the_kernels_agree_with_plain_torch(seed: int, height: int, width: int) -> None:
    points, faces = triangles(120, seed)
    fast = rasterise(points, faces, height=height, width=width)
    assert_same(fast, rasterise_plain(points, faces, height=height, width=width))
    assert (fast.faces >= 0).float().mean() > 0.2


@pytest.mark.parametrize("flat", [(1.0, 0.02), (0.02, 1.0), (30.0, 0.01)])
def test_both_find_all_samples_of_thin_faces(flat: tuple[float, float]) -> None:
    points, faces = triangles(300, 5)
    points[..., 2] = points[..., 2].abs() + 0.05
    points[..., :2] *= torch.tensor(flat)
    fast = rasterise(points, faces, height=96, width=128)
    assert_same(fast, rasterise_plain(points, faces, height=96, width=128))
    assert (fast.faces >= 0).any()


def test_both_skip_faces_nearer_than_the_limit() -> None:
    points, faces = triangles(120, 9)
    fast = rasterise(points, faces, height=64, width=64, near=2.0)
    assert_same(fast, rasterise_plain(points, faces, height=64, width=64, near=2.0))
    assert fast.depth.min() > 2.0


def test_both_skip_back_faces_when_front_only_is_set() -> None:
    points, faces = triangles(120, 7)
    fast = rasterise(points, faces, height=64, width=64, front_only=True)
    assert_same(fast, rasterise_plain(points, faces, height=64, width=64, front_only=True))
    backs = rasterise(points, faces.flip(1), height=64, width=64, front_only=True)
    common = set(fast.faces[0].unique().tolist()) & set(backs.faces[0].unique().tolist())
    assert common == {-1}


def test_the_kernels_agree_with_plain_torch_on_the_demo_person(
    demo: BlendshapeAvatar, face: torch.Tensor, pose: torch.Tensor
) -> None:
    posed = demo.model.posed(face[:1], pose[:1])
    camera = demo.camera("front").resized(320, 256)
    points = to_normalised(camera, posed)
    fast = rasterise(points, demo.model.faces, height=256, width=320)
    assert_same(fast, rasterise_plain(points, demo.model.faces, height=256, width=320))
    assert 0.1 < (fast.faces >= 0).float().mean() < 0.8


def test_plain_torch_processes_many_faces_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    points, faces = triangles(120, 3)
    whole = rasterise_plain(points, faces, height=64, width=64)
    monkeypatch.setattr("models.avatar.raster.plain.CANDIDATES", 500)
    assert_same(whole, rasterise_plain(points, faces, height=64, width=64))


@pytest.mark.parametrize("method", [rasterise, rasterise_plain])
class TestClosedForms:
    def test_the_nearer_face_wins(self, method: type) -> None:
        points = torch.cat([square(5.0), square(2.0)])[None]
        faces = torch.tensor([[0, 1, 2], [1, 3, 2], [4, 5, 6], [5, 7, 6]])
        raster = method(points, faces, height=16, width=16)
        assert set(raster.faces.unique().tolist()) <= {-1, 2, 3}
        assert raster.depth[raster.faces >= 0].unique().tolist() == pytest.approx([2.0])

    def test_the_lower_index_wins_at_equal_depth(self, method: type) -> None:
        faces = torch.tensor([[0, 1, 2], [0, 1, 2]])
        raster = method(square(2.0)[None], faces, height=16, width=16)
        assert set(raster.faces.unique().tolist()) == {-1, 0}

    def test_both_sides_of_a_face_are_visible(self, method: type) -> None:
        points = square(2.0)[None]
        one = method(points, torch.tensor([[0, 1, 2]]), height=16, width=16)
        other = method(points, torch.tensor([[0, 2, 1]]), height=16, width=16)
        assert torch.equal(one.faces, other.faces)
        assert (one.faces >= 0).any()

    def test_a_centre_on_an_edge_is_outside(self, method: type) -> None:
        # The diagonal of the square runs through the centres of a 16 x 16 image.
        faces = torch.tensor([[0, 1, 2], [1, 3, 2]])
        raster = method(square(2.0)[None], faces, height=16, width=16)
        assert (torch.flip(raster.faces[0], [1]).diagonal() == -1).all()
        assert (raster.faces >= 0).sum() == 16 * 16 - 16

    def test_weights_are_perspective_correct(self, method: type) -> None:
        points = torch.tensor([[[0.9, 0.9, 1.0], [-0.9, 0.9, 4.0], [0.9, -0.9, 2.0]]])
        raster = method(points, torch.tensor([[0, 1, 2]]), height=64, width=64)
        row, column = 20, 20
        assert raster.faces[0, row, column] == 0
        weights = raster.weights[0, row, column]
        assert weights.sum().item() == pytest.approx(1, abs=1e-5)
        # 1 / z is linear in image space, so it is the mix weighted by area.
        x, y = -((column + 0.5) - 32) / 32, -((row + 0.5) - 32) / 32
        by_area = [0.0, (0.9 - x) / 1.8, (0.9 - y) / 1.8]
        by_area[0] = 1 - by_area[1] - by_area[2]
        inverse = sum(w / z for w, z in zip(by_area, (1.0, 4.0, 2.0), strict=True))
        assert raster.depth[0, row, column].item() == pytest.approx(1 / inverse, rel=1e-4)

    def test_a_face_without_area_is_invisible(self, method: type) -> None:
        points = torch.tensor([[[0.0, 0, 1], [0.5, 0.5, 1], [1.0, 1.0, 1]]])
        raster = method(points, torch.tensor([[0, 1, 2]]), height=16, width=16)
        assert (raster.faces == -1).all()
        assert torch.isinf(raster.depth).all()


def test_wrong_shapes_raise_an_error() -> None:
    with pytest.raises(ValueError, match=r"points must be \[B, V, 3\], got \[4, 3\]"):
        rasterise(torch.zeros(4, 3), torch.zeros(1, 3, dtype=torch.long), height=8, width=8)
    with pytest.raises(ValueError, match=r"faces must be \[F, 3\], got \[2, 4\]"):
        rasterise(torch.zeros(1, 4, 3), torch.zeros(2, 4, dtype=torch.long), height=8, width=8)


def test_rasterisation_falls_back_to_plain_torch_without_warp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("models.avatar.raster.rasterise.kernels_available", lambda: False)
    monkeypatch.setitem(sys.modules, "models.avatar.blendshape.warp_painter", None)
    raster = rasterise(square(2.0)[None], torch.tensor([[0, 1, 2]]), height=16, width=16)
    assert (raster.faces == 0).any()


@pytest.mark.gpu
def test_a_gpu_agrees_with_plain_torch() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    points, faces = triangles(120, 0)
    fast = rasterise(points.cuda(), faces.cuda(), height=64, width=64)
    plain = rasterise_plain(points, faces, height=64, width=64)
    assert_same(Raster(fast.faces.cpu(), fast.weights.cpu(), fast.depth.cpu()), plain)
