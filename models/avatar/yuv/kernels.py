"""Warp kernel of `plain.planes_plain`, for CPUs. Imported by `convert` only.

The two rows are C++, because loops over rows in warp's Python dialect are not vectorised: they took
five times as long, longer than ffmpeg's conversion.
"""

# mypy: ignore-errors
# Warp compiles the kernels and checks their types itself; its Python dialect does not pass mypy.

import warp as wp

from models.avatar.yuv.plain import (
    BITS,
    C_BITS,
    C_OFFSET,
    CB_GREEN,
    CB_RED,
    CR_BLUE,
    CR_GREEN,
    FULL,
    Y_BLUE,
    Y_GREEN,
    Y_OFFSET,
    Y_RED,
)

TILE = 128  # pixels of two rows whose sums are kept near

TWO_ROWS = f"""
const unsigned char* __restrict above = frames.data + 3ll * top * width;
const unsigned char* __restrict below = above + 3ll * width;
unsigned char* __restrict luma_above = planes.data + luma;
unsigned char* __restrict luma_below = luma_above + width;
unsigned char* __restrict cb = planes.data + blue;
unsigned char* __restrict cr = planes.data + red;
for (int first = 0; first < width; first += {TILE}) {{
    int count = width - first < {TILE} ? width - first : {TILE};
    short sum_r[{TILE}], sum_g[{TILE}], sum_b[{TILE}];
    for (int x = 0; x < count; ++x) {{
        int i = 3 * (first + x);
        int r = above[i], g = above[i + 1], b = above[i + 2];
        int s = below[i], h = below[i + 1], c = below[i + 2];
        luma_above[first + x] = ({Y_RED} * r + {Y_GREEN} * g + {Y_BLUE} * b + {Y_OFFSET}) >> {BITS};
        luma_below[first + x] = ({Y_RED} * s + {Y_GREEN} * h + {Y_BLUE} * c + {Y_OFFSET}) >> {BITS};
        sum_r[x] = r + s;
        sum_g[x] = g + h;
        sum_b[x] = b + c;
    }}
    for (int x = 0; x < count / 2; ++x) {{
        int r = sum_r[2 * x] + sum_r[2 * x + 1];
        int g = sum_g[2 * x] + sum_g[2 * x + 1];
        int b = sum_b[2 * x] + sum_b[2 * x + 1];
        int at = first / 2 + x;
        cb[at] = ({CB_RED} * r + {CB_GREEN} * g + {FULL} * b + {C_OFFSET}) >> {C_BITS};
        cr[at] = ({FULL} * r + {CR_GREEN} * g + {CR_BLUE} * b + {C_OFFSET}) >> {C_BITS};
    }}
}}
"""


@wp.func_native(TWO_ROWS)
def convert_rows(
    frames: wp.array(dtype=wp.uint8),
    top: wp.int64,  # row in all frames
    width: int,
    planes: wp.array(dtype=wp.uint8),
    luma: wp.int64,  # places in `planes` of what is written
    blue: wp.int64,
    red: wp.int64,
): ...


@wp.kernel
def planes_of_rows(
    frames: wp.array(dtype=wp.uint8),  # N * H * W * 3, RGB
    height: int,
    width: int,
    planes: wp.array(dtype=wp.uint8),  # N * H * W * 3 / 2
):
    """Convert two rows of a frame."""
    n, pair = wp.tid()
    pixels = wp.int64(height) * wp.int64(width)
    start = wp.int64(n) * pixels * wp.int64(3) / wp.int64(2)
    top = wp.int64(n) * wp.int64(height) + wp.int64(2 * pair)
    luma = start + wp.int64(2 * pair) * wp.int64(width)
    blue = start + pixels + wp.int64(pair) * wp.int64(width / 2)
    convert_rows(frames, top, width, planes, luma, blue, blue + pixels / wp.int64(4))
