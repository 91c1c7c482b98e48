"""Warp kernel of the rasteriser for CPUs: samples of a face in lanes of a vector.

The results are those of `kernels.draw_faces`, bit by bit. It is C++, because the loops of warp's
Python dialect are not vectorised. Letters: B images, V vertices, F faces, H and W samples.
"""

# mypy: ignore-errors
# Warp compiles the kernels and checks their types itself; its Python dialect does not pass mypy.

import warp as wp

from models.avatar.raster.kernels import EPSILON

LANES = 8  # floats of a vector
VECTORS = f"""
typedef float lanes __attribute__((ext_vector_type({LANES})));
typedef int whole __attribute__((ext_vector_type({LANES})));
typedef long long wide __attribute__((ext_vector_type({LANES})));
const whole steps = {{{", ".join(map(str, range(LANES)))}}};
"""

# Columns are the outer loop: most faces are narrower than a vector.
DRAW_FACE = f"""{VECTORS}
const wp::vec3i face = faces.data[f];
const wp::vec3* vertices = points.data + (long long)(b) * points.shape[1];
const wp::vec3 v0 = vertices[face[0]], v1 = vertices[face[1]], v2 = vertices[face[2]];
float area = (v2[0] - v0[0]) * (v1[1] - v0[1]) - (v2[1] - v0[1]) * (v1[0] - v0[0]);
if (!(wp::abs(area) > {EPSILON}f) || (front_only && area < 0.0f))
    return;
const wp::vec3 low = wp::min(wp::min(v0, v1), v2), high = wp::max(wp::max(v0, v1), v2);
if (near > 0.0f && low[2] <= near)
    return;
const int height = keys.shape[1], width = keys.shape[2];
const float half = wp::min(height, width) / 2.0f;
const float across = width / 2.0f, down = height / 2.0f;
const float left = across - high[0] * half, right = across - low[0] * half;
const float top = down - high[1] * half, bottom = down - low[1] * half;
if (!(right >= 0.0f && left <= width && bottom >= 0.0f && top <= height))
    return;
// The bounds are a quarter pixel wider than the face, so rounding cannot lose a pixel centre.
const int first_row = wp::max((int)(wp::ceil(wp::max(top, -1.0f) - 0.75f)), 0);
const int last_row = wp::min((int)(wp::floor(wp::min(bottom, height + 1.0f) - 0.25f)), height - 1);
const int first_column = wp::max((int)(wp::ceil(wp::max(left, -1.0f) - 0.75f)), 0);
const int last_column = wp::min((int)(wp::floor(wp::min(right, width + 1.0f) - 0.25f)), width - 1);
const bool in_front = low[2] > 0.0f;
const float sign = area < 0.0f ? -1.0f : 1.0f;
area += {EPSILON}f;
for (int next = first_column; next <= last_column; next += {LANES}) {{
    const int first = wp::max(wp::min(next, width - {LANES}), 0);  // no lane is behind the row
    const whole column = first + steps;
    const lanes x = -((__builtin_convertvector(column, lanes) + 0.5f) - across) / half;
    const whole in_box = (column <= last_column) & (x >= low[0]) & (x <= high[0]);
    const lanes x0 = (x - v1[0]) * (v2[1] - v1[1]);
    const lanes x1 = (x - v2[0]) * (v0[1] - v2[1]);
    const lanes x2 = (x - v0[0]) * (v1[1] - v0[1]);
    for (int row = first_row; row <= last_row; ++row) {{
        const float y = -((row + 0.5f) - down) / half;
        if (y < low[1] || y > high[1])
            continue;
        const lanes e0 = x0 - (y - v1[1]) * (v2[0] - v1[0]);
        const lanes e1 = x1 - (y - v2[1]) * (v0[0] - v2[0]);
        const lanes e2 = x2 - (y - v0[1]) * (v1[0] - v0[0]);
        whole inside = in_box;
        if (in_front) {{  // then weights have the signs of the edges
            inside &= (e0 * sign > 0.0f) & (e1 * sign > 0.0f) & (e2 * sign > 0.0f);
            if (!__builtin_reduce_or(inside))
                continue;
        }}
        const lanes t0 = e0 / area * v1[2] * v2[2];
        const lanes t1 = e1 / area * v0[2] * v2[2];
        const lanes t2 = e2 / area * v0[2] * v1[2];
        const lanes sum = t0 + t1 + t2;
        const lanes all = sum > {EPSILON}f ? sum : {EPSILON}f;
        const lanes w0 = t0 / all, w1 = t1 / all, w2 = t2 / all;
        const lanes z = w0 * v0[2] + w1 * v1[2] + w2 * v2[2];
        inside &= (w0 > 0.0f) & (w1 > 0.0f) & (w2 > 0.0f) & (z >= 0.0f);
        const wide bits = __builtin_convertvector(__builtin_bit_cast(whole, z), wide);
        const wide key = (bits << 32) | f;
        long long* target = (long long*)keys.data + ((long long)(b) * height + row) * width + first;
        if (width < {LANES}) {{
            for (int lane = 0; lane < {LANES}; ++lane)
                if (inside[lane] && key[lane] < target[lane])
                    target[lane] = key[lane];
            continue;
        }}
        wide before;
        __builtin_memcpy(&before, target, sizeof(wide));
        const wide after = (__builtin_convertvector(inside, wide) & (key < before)) ? key : before;
        __builtin_memcpy(target, &after, sizeof(wide));
    }}
}}
"""


@wp.func_native(DRAW_FACE)
def draw_face(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    near: float,
    front_only: int,
    keys: wp.array3d(dtype=wp.int64),
    b: int,
    f: int,
): ...


@wp.kernel
def draw_faces(
    points: wp.array2d(dtype=wp.vec3),  # [B, V]
    faces: wp.array(dtype=wp.vec3i),  # [F]
    near: float,
    front_only: int,
    keys: wp.array3d(dtype=wp.int64),  # [B, H, W] bits of the depth above, face index below
):
    b, f = wp.tid()
    draw_face(points, faces, near, front_only, keys, b, f)
