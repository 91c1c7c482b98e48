"""Rasterisation kernels in warp, one source for CPU and CUDA. Imported by `raster.warp` only.

`raster.plain` is the plain-torch reference implementation. Warp reads annotations when it compiles
a kernel, so this file does not postpone them.
Letters: B images, V vertices, F faces, H and W samples (several per pixel when supersampling).
"""

# mypy: ignore-errors
# Warp compiles the kernels and checks their types itself; its Python dialect does not pass mypy.

import warp as wp

EPSILON = wp.constant(1e-8)
NOTHING = wp.constant(wp.int64(0x7FFFFFFFFFFFFFFF))
LOW_HALF = wp.constant(wp.int64(0xFFFFFFFF))
NEAREST_SOLVED = wp.constant(0.01)  # nearer faces are tested at all samples of their box


@wp.func
def edge(x: float, y: float, a: wp.vec3, b: wp.vec3):
    return (x - a[0]) * (b[1] - a[1]) - (y - a[1]) * (b[0] - a[0])


@wp.func
def corner_weights(x: float, y: float, v0: wp.vec3, v1: wp.vec3, v2: wp.vec3, area: float):
    w0 = edge(x, y, v1, v2) / area
    w1 = edge(x, y, v2, v0) / area
    w2 = edge(x, y, v0, v1) / area
    t0 = w0 * v1[2] * v2[2]
    t1 = w1 * v0[2] * v2[2]
    t2 = w2 * v0[2] * v1[2]
    whole = wp.max(t0 + t1 + t2, EPSILON)
    return wp.vec3(t0 / whole, t1 / whole, t2 / whole)


@wp.func
def centre(index: int, size: int, half: float):
    return -((float(index) + 0.5) - float(size) / 2.0) / half


@wp.func
def steepness(a: wp.vec3, b: wp.vec3):
    """Inverse of the rise of an edge, 0 for an edge along a row."""
    rise = b[1] - a[1]
    return wp.where(rise == 0.0, 0.0, 1.0 / rise)


@wp.func
def bounds(x: wp.vec2, y: float, a: wp.vec3, b: wp.vec3, inverse: float, slack: float, sign: float):
    """Narrow a range of x in a row to the inner side of an edge, wider by more than rounding."""
    at = a[0] + (y - a[1]) * (b[0] - a[0]) * inverse
    wide = slack * wp.abs(inverse)
    side = sign * inverse
    return wp.vec2(
        wp.where(side > 0.0, wp.max(x[0], at - wide), x[0]),
        wp.where(side < 0.0, wp.min(x[1], at + wide), x[1]),
    )


@wp.kernel
def draw_faces(
    points: wp.array2d(dtype=wp.vec3),  # [B, V]
    faces: wp.array(dtype=wp.vec3i),  # [F]
    near: float,
    front_only: int,
    keys: wp.array3d(dtype=wp.int64),  # [B, H, W] bits of the depth above, face index below
):
    b, f = wp.tid()
    face = faces[f]
    v0 = points[b, face[0]]
    v1 = points[b, face[1]]
    v2 = points[b, face[2]]
    if near > 0.0 and wp.min(wp.min(v0[2], v1[2]), v2[2]) <= near:
        return
    area = edge(v2[0], v2[1], v0, v1)
    if not (wp.abs(area) > EPSILON) or (front_only != 0 and area < 0.0):
        return
    height = keys.shape[1]
    width = keys.shape[2]
    half = float(wp.min(height, width)) / 2.0
    low = wp.min(wp.min(v0, v1), v2)
    high = wp.max(wp.max(v0, v1), v2)
    left = float(width) / 2.0 - high[0] * half
    right = float(width) / 2.0 - low[0] * half
    top = float(height) / 2.0 - high[1] * half
    bottom = float(height) / 2.0 - low[1] * half
    if not (right >= 0.0 and left <= float(width) and bottom >= 0.0 and top <= float(height)):
        return
    # The bounds are a quarter pixel wider than the face, so rounding cannot lose a pixel centre.
    first_row = wp.max(int(wp.ceil(wp.max(top, -1.0) - 0.75)), 0)
    last_row = wp.min(int(wp.floor(wp.min(bottom, float(height) + 1.0) - 0.25)), height - 1)
    first_column = wp.max(int(wp.ceil(wp.max(left, -1.0) - 0.75)), 0)
    last_column = wp.min(int(wp.floor(wp.min(right, float(width) + 1.0) - 0.25)), width - 1)
    sign = wp.sign(area)
    area = area + EPSILON
    in_front = low[2] > NEAREST_SOLVED
    slack = 4.0e-6 * (high[0] - low[0]) * (high[1] - low[1])
    i0 = steepness(v1, v2)
    i1 = steepness(v2, v0)
    i2 = steepness(v0, v1)
    for row in range(first_row, last_row + 1):
        y = centre(row, height, half)
        if y < low[1] or y > high[1]:
            continue
        begin = first_column
        end = last_column
        if in_front:
            inner = wp.vec2(low[0], high[0])
            inner = bounds(inner, y, v1, v2, i0, slack, sign)
            inner = bounds(inner, y, v2, v0, i1, slack, sign)
            inner = bounds(inner, y, v0, v1, i2, slack, sign)
            inner = wp.vec2(wp.min(inner[0], high[0]), wp.max(inner[1], low[0]))
            left = wp.max(float(width) / 2.0 - inner[1] * half, -1.0)
            right = wp.min(float(width) / 2.0 - inner[0] * half, float(width) + 1.0)
            begin = wp.max(int(wp.ceil(left - 0.5625)), first_column)
            end = wp.min(int(wp.floor(right - 0.4375)), last_column)
        for column in range(begin, end + 1):
            x = centre(column, width, half)
            if x < low[0] or x > high[0]:
                continue
            w = corner_weights(x, y, v0, v1, v2, area)
            if w[0] > 0.0 and w[1] > 0.0 and w[2] > 0.0:
                z = w[0] * v0[2] + w[1] * v1[2] + w[2] * v2[2]
                if z >= 0.0:
                    bits = wp.int64(wp.cast(z, wp.int32))
                    key = (bits << wp.int64(32)) | wp.int64(f)
                    if key < keys[b, row, column]:  # this test saves most atomic operations
                        wp.atomic_min(keys, b, row, column, key)


@wp.kernel
def read_keys(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    keys: wp.array3d(dtype=wp.int64),
    visible: wp.array3d(dtype=wp.int32),  # [B, H, W]
    weights: wp.array3d(dtype=wp.vec3),  # [B, H, W]
    depth: wp.array3d(dtype=float),  # [B, H, W]
):
    b, row, column = wp.tid()
    key = keys[b, row, column]
    if key == NOTHING:
        visible[b, row, column] = -1
        weights[b, row, column] = wp.vec3(0.0, 0.0, 0.0)
        depth[b, row, column] = wp.inf
        return
    f = int(key & LOW_HALF)
    face = faces[f]
    v0 = points[b, face[0]]
    v1 = points[b, face[1]]
    v2 = points[b, face[2]]
    half = float(wp.min(keys.shape[1], keys.shape[2])) / 2.0
    x = centre(column, keys.shape[2], half)
    y = centre(row, keys.shape[1], half)
    w = corner_weights(x, y, v0, v1, v2, edge(v2[0], v2[1], v0, v1) + EPSILON)
    visible[b, row, column] = f
    weights[b, row, column] = w
    depth[b, row, column] = w[0] * v0[2] + w[1] * v1[2] + w[2] * v2[2]
