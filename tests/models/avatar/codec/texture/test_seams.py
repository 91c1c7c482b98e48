"""Seams: sparse tables against a dense pass."""

import torch
from torch.nn.functional import grid_sample

from models.avatar.codec.texture.seams import Seams, seam_tables, seams_of

Tensor = torch.Tensor
SIZE = 16


def dense() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Targets, sources, coordinates (some outside) and weights in the released format."""
    rng = torch.Generator().manual_seed(1)
    weight = torch.rand(SIZE, SIZE, generator=rng)
    weight[weight < 0.5] = 0
    uv = 1.4 * torch.rand(SIZE, SIZE, 2, generator=rng) - 0.2
    return torch.tensor([[0, 3], [1, 4]]), torch.tensor([[8, 9], [0, 3]]), uv, weight


def sparse() -> Seams:
    tables = {f"x.{name}": table for name, table in seam_tables(*dense()).items()}
    return seams_of(tables, "x.", SIZE)


def image() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


def test_blending_matches_a_dense_sample() -> None:
    _, _, uv, weight = dense()
    x = image()
    sampled = grid_sample(
        x, (2 * (uv - 0.5)).expand(2, -1, -1, -1), padding_mode="border", align_corners=False
    )
    expected = (1 - weight) * x + weight * sampled
    torch.testing.assert_close(sparse().blend(x), expected, atol=1e-5, rtol=1e-5)


def test_filling_reads_all_sources_before_it_writes() -> None:
    x = image()
    filled = sparse().fill(x.clone())
    assert torch.equal(filled[:, :, 0, 3], x[:, :, 8, 9])
    assert torch.equal(filled[:, :, 1, 4], x[:, :, 0, 3])
    filled[:, :, 0, 3], filled[:, :, 1, 4] = x[:, :, 0, 3], x[:, :, 1, 4]
    assert torch.equal(filled, x)


def test_closing_fills_and_blends_twice() -> None:
    seams = sparse()
    expected = seams.blend(seams.blend(seams.fill(image())))
    assert torch.equal(seams.close(image()), expected)


def test_the_memory_layout_does_not_change_the_output() -> None:
    last = image().contiguous(memory_format=torch.channels_last)
    assert torch.equal(sparse().close(last), sparse().close(image()))
