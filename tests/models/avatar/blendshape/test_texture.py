"""Textures as they lie in a file, and their smaller versions."""

import pytest
import torch

from models.avatar.blendshape.texture import pack_texture, smaller_textures, unpack_texture

Tensor = torch.Tensor


def soft_texture(side: int = 64) -> Tensor:
    """Waves of colour, as painted skin has."""
    at = torch.linspace(0, 6, side)
    waves = [torch.sin(at[:, None] * a + at[None] * b) for a, b in ((1, 0.5), (0.3, 2), (2, 1))]
    return (torch.stack(waves, dim=-1) * 90 + 128).to(torch.uint8)


def test_a_texture_comes_back_almost_as_it_was() -> None:
    texture = soft_texture()
    off = (unpack_texture(pack_texture(texture)).int() - texture.int()).abs().float()
    assert off.mean() < 1.5
    assert off.max() <= 12


def test_one_colour_comes_back_exactly_and_small() -> None:
    texture = torch.tensor([200, 150, 120]).expand(256, 256, 3).to(torch.uint8)
    packed = pack_texture(texture)
    assert (unpack_texture(packed).int() - texture.int()).abs().max() <= 1
    assert len(packed) < 1000 < texture.numel()


def test_packing_what_was_unpacked_changes_little_more() -> None:
    once = unpack_texture(pack_texture(soft_texture()))
    twice = unpack_texture(pack_texture(once))
    assert (twice.int() - once.int()).abs().max() <= 3


def test_edges_keep_their_place() -> None:
    texture = torch.zeros(32, 32, 3, dtype=torch.uint8)
    texture[:, 13:] = 255
    back = unpack_texture(pack_texture(texture))
    assert (back[:, :13] < 60).all()
    assert (back[:, 13:] > 195).all()


def test_smaller_versions_halve_and_keep_the_mean() -> None:
    levels = smaller_textures(soft_texture())
    assert [len(level) for level in levels] == [64, 32, 16]
    for level in levels:
        assert level.float().mean().item() == pytest.approx(levels[0].float().mean(), abs=1)
    four = levels[0][:2, :2].float().mean((0, 1))
    torch.testing.assert_close(levels[1][0, 0].float(), four, atol=0.5, rtol=0)


@pytest.mark.parametrize("shape", [(64, 32, 3), (64, 64), (60, 60, 3)])
def test_what_is_not_made_of_blocks_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \[S, S, 3\] in blocks of 8, got \["):
        pack_texture(torch.zeros(shape, dtype=torch.uint8))
