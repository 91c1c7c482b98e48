"""Watermark in frames: found after changes, absent without the key, and hardly a difference."""

import numpy as np
import pytest

from models.watermark.code import chance
from models.watermark.picture import (
    ANY,
    CUT,
    FrameMarker,
    find,
    flattened,
    peak_scores,
    picture_lines,
)

KEY, ID = b"a key of the operator", 0x0123456789ABCDEF


def frames(height: int = 256, width: int = 256, count: int = 2) -> np.ndarray:
    """Smooth shades with a bright disc and some noise, [count, H, W, 3]."""
    y, x = np.mgrid[:height, :width]
    shade = 90 + 60 * x / width + 30 * np.sin(y / 40)
    shade[(y - height / 2) ** 2 + (x - width / 2) ** 2 < (height / 5) ** 2] += 60
    noise = np.random.default_rng(1).normal(0, 1, (count, height, width))
    return np.repeat((shade + noise)[..., None], 3, -1).clip(0, 255).astype(np.uint8)


def gray(pictures: np.ndarray) -> list[np.ndarray]:
    return list(pictures[..., 1])


@pytest.fixture(scope="module")
def marked() -> np.ndarray:
    return FrameMarker(KEY, ID).mark(frames())


def test_the_id_is_read_from_one_frame(marked: np.ndarray) -> None:
    keyed = picture_lines(KEY)
    reading = find(flattened(gray(marked)[:1]), keyed)

    assert reading.chance < 1e-9
    assert keyed.read(reading.lines) == ID


def test_marked_frames_differ_little(marked: np.ndarray) -> None:
    error = np.mean((marked.astype(float) - frames()) ** 2)

    assert 10 * np.log10(255**2 / error) > 42
    assert np.abs(marked.astype(int) - frames()).max() <= 6


def test_a_frame_at_half_size_is_read(marked: np.ndarray) -> None:
    half = marked.reshape(2, 128, 2, 128, 2, 3).mean((2, 4)).astype(np.uint8)
    keyed = picture_lines(KEY)

    assert keyed.read(find(flattened(gray(half)), keyed).lines) == ID


def test_a_cut_frame_is_read_at_its_own_scale(marked: np.ndarray) -> None:
    cut = marked[:, 10:240, 17:247]
    keyed = picture_lines(KEY)
    reading = find(flattened(gray(cut)), keyed, CUT)

    assert keyed.read(reading.lines) == ID
    assert reading.tile == pytest.approx(256 / 230, rel=0.01)


def test_a_frame_inside_a_larger_picture_is_found(marked: np.ndarray) -> None:
    screen = np.full((400, 500), 40, np.uint8)
    screen[60:316, 100:356] = gray(marked)[0]

    assert find(flattened([screen]), picture_lines(KEY), ANY).chance < 1e-6


def test_equal_ids_give_equal_frames_in_any_batch(marked: np.ndarray) -> None:
    marker = FrameMarker(KEY, ID)

    assert (np.concatenate([marker.mark(frames()[n : n + 1]) for n in range(2)]) == marked).all()
    assert (FrameMarker(KEY, ID + 1).mark(frames()) != marked).any()


def test_transparent_pixels_and_alpha_do_not_change() -> None:
    rgba = np.concatenate([frames(64, 96), np.full((2, 64, 96, 1), 255, np.uint8)], -1)
    rgba[:, :, :40] = 0
    marked = FrameMarker(KEY, ID).mark(rgba)

    assert (marked[:, :, :40] == 0).all()
    assert (marked[..., 3] == rgba[..., 3]).all()
    assert (marked[:, :, 40:, :3] != rgba[:, :, 40:, :3]).any()


def test_black_and_white_stay_within_a_byte() -> None:
    edges = np.zeros((1, 64, 64, 3), np.uint8)
    edges[:, :, 32:] = 255
    marked = FrameMarker(KEY, ID).mark(edges)

    assert marked[:, :, :32].max() <= 6
    assert marked[:, :, 32:].min() >= 249


def test_unmarked_frames_and_other_keys_score_as_chance_says(marked: np.ndarray) -> None:
    keys = [picture_lines(b"wrong key %d" % number) for number in range(300)]
    scores = [
        *peak_scores(flattened(gray(marked)), keys),
        *peak_scores(flattened(gray(frames())), [*keys, picture_lines(KEY)]),
    ]

    assert max(scores) < 6
    assert chance(max(scores), 4096 * len(scores)) > 1e-3
