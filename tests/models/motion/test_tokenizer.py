"""Tokenizer: nearest codes, residuals, causality."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models import checkpoint
from models.motion.tokenizer import REACH, Tokenizer, TokenizerConfig, load_tokenizer, nearest

SMALL = TokenizerConfig(channels=6, width=4, codes=8, depth=3)


class Quantiser(Tokenizer):
    """Tokenizer without its convolutional encoder."""

    def latent(self, poses: Tensor) -> Tensor:
        return poses


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def tokenizer() -> Tokenizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Tokenizer(SMALL).eval().requires_grad_(requires_grad=False)


def test_the_nearest_code_of_a_code_is_itself() -> None:
    codes = randn(50, 4)
    assert nearest(codes, codes).tolist() == list(range(50))


def test_the_nearest_code_is_the_one_at_the_least_distance() -> None:
    vectors, codes = randn(200, 4), randn(50, 4, seed=2)
    assert torch.equal(nearest(vectors, codes), torch.cdist(vectors, codes).argmin(1))


def test_each_level_quantises_the_residual_of_the_levels_before() -> None:
    quantiser = Quantiser(SMALL)
    for level, scale in enumerate((100, 10, 1)):  # far apart, so that each level is exact
        corners = torch.tensor([[x, y, z, 0.0] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
        quantiser.codebooks.data[level] = scale * corners
    tokens = torch.randint(8, (2, 5, 3), generator=torch.Generator().manual_seed(1))
    sums = sum(quantiser.codebooks[level][tokens[..., level]] for level in range(3))
    assert torch.equal(quantiser.encode(sums), tokens)


def test_tokens_are_decoded_as_the_sum_of_their_codes(tokenizer: Tokenizer) -> None:
    tokens = torch.tensor([[[1, 2, 3], [0, 0, 7]]])
    books = tokenizer.codebooks
    first = books[0][1] + books[1][2] + books[2][3]
    second = books[0][0] + books[1][0] + books[2][7]
    expected = tokenizer.decode_latent(torch.stack([first, second])[None])
    torch.testing.assert_close(tokenizer.decode(tokens), expected)


def test_shapes_of_tokens_and_decoded_poses(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(randn(2, 5, 6))
    assert tokens.shape == (2, 5, 3)
    assert tokens.dtype == torch.long
    assert tokenizer.decode(tokens).shape == (2, 5, 6)


def test_a_token_depends_on_seven_earlier_poses_and_no_later_ones(tokenizer: Tokenizer) -> None:
    poses = randn(1, 20, 6)
    changed = poses.clone()
    changed[:, 9] += 1
    differs = (tokenizer.latent(poses) != tokenizer.latent(changed)).any(2)[0]
    assert differs.nonzero()[:, 0].tolist() == list(range(9, 9 + REACH + 1))


def test_a_pose_depends_on_its_token_and_seven_earlier_ones(tokenizer: Tokenizer) -> None:
    tokens = torch.zeros(1, 20, 3, dtype=torch.long)
    changed = tokens.clone()
    changed[:, 9] = 5
    differs = (tokenizer.decode(tokens) != tokenizer.decode(changed)).any(2)[0]
    assert differs.nonzero()[:, 0].tolist() == list(range(9, 9 + REACH + 1))


def test_clips_of_a_batch_are_independent(tokenizer: Tokenizer) -> None:
    poses = randn(3, 5, 6)
    alone = torch.cat([tokenizer.encode(pose[None]) for pose in poses])
    assert torch.equal(tokenizer.encode(poses), alone)


@pytest.mark.parametrize("shape", [(2, 15), (2, 5, 4), (5,)], ids=str)
def test_the_error_for_tokens_of_another_shape_gives_the_shape(
    tokenizer: Tokenizer, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=rf"must be \[B, K, 3\], got \[{shape[0]}"):
        tokenizer.decode(torch.zeros(shape, dtype=torch.long))


@pytest.mark.parametrize("name", ["channels", "width", "codes", "depth"])
def test_sizes_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        TokenizerConfig(**{name: 0})


def test_a_saved_tokenizer_is_restored_exactly(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "tokenizer.safetensors"
    checkpoint.write(path, asdict(tokenizer.config), tokenizer.state_dict())
    loaded = load_tokenizer(path, device=torch.device("cpu"))
    assert loaded.config == SMALL
    poses = randn(2, 5, 6)
    assert torch.equal(loaded.encode(poses), tokenizer.encode(poses))
    assert torch.equal(loaded.codebooks, tokenizer.codebooks)
