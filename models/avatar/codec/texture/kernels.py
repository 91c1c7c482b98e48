"""Texture kernel in warp, one source for CPU and CUDA. Imported by `warp_paint` only.

`surface.Surface.render_plain` is the plain-torch reference implementation. Warp reads annotations
when it compiles a kernel, so this file does not postpone them.
Letters: B images, V vertices, F faces, M texture coordinates, S side of a texture.
"""

# mypy: ignore-errors
# Warp compiles the kernels and checks their types itself; its Python dialect does not pass mypy.

import warp as wp

from models.avatar.raster.kernels import EPSILON, LOW_HALF, NOTHING, centre, corner_weights, edge


@wp.func
def sample(texture: wp.array2d(dtype=wp.vec3), b: int, side: int, u: float, v: float):
    """Bilinear sample; 0 and 1 are the centres of the first and the last texel."""
    last = float(side - 1)
    x = wp.clamp(((u * 2.0 - 1.0) + 1.0) / 2.0 * last, 0.0, last)
    y = wp.clamp(((v * 2.0 - 1.0) + 1.0) / 2.0 * last, 0.0, last)
    left = int(wp.floor(x))
    top = int(wp.floor(y))
    right = wp.min(left + 1, side - 1)
    bottom = wp.min(top + 1, side - 1)
    across = x - float(left)
    down = y - float(top)
    upper = texture[b, top * side + left] * (1.0 - across) * (1.0 - down)
    upper = upper + texture[b, top * side + right] * across * (1.0 - down)
    lower = texture[b, bottom * side + left] * (1.0 - across) * down
    return upper + lower + texture[b, bottom * side + right] * across * down


@wp.func
def display(light: float, gain: float, black: float, power: float):
    x = light / 255.0 * gain - black
    y = 12.92 * x
    if x > 0.0031308:
        y = 1.055 * wp.pow(x, power) - 0.055
    return wp.clamp(y, 0.0, 1.0) * 255.0


@wp.kernel
def render(
    points: wp.array2d(dtype=wp.vec3),  # [B, V] normalised coordinates
    faces: wp.array(dtype=wp.vec3i),  # [F]
    uv_faces: wp.array(dtype=wp.vec3i),  # [F]
    uv: wp.array(dtype=wp.vec2),  # [M]
    texture: wp.array2d(dtype=wp.vec3),  # [B, S * S] linear light
    side: int,  # S
    gain: wp.vec3,
    black: float,
    power: float,
    rounding: float,  # added before truncation
    samples: int,  # per pixel side
    keys: wp.array3d(dtype=wp.int64),  # [B, H * samples, W * samples]
    frames: wp.array4d(dtype=wp.uint8),  # [B, H, W, 3 or 4], the background; rendered over in place
):
    b, row, column = wp.tid()
    half = float(wp.min(keys.shape[1], keys.shape[2])) / 2.0
    light = wp.vec3(0.0, 0.0, 0.0)
    covered = wp.int32(0)
    for i in range(samples):
        for j in range(samples):
            key = keys[b, row * samples + i, column * samples + j]
            if key != NOTHING:
                f = int(key & LOW_HALF)
                face = faces[f]
                v0 = points[b, face[0]]
                v1 = points[b, face[1]]
                v2 = points[b, face[2]]
                x = centre(column * samples + j, keys.shape[2], half)
                y = centre(row * samples + i, keys.shape[1], half)
                w = corner_weights(x, y, v0, v1, v2, edge(v2[0], v2[1], v0, v1) + EPSILON)
                at = uv_faces[f]
                place = uv[at[0]] * w[0] + uv[at[1]] * w[1] + uv[at[2]] * w[2]
                light = light + sample(texture, b, side, place[0], place[1])
                covered += 1
    if covered > 0:
        light = light / float(covered)
        share = float(covered) / float(samples * samples)
        if frames.shape[3] == 4:
            frames[b, row, column, 3] = wp.uint8(int(255.0 * share + 0.5))
            share = 1.0
        for c in range(3):
            value = display(light[c], gain[c], black, power)
            if share < 1.0:
                value = share * value + (1.0 - share) * float(frames[b, row, column, c])
            frames[b, row, column, c] = wp.uint8(int(value + rounding))
