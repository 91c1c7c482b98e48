"""RGB frames to planes of YUV 4:2:0 in numpy: BT.709, limited range (ITU-R BT.709-6, section 3).

Reference implementation of the kernel. Integers with 16 fractional bits, so both give equal bytes.
Letters: N frames, H and W pixels, both even.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

KR, KG, KB = 0.2126, 0.7152, 0.0722  # share of red, green and blue in brightness
BITS = 16
LUMA, CHROMA = 219, 224  # steps of the limited range
BLACK, GREY = 16, 128


def _fixed(value: float) -> int:
    return round(value * (1 << BITS))


Y_RED, Y_GREEN, Y_BLUE = (_fixed(LUMA / 255 * share) for share in (KR, KG, KB))
FULL = _fixed(CHROMA / 255 / 2)  # of blue in Cb and of red in Cr
CB_RED = -_fixed(CHROMA / 255 / 2 * KR / (1 - KB))
CB_GREEN = -FULL - CB_RED  # so that grey has exactly no colour
CR_BLUE = -_fixed(CHROMA / 255 / 2 * KB / (1 - KR))
CR_GREEN = -FULL - CR_BLUE
Y_OFFSET = (BLACK << BITS) + (1 << (BITS - 1))
C_BITS = BITS + 2  # chroma is the mean of four pixels
C_OFFSET = (GREY << C_BITS) + (1 << (C_BITS - 1))


def planes_plain(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert [N, H, W, 3] RGB to [N, H * W * 3 / 2]: Y, then Cb and Cr of 2 x 2 pixels each."""
    count, height, width, _ = frames.shape
    wide = frames.astype(np.int32)
    red, green, blue = wide[..., 0], wide[..., 1], wide[..., 2]  # [N, H, W]
    y = (Y_RED * red + Y_GREEN * green + Y_BLUE * blue + Y_OFFSET) >> BITS
    four = wide.reshape(count, height // 2, 2, width // 2, 2, 3).sum((2, 4))  # [N, H/2, W/2, 3]
    red, green, blue = four[..., 0], four[..., 1], four[..., 2]
    cb = (CB_RED * red + CB_GREEN * green + FULL * blue + C_OFFSET) >> C_BITS
    cr = (FULL * red + CR_GREEN * green + CR_BLUE * blue + C_OFFSET) >> C_BITS
    return np.concatenate([plane.reshape(count, -1) for plane in (y, cb, cr)], 1).astype(np.uint8)
