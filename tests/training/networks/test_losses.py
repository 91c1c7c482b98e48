"""Training objectives, compared with closed forms."""

import math

import pytest
import torch
from torch import Generator, Tensor

from training.networks.losses import (
    COMMITMENT,
    LABEL_SMOOTHING,
    length_mask,
    motion_loss,
    sample_keep_mask,
    token_loss,
    tokenizer_loss,
)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed))


def everywhere(clean: Tensor) -> tuple[Tensor, Tensor]:
    """Masks with all frames inside and present."""
    ones = torch.ones(clean.shape[:2])
    return ones.bool(), ones


def test_a_correct_prediction_has_no_loss() -> None:
    clean = normal(2, 5, 3)
    losses = motion_loss(clean, clean, *everywhere(clean))
    assert losses.position.tolist() == losses.velocity.tolist() == [0, 0]


def test_position_and_velocity_are_mean_squares() -> None:
    clean, predicted = normal(2, 5, 3), normal(2, 5, 3, seed=2)
    losses = motion_loss(predicted, clean, *everywhere(clean))
    off = predicted - clean
    torch.testing.assert_close(losses.position, off.square().mean((1, 2)))
    torch.testing.assert_close(losses.velocity, off.diff(dim=1).square().mean((1, 2)))


def test_a_constant_offset_has_no_velocity() -> None:
    clean = normal(1, 5, 3)
    losses = motion_loss(clean + 2, clean, *everywhere(clean))
    torch.testing.assert_close(losses.position, torch.tensor([4.0]))
    torch.testing.assert_close(losses.velocity, torch.tensor([0.0]), rtol=0, atol=1e-10)


def test_padding_does_not_count() -> None:
    clean, predicted = normal(2, 8, 3), normal(2, 8, 3, seed=2)
    short = motion_loss(predicted[:, :5], clean[:, :5], *everywhere(clean[:, :5]))
    clean[:, 5:], predicted[:, 5:] = 0, 99
    inside = length_mask(torch.tensor([5, 5]), 8)
    losses = motion_loss(predicted, clean, inside, torch.ones(2, 8))
    torch.testing.assert_close(losses.position, short.position)
    torch.testing.assert_close(losses.velocity, short.velocity)


def test_a_frame_without_a_visible_face_counts_for_velocity_only() -> None:
    clean = torch.zeros(1, 5, 1)
    predicted, present = clean.clone(), torch.ones(1, 5)
    predicted[0, 2], present[0, 2] = 3, 0
    losses = motion_loss(predicted, clean, torch.ones(1, 5).bool(), present)
    assert float(losses.position) == 0
    assert float(losses.velocity) == pytest.approx(2 * 9 / 4)


def test_the_length_mask_is_true_inside() -> None:
    assert length_mask(torch.tensor([0, 2, 3]), 3).int().tolist() == [
        [0, 0, 0],
        [1, 1, 0],
        [1, 1, 1],
    ]


def test_uniform_logits_cost_the_logarithm_of_the_number_of_codes() -> None:
    assert float(token_loss(torch.zeros(2, 5, 7), torch.zeros(2, 5).long())) == pytest.approx(
        math.log(7), rel=1e-6
    )


def test_smoothed_labels_cost_least_at_the_smoothed_distribution() -> None:
    targets = torch.tensor([[0, 3, 1]])
    smooth = torch.full((1, 3, 4), LABEL_SMOOTHING / 4)
    smooth.scatter_add_(2, targets[..., None], torch.full((1, 3, 1), 1 - LABEL_SMOOTHING))
    entropy = -(smooth[0, 0] * smooth[0, 0].log()).sum()
    torch.testing.assert_close(token_loss(smooth.log(), targets), entropy)
    assert token_loss(2 * smooth.log(), targets) > entropy  # overconfident


def test_the_loss_of_the_tokenizer_is_the_sum_of_its_parts() -> None:
    predicted, poses = normal(2, 5, 3), normal(2, 5, 3, seed=2)
    losses = tokenizer_loss(predicted, poses, torch.tensor(2.0), velocity_weight=0.5)
    torch.testing.assert_close(
        losses.total, losses.motion + COMMITMENT * 2.0 + 0.5 * losses.velocity
    )


def test_velocity_of_key_poses_is_over_time_unless_the_mistake_of_the_reference_is_selected() -> (
    None
):
    poses = torch.zeros(1, 4, 3)
    steady = poses + torch.tensor([1.0, 2.0, 3.0])  # a different error in each channel
    zero = torch.tensor(0.0)
    assert float(tokenizer_loss(steady, poses, zero).velocity) == 0
    assert float(tokenizer_loss(steady, poses, zero, over_channels=True).velocity) == 0.5


def test_conditions_are_dropped_with_the_given_probability() -> None:
    generator = Generator().manual_seed(1)
    assert sample_keep_mask(100, 0.0, generator).all()
    assert not sample_keep_mask(100, 1.0, generator).any()
    assert float(sample_keep_mask(20_000, 0.2, generator).float().mean()) == pytest.approx(
        0.8, abs=0.01
    )
