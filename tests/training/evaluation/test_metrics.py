"""Metrics of the paper, on motion with known values."""

import numpy as np
import pytest

from training.evaluation.metrics import (
    cross_sample_variance,
    differences_of,
    frames_of,
    frechet_distance,
    largest_lip_error,
    lip_vertex_error,
    pair_distance,
    sample_pairs,
    speed,
    variance_over_time,
)


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_frames_are_rows_in_order_of_samples_and_sequences() -> None:
    motion = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)  # [S, n, C, T]
    rows = frames_of(motion)
    assert rows.shape == (30, 4)
    assert np.array_equal(rows[7], motion[0, 1, :, 2])
    assert np.array_equal(rows[29], motion[1, 2, :, 4])


def test_differences_do_not_cross_from_one_sequence_to_the_next() -> None:
    motion = np.zeros((1, 2, 3, 4))
    motion[0, 1] = 100
    assert differences_of(motion).shape == (6, 3)
    assert np.abs(differences_of(motion)).max() == 0


def test_equal_samples_have_no_variance() -> None:
    motion = np.repeat(normal(1, 2, 3, 4), 5, axis=0)
    assert cross_sample_variance(motion) == pytest.approx(0, abs=1e-12)
    motion[0] += 5
    assert cross_sample_variance(motion) == pytest.approx(25 * 0.2 * 0.8)


def test_constant_motion_has_no_variance_over_time() -> None:
    still = np.repeat(normal(2, 2, 3, 1), 8, axis=3)
    assert variance_over_time(still) == pytest.approx(0, abs=1e-12)
    still[..., ::2] += 2
    assert variance_over_time(still) == pytest.approx(1)


def test_the_distance_of_poses_is_the_mean_over_pairs() -> None:
    motion = np.zeros((1, 1, 2, 3))
    motion[0, 0, :, 1], motion[0, 0, :, 2] = (3, 4), (6, 8)
    first, second = np.array([0, 0, 1]), np.array([0, 1, 2])
    assert pair_distance(motion, first, second) == pytest.approx((0 + 5 + 5) / 3)


def test_pairs_are_sampled_without_replacement() -> None:
    first, second = sample_pairs(50, np.random.default_rng(1))
    assert sorted(first) == sorted(second) == list(range(50))
    assert not np.array_equal(first, second)
    assert len(sample_pairs(50, np.random.default_rng(1), pairs=20)[0]) == 20


def test_the_frechet_distance_of_a_set_to_itself_is_0() -> None:
    rows = normal(500, 4)
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-8)


def test_a_shift_costs_its_square() -> None:
    rows, shift = normal(500, 4), np.array([1.0, 0, -2, 0])
    assert frechet_distance(rows, rows + shift) == pytest.approx(5)


def test_a_stretch_costs_the_square_of_the_difference_of_spreads() -> None:
    rows = normal(500, 4)
    rows -= rows.mean(0)
    spread = rows.var(0, ddof=1).sum()
    assert frechet_distance(rows, 3 * rows) == pytest.approx(4 * spread)


def test_the_frechet_distance_is_the_same_in_both_directions() -> None:
    one, other = normal(500, 4), normal(300, 4, seed=2) @ normal(4, 4, seed=3)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one))


def test_constant_channels_do_not_break_the_distance() -> None:
    one, other = normal(500, 4), normal(500, 4, seed=2)
    one[:, 1] = other[:, 1] = 0
    alone = frechet_distance(one[:, [0, 2, 3]], other[:, [0, 2, 3]])
    assert frechet_distance(one, other) == pytest.approx(alone, abs=1e-6)


def test_shifted_motion_has_a_distance_of_poses_but_not_of_motion() -> None:
    motion = normal(1, 4, 3, 100)
    elsewhere = motion + 7
    poses = frechet_distance(frames_of(motion), frames_of(elsewhere))
    moves = frechet_distance(differences_of(motion), differences_of(elsewhere))
    assert poses == pytest.approx(3 * 49)
    assert moves == pytest.approx(0, abs=1e-6)


def test_equal_lips_have_no_error_and_the_error_grows_with_the_distance() -> None:
    lips, away = normal(7, 5, 3), normal(7, 5, 3, seed=2)
    for error in (lip_vertex_error, largest_lip_error):
        assert error(lips, lips).tolist() == [0.0] * 7
        assert error(lips + 3 * away, lips) == pytest.approx(3 * error(lips + away, lips))
        assert error(lips, away) == pytest.approx(error(away, lips))


def test_an_error_of_one_lip_vertex_counts_in_the_mean_or_alone() -> None:
    lips = normal(2, 5, 3)
    off = lips.copy()
    off[1, 2] += (3, 0, 4)
    assert lip_vertex_error(off, lips) == pytest.approx([0, 1])
    assert largest_lip_error(off, lips) == pytest.approx([0, 5])


def test_speed_is_the_mean_of_the_channels_in_units_per_second() -> None:
    motion = np.zeros((2, 5, 2))
    motion[0, :, 0], motion[1, :, 1] = 0.1 * np.arange(5), -0.2 * np.arange(5)
    assert speed(motion, 30) == pytest.approx(np.array([[1.5] * 4, [3.0] * 4]))
