"""Texture compression and mipmaps."""

import pytest
import torch

from models.avatar.blendshape.texture import pack_texture, smaller_textures, unpack_texture

Tensor = torch.Tensor


def soft_texture(side: int = 64) -> Tensor:
    """Smooth waves of colour, similar to a skin texture."""
    at = torch.linspace(0, 6, side)
    waves = [torch.sin(at[:, None] * a + at[None] * b) for a, b in ((1, 0.5), (0.3, 2), (2, 1))]
    return (torch.stack(waves, dim=-1) * 90 + 128).to(torch.uint8)


def test_compression_changes_a_texture_only_a_little() -> None:
    texture = soft_texture()
    difference = (unpack_texture(pack_texture(texture)).int() - texture.int()).abs().float()
    assert difference.mean() < 1.5
    assert difference.max() <= 12


def test_a_uniform_texture_compresses_well_and_without_loss() -> None:
    texture = torch.tensor([200, 150, 120]).expand(256, 256, 3).to(torch.uint8)
    packed = pack_texture(texture)
    assert (unpack_texture(packed).int() - texture.int()).abs().max() <= 1
    assert len(packed) < 1000 < texture.numel()


def test_compressing_twice_changes_little_more_than_once() -> None:
    once = unpack_texture(pack_texture(soft_texture()))
    twice = unpack_texture(pack_texture(once))
    assert (twice.int() - once.int()).abs().max() <= 3


def test_edges_keep_their_position() -> None:
    texture = torch.zeros(32, 32, 3, dtype=torch.uint8)
    texture[:, 13:] = 255
    back = unpack_texture(pack_texture(texture))
    assert (back[:, :13] < 60).all()
    assert (back[:, 13:] > 195).all()


def test_mipmaps_halve_the_size_and_keep_the_mean() -> None:
    levels = smaller_textures(soft_texture())
    assert [len(level) for level in levels] == [64, 32, 16]
    for level in levels:
        assert level.float().mean().item() == pytest.approx(levels[0].float().mean(), abs=1)
    four = levels[0][:2, :2].float().mean((0, 1))
    torch.testing.assert_close(levels[1][0, 0].float(), four, atol=0.5, rtol=0)


@pytest.mark.parametrize("shape", [(64, 32, 3), (64, 64), (60, 60, 3)])
def test_a_texture_that_is_not_made_of_whole_blocks_raises_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \[S, S, 3\] in blocks of 8, got \["):
        pack_texture(torch.zeros(shape, dtype=torch.uint8))
