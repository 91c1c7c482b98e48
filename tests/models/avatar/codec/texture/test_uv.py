"""UV maps: sparse tables against dense passes, nearest texels against brute force."""

import torch
from torch.nn.functional import conv2d, grid_sample

from models.avatar.codec.texture.uv import (
    corner_weights,
    lay_out,
    nearest_texels,
    uv_map,
    vertex_reader,
)

Tensor = torch.Tensor
SIZE = 24


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def coordinates() -> tuple[Tensor, Tensor]:
    """Texture coordinates of 7 points, some on or beyond the border, and those of 5 vertices."""
    uv = torch.rand(7, 2, generator=generator())
    uv[0], uv[1] = torch.tensor([0.0, 1.0]), torch.tensor([1.02, 0.5])
    return uv, torch.randint(0, 7, (5, 4), generator=generator())


def test_reading_matches_a_dense_sample() -> None:
    uv, of_vertex = coordinates()
    x = torch.randn(2, 3, SIZE, SIZE, generator=generator())
    at = grid_sample(x, (2 * uv - 1).expand(2, 1, -1, -1), align_corners=True)[:, :, 0]
    expected = at[:, :, of_vertex].mean(-1).transpose(1, 2)
    read = vertex_reader(uv, of_vertex, SIZE).read(x)
    torch.testing.assert_close(read, expected, atol=1e-5, rtol=1e-5)


def test_a_convolution_may_be_computed_only_at_the_texels_that_are_read() -> None:
    reader = vertex_reader(*coordinates(), SIZE)
    x = torch.randn(2, 4, SIZE, SIZE, generator=generator())
    weight = torch.randn(3, 4, 3, 3, generator=generator())
    bias = torch.randn(3, SIZE, SIZE, generator=generator())
    expected = reader.read(conv2d(x, weight, padding=1) + bias)
    read = reader.read_convolved(x, weight, bias)
    torch.testing.assert_close(read, expected, atol=1e-5, rtol=1e-5)


def square() -> tuple[Tensor, Tensor]:
    """Two triangles over the middle half of the map; no texel centre is on the diagonal."""
    uv = torch.tensor([[0.25, 0.26], [0.75, 0.26], [0.25, 0.75], [0.75, 0.75]])
    return torch.tensor([[0, 1, 2], [1, 3, 2]]), uv


def test_texels_interpolate_between_their_corners() -> None:
    faces, uv = square()
    charts = lay_out(faces, uv, faces, SIZE)
    spread = uv_map(charts.corners, charts.weights).spread(uv[None])[0]  # their own coordinates
    centre = (torch.arange(SIZE) + 0.5) / SIZE
    inside = (centre > 0.25) & (centre < 0.75)
    torch.testing.assert_close(spread[0][inside][:, inside], centre[inside].expand(12, -1))
    torch.testing.assert_close(spread[1][inside][:, inside], centre[inside][:, None].expand(-1, 12))


def test_texels_outside_a_face_copy_the_nearest_one_inside() -> None:
    faces, uv = square()
    charts = lay_out(faces, uv, faces, SIZE)
    assert torch.equal(charts.weights[0, 10], charts.weights[6, 10])
    assert torch.equal(charts.corners[10, 23], charts.corners[10, 17])


def test_a_texel_without_a_face_is_zero() -> None:
    corners = torch.tensor([[[0, 1, 2], [-1, -1, -1]]] * 2)
    spread = uv_map(corners, torch.ones(2, 2, 3)).spread(torch.ones(1, 3, 1))
    assert torch.equal(spread[0, 0], torch.tensor([[3.0, 0.0], [3.0, 0.0]]))


def test_the_nearest_texel_is_found_within_reach() -> None:
    known = torch.rand(SIZE, SIZE, generator=generator()) < 0.02
    nearest = nearest_texels(known, reach=9)
    positions = known.nonzero()
    for row in range(SIZE):
        for column in range(SIZE):
            distances = (positions - torch.tensor([row, column])).square().sum(1)
            index = int(nearest[row, column])
            if int(distances.min()) >= 81:
                assert index == -1
            else:
                assert known.flatten()[index]
                distance = (index // SIZE - row) ** 2 + (index % SIZE - column) ** 2
                assert distance == int(distances.min())


def test_the_weights_of_a_tiny_face_are_computed_with_the_smallest_area() -> None:
    tiny = torch.tensor([[[0.5, 0.5], [0.5001, 0.5], [0.5, 0.5001]]])  # twice its area is 1e-8
    weights = corner_weights(tiny, torch.zeros(1, 1, dtype=torch.int64))
    torch.testing.assert_close(weights[0, 0], torch.tensor([0.0, 0.0, 1.0]), atol=0.02, rtol=0)
