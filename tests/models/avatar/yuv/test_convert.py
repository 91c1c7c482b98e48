"""RGB frames to YUV 4:2:0: kernel, plain code and the colours of the standard."""

import av
import numpy as np
import pytest

from models.avatar.yuv.convert import planes_of
from models.avatar.yuv.plain import planes_plain


@pytest.mark.parametrize("shape", [(3, 64, 46), (1, 2, 2), (2, 130, 300)])
def test_kernel_and_plain_code_give_equal_bytes(shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    frames[0, :2, :2] = 255

    assert np.array_equal(planes_of(frames), planes_plain(frames))


@pytest.mark.parametrize(
    ("colour", "expected"),  # of ITU-R BT.709 in the limited range
    [
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((128, 128, 128), (126, 128, 128)),
        ((255, 0, 0), (63, 102, 240)),
        ((0, 255, 0), (173, 42, 26)),
        ((0, 0, 255), (32, 240, 118)),
    ],
)
def test_colours_have_the_values_of_the_standard(
    colour: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    frames = np.broadcast_to(np.array(colour, np.uint8), (1, 4, 6, 3))

    y, cb, cr = np.split(planes_of(frames)[0], [24, 30])

    assert (set(y), set(cb), set(cr)) == tuple({value} for value in expected)


def test_a_picture_looks_as_with_the_conversion_of_ffmpeg() -> None:
    y, x = np.mgrid[:64, :96]
    picture = np.stack([2 * x, 3 * y, 255 - x - y], -1).clip(0, 255).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    theirs = frame.reformat(format="yuv420p", dst_colorspace="ITU709").to_ndarray().reshape(-1)

    difference = planes_of(picture[None])[0].astype(int) - theirs

    assert np.abs(difference).max() <= 2
    assert np.abs(difference).mean() < 0.6
