"""Warp kernels of the shading `full`: shadow map, surface buffers, occlusion, scattering, picture.

Reference implementation in plain torch: `full.plain`. Letters: B frames, V vertices, F faces,
H and W pixels, S side of the shadow map. Positions are in the space of the camera unless named.
"""

# mypy: ignore-errors
# Warp compiles the kernels and checks their types itself; its Python dialect does not pass mypy.

import warp as wp

from models.avatar.blendshape.full import lighting
from models.avatar.blendshape.kernels import (
    Surface,
    View,
    depth_of,
    display,
    is_uniform,
    sample_texture,
)
from models.avatar.raster.kernels import LOW_HALF, NOTHING, centre, corner_weights, edge

CLOTH = wp.constant(lighting.CLOTH)
SKIN = wp.constant(lighting.SKIN)
EYE = wp.constant(lighting.EYE)
MOUTH = wp.constant(lighting.MOUTH)
HAIR = wp.constant(lighting.HAIR)
KEY = wp.constant(wp.vec3(*lighting.KEY))
FILL = wp.constant(wp.vec3(*lighting.FILL))
BACK = wp.constant(wp.vec3(*lighting.BACK))
EYE_LIGHT = wp.constant(wp.vec3(*lighting.EYE_LIGHT))
KEY_COLOUR = wp.constant(wp.vec3(*lighting.KEY_COLOUR))
FILL_COLOUR = wp.constant(wp.vec3(*lighting.FILL_COLOUR))
BACK_COLOUR = wp.constant(wp.vec3(*lighting.BACK_COLOUR))
SKY = wp.constant(wp.vec3(*lighting.SKY))
GROUND = wp.constant(wp.vec3(*lighting.GROUND))
BOUNCE = wp.constant(wp.vec3(*lighting.BOUNCE))
HAIR_TINT = wp.constant(wp.vec3(*lighting.HAIR_TINT))
SHADOW_FAR = wp.constant(lighting.SHADOW_FAR)
SHADOW_EDGE = wp.constant(lighting.SHADOW_EDGE)
SHADOW_EMPTY = wp.constant(lighting.SHADOW_EMPTY)
SHADOW_BIAS = wp.constant(lighting.SHADOW_BIAS)
SHADOW_OFFSET = wp.constant(lighting.SHADOW_OFFSET)
SHADOW_VARIANCE = wp.constant(lighting.SHADOW_VARIANCE)
SHADOW_BLEED = wp.constant(lighting.SHADOW_BLEED)
SHADOW_GAP = wp.constant(lighting.SHADOW_GAP)
OCCLUSION_RADIUS = wp.constant(lighting.OCCLUSION_RADIUS)
OCCLUSION_TAPS = wp.constant(lighting.OCCLUSION_TAPS)
OCCLUSION_STRENGTH = wp.constant(lighting.OCCLUSION_STRENGTH)
OCCLUSION_BIAS = wp.constant(lighting.OCCLUSION_BIAS)
OCCLUSION_EDGE = wp.constant(lighting.OCCLUSION_EDGE)
GOLDEN_COS = wp.constant(lighting.GOLDEN_COS)
GOLDEN_SIN = wp.constant(lighting.GOLDEN_SIN)
SCATTER_TAPS = wp.constant(lighting.SCATTER_TAPS)
SCATTER_EDGE = wp.constant(lighting.SCATTER_EDGE)
CLOTH_WRAP = wp.constant(lighting.CLOTH_WRAP)
FILL_WRAP = wp.constant(lighting.FILL_WRAP)
SKIN_REFLECTANCE = wp.constant(lighting.SKIN_REFLECTANCE)
SKIN_ROUGH = wp.constant(lighting.SKIN_ROUGH)
SKIN_SMOOTH = wp.constant(lighting.SKIN_SMOOTH)
SKIN_SMOOTH_SHARE = wp.constant(lighting.SKIN_SMOOTH_SHARE)
PORES = wp.constant(wp.vec4(*lighting.PORES))
PORE_GLOSS = wp.constant(lighting.PORE_GLOSS)
PORE_SHADE = wp.constant(lighting.PORE_SHADE)
PORE_WIDTH = wp.constant(lighting.PORE_WIDTH)
LIP_GLOSS = wp.constant(lighting.LIP_GLOSS)
TEETH_REFLECTANCE = wp.constant(lighting.TEETH_REFLECTANCE)
WET_REFLECTANCE = wp.constant(lighting.WET_REFLECTANCE)
WET_ROUGH = wp.constant(lighting.WET_ROUGH)
CLOTH_SHEEN = wp.constant(lighting.CLOTH_SHEEN)
SKIN_SHEEN = wp.constant(lighting.SKIN_SHEEN)
HAIR_WHITE = wp.constant(lighting.HAIR_WHITE)
HAIR_COLOURED = wp.constant(lighting.HAIR_COLOURED)
HAIR_BACK = wp.constant(lighting.HAIR_BACK)
HAIR_SHIFT = wp.constant(lighting.HAIR_SHIFT)
HAIR_ALBEDO = wp.constant(lighting.HAIR_ALBEDO)
HAIR_ROOT = wp.constant(wp.vec3(*lighting.HAIR_ROOT))
HAIR_RIM = wp.constant(lighting.HAIR_RIM)
HAIR_FRAY = wp.constant(lighting.HAIR_FRAY)
STRANDS = wp.constant(lighting.STRANDS)
LOCKS = wp.constant(lighting.LOCKS)
IN_LOCK = wp.constant(lighting.STRANDS / lighting.LOCKS)
STRAND_WIDTH = wp.constant(lighting.STRAND_WIDTH)
STRAND_WAVE = wp.constant(lighting.STRAND_WAVE)
CLOTH_GREY = wp.constant(lighting.CLOTH_GREY)
HAIR_MEAN = wp.constant(lighting.HAIR_MEAN)
HAIR_RELIEF = wp.constant(lighting.HAIR_RELIEF)
CATCH_INNER = wp.constant(lighting.CATCH_INNER)
CATCH_OUTER = wp.constant(lighting.CATCH_OUTER)
CATCH_LIGHT = wp.constant(lighting.CATCH_LIGHT)
EYE_ALBEDO = wp.constant(lighting.EYE_ALBEDO)
LID_REACH = wp.constant(lighting.LID_REACH)
LID_DARK = wp.constant(lighting.LID_DARK)
MOUTH_KEY = wp.constant(lighting.MOUTH_KEY)
MOUTH_OPEN = wp.constant(lighting.MOUTH_OPEN)
MOUTH_WRAP = wp.constant(lighting.MOUTH_WRAP)
MOUTH_DIM = wp.constant(lighting.MOUTH_DIM)
MOUTH_FLOOR = wp.constant(wp.vec3(*lighting.MOUTH_FLOOR))
LIP_DARK = wp.constant(lighting.LIP_DARK)
LASH_REACH = wp.constant(lighting.LASH_REACH)
LASH_DARK = wp.constant(lighting.LASH_DARK)
KNIT_PERIOD = wp.constant(lighting.KNIT_PERIOD)
KNIT_ROW = wp.constant(lighting.KNIT_ROW)
KNIT_SLOPE = wp.constant(lighting.KNIT_SLOPE)
KNIT_SHADE = wp.constant(lighting.KNIT_SHADE)
KNIT_MEAN = wp.constant(lighting.KNIT_MEAN)
SAME_DEPTH = wp.constant(lighting.SAME_DEPTH)
TURN = wp.constant(6.2831853)


@wp.struct
class Materials:
    """Tables of the shading `full`, beside those of `Surface`."""

    kind: wp.array(dtype=wp.int32)  # [F] CLOTH to HAIR
    openness: wp.array(dtype=float)  # [V] baked occlusion where no pose changes it, else 1
    across: wp.array(dtype=wp.vec3)  # [F] coordinate across wales or strands, at 3 corners
    along: wp.array(dtype=wp.vec3)  # [F] coordinate along the wales
    root: wp.array(dtype=float)  # [V] of hair: 0 at the hairline, 1 where it covers the skin
    strands: wp.array(dtype=float)  # [STRANDS] lightness of strands, -1 to 1
    hair_mean: float  # mean albedo of the hair


@wp.struct
class Buffers:
    """Surface at the first covered sample of each pixel. Kind -1: background."""

    kind: wp.array3d(dtype=wp.int32)  # [B, H, W]
    face: wp.array3d(dtype=wp.int32)
    depth: wp.array3d(dtype=float)
    weights: wp.array3d(dtype=wp.vec3)
    normal: wp.array3d(dtype=wp.vec3)  # world space
    soft: wp.array3d(dtype=wp.vec3)  # key light that arrives, openness, tint of lids and lashes
    light: wp.array3d(dtype=wp.vec3)  # diffuse light that arrives


@wp.func
def smooth(x: float, low: float, high: float):
    t = wp.clamp((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


@wp.func
def ray_of(view: View, x: float, y: float):
    """Point at depth 1 behind normalised image coordinates."""
    return wp.vec3(
        -(x + view.middle[0]) / view.focal[0], -(y + view.middle[1]) / view.focal[1], 1.0
    )


@wp.kernel
def shadow_depths(
    keys: wp.array3d(dtype=wp.int64),  # [B, S, S]; cleared after reading
    nearest: float,
    moments: wp.array3d(dtype=wp.vec2),  # [B, S, S] depth behind `nearest`, and its square
):
    b, row = wp.tid()
    for column in range(keys.shape[2]):
        key = keys[b, row, column]
        depth = SHADOW_EMPTY
        if key != NOTHING:
            depth = wp.min(depth_of(key) - nearest, SHADOW_FAR)
            keys[b, row, column] = NOTHING
        moments[b, row, column] = wp.vec2(depth, depth * depth)


@wp.kernel
def blur_rows(
    moments: wp.array3d(dtype=wp.vec2),  # [B, S, S]
    reach: int,
    turned: wp.array3d(dtype=wp.vec2),  # [B, S, S] means over rows, transposed
):
    b, row = wp.tid()
    side = moments.shape[2]
    first = wp.float64(0.0)
    second = wp.float64(0.0)
    share = wp.float64(1.0) / wp.float64(2 * reach + 1)
    for k in range(-reach, reach + 1):
        m = moments[b, row, wp.clamp(k, 0, side - 1)]
        first += wp.float64(m[0])
        second += wp.float64(m[1])
    for column in range(side):
        turned[b, column, row] = wp.vec2(float(first * share), float(second * share))
        a = moments[b, row, wp.min(column + reach + 1, side - 1)]
        z = moments[b, row, wp.max(column - reach, 0)]
        first += wp.float64(a[0] - z[0])
        second += wp.float64(a[1] - z[1])


@wp.func
def sample_moments(moments: wp.array3d(dtype=wp.vec2), b: int, u: float, v: float):
    x = int(u)
    y = int(v)
    across = u - float(x)
    upper = moments[b, y, x] + (moments[b, y, x + 1] - moments[b, y, x]) * across
    lower = moments[b, y + 1, x] + (moments[b, y + 1, x + 1] - moments[b, y + 1, x]) * across
    return upper + (lower - upper) * (v - float(y))


@wp.func
def lit_share(m: wp.vec2, depth: float):
    """Upper bound of the share of texels that are not nearer to the light (Chebyshev)."""
    gap = depth - m[0]
    if gap <= 0.0:
        return 1.0
    variance = wp.max(m[1] - m[0] * m[0], SHADOW_VARIANCE)
    return wp.max((variance / (variance + gap * gap) - SHADOW_BLEED) / (1.0 - SHADOW_BLEED), 0.0)


@wp.func
def key_light(
    sharp: wp.array3d(dtype=wp.vec2),
    wide: wp.array3d(dtype=wp.vec2),
    lamp: View,
    nearest: float,
    b: int,
    at: wp.vec3,
):
    """Share of the key light that arrives at a point in the world: softer behind far blockers."""
    q = lamp.rotation * at + lamp.translation
    side = float(sharp.shape[1])
    u = 0.5 * side * (1.0 + lamp.focal[0] * q[0] / q[2] + lamp.middle[0]) - 0.5
    v = 0.5 * side * (1.0 + lamp.focal[1] * q[1] / q[2] + lamp.middle[1]) - 0.5
    if not (u >= 0.0 and v >= 0.0 and u < side - 1.0 and v < side - 1.0):
        return 1.0
    depth = q[2] - nearest - SHADOW_BIAS
    m = sample_moments(wide, b, u, v)
    far = lit_share(m, depth)
    gap = wp.max(depth - m[0], 0.0) / wp.max(1.0 - far, 0.1)
    near = lit_share(sample_moments(sharp, b, u, v), depth)
    arriving = near + (far - near) * wp.clamp(gap / SHADOW_GAP, 0.0, 1.0)
    border = wp.min(wp.min(u, v), side - 1.0 - wp.max(u, v)) / (SHADOW_EDGE * side)
    return 1.0 + (arriving - 1.0) * wp.min(border, 1.0)


@wp.kernel
def find_surface(
    surface: Surface,
    materials: Materials,
    points: wp.array2d(dtype=wp.vec3),  # [B, V]
    normals: wp.array2d(dtype=wp.vec3),  # [B, V]
    view: View,
    lamp: View,
    nearest: float,
    samples: int,
    keys: wp.array3d(dtype=wp.int64),  # [B, samples * H, samples * W]
    sharp: wp.array3d(dtype=wp.vec2),
    wide: wp.array3d(dtype=wp.vec2),
    buffers: Buffers,
):
    b, row = wp.tid()
    half = float(wp.min(keys.shape[1], keys.shape[2])) / 2.0
    for column in range(keys.shape[2] / samples):
        key = NOTHING
        i = int(0)  # noqa: RUF046, UP018 - warp: a variable, not a constant
        j = int(0)  # noqa: RUF046, UP018
        for k in range(samples * samples):
            if key == NOTHING:
                i = k / samples
                j = k - i * samples
                key = keys[b, row * samples + i, column * samples + j]
        if key == NOTHING:
            buffers.kind[b, row, column] = -1
            continue
        f = int(key & LOW_HALF)
        face = surface.faces[f]
        v0 = points[b, face[0]]
        v1 = points[b, face[1]]
        v2 = points[b, face[2]]
        x = centre(column * samples + j, keys.shape[2], half)
        y = centre(row * samples + i, keys.shape[1], half)
        w = corner_weights(x, y, v0, v1, v2, edge(v2[0], v2[1], v0, v1) + 1.0e-8)
        normal = wp.normalize(
            w[0] * normals[b, face[0]] + w[1] * normals[b, face[1]] + w[2] * normals[b, face[2]]
        )
        depth = depth_of(key)
        there = wp.transpose(view.rotation) * (ray_of(view, x, y) * depth - view.translation)
        arriving = float(0.0)  # noqa: UP018
        if wp.dot(normal, KEY) > -CLOTH_WRAP:
            arriving = key_light(sharp, wide, lamp, nearest, b, there + normal * SHADOW_OFFSET)
        o = materials.openness
        openness = w[0] * o[face[0]] + w[1] * o[face[1]] + w[2] * o[face[2]]
        buffers.kind[b, row, column] = materials.kind[f]
        buffers.face[b, row, column] = f
        buffers.depth[b, row, column] = depth
        buffers.weights[b, row, column] = w
        buffers.normal[b, row, column] = normal
        buffers.soft[b, row, column] = wp.vec3(arriving, openness, 1.0)


@wp.func
def turn_of(row: int, column: int):
    """Ordered pattern of 4 x 4 values from 0 to 15/16."""
    x = column & 3
    y = row & 3
    z = x ^ y
    return float(((z & 1) << 3) | ((y & 1) << 2) | (z & 2) | ((y & 2) >> 1)) / 16.0


@wp.kernel
def occlude(
    view: View,
    pixels: float,  # half the shorter side of the image
    buffers: Buffers,
    open: wp.array3d(dtype=float),  # [B, H / 2, W / 2]
):
    b, row = wp.tid()
    height = buffers.kind.shape[1]
    width = buffers.kind.shape[2]
    middle = wp.vec2(0.5 * float(width), 0.5 * float(height))
    for column in range(open.shape[2]):
        if buffers.kind[b, 2 * row, 2 * column] < 0:
            open[b, row, column] = 1.0
            continue
        depth = buffers.depth[b, 2 * row, 2 * column]
        n = view.rotation * buffers.normal[b, 2 * row, 2 * column]
        x = -(float(2 * column) + 0.5 - middle[0]) / pixels
        y = -(float(2 * row) + 0.5 - middle[1]) / pixels
        at = ray_of(view, x, y) * depth
        reach = OCCLUSION_RADIUS * view.focal[0] * pixels / depth
        jitter = turn_of(row, column)
        c = wp.cos(TURN * jitter)
        s = wp.sin(TURN * jitter)
        total = float(0.0)  # noqa: UP018
        for k in range(OCCLUSION_TAPS):
            r = reach * (float(k) + 0.4 + 0.6 * jitter) / float(OCCLUSION_TAPS)
            u = wp.clamp(2 * column + int(wp.floor(c * r + 0.5)), 0, width - 1)
            v = wp.clamp(2 * row + int(wp.floor(s * r + 0.5)), 0, height - 1)
            c2 = c * GOLDEN_COS - s * GOLDEN_SIN
            s = s * GOLDEN_COS + c * GOLDEN_SIN
            c = c2
            if buffers.kind[b, v, u] >= 0:
                xq = -(float(u) + 0.5 - middle[0]) / pixels
                yq = -(float(v) + 0.5 - middle[1]) / pixels
                to = ray_of(view, xq, yq) * buffers.depth[b, v, u] - at
                far = wp.dot(to, to)
                left = 1.0 - far / (OCCLUSION_RADIUS * OCCLUSION_RADIUS)
                if left > 0.0:
                    up = wp.dot(to, n) / wp.sqrt(far + 1.0e-6) - OCCLUSION_BIAS
                    total += wp.max(up, 0.0) * left
        open[b, row, column] = wp.max(1.0 - OCCLUSION_STRENGTH * total / float(OCCLUSION_TAPS), 0.0)


@wp.kernel
def smooth_occlusion(
    buffers: Buffers,
    open: wp.array3d(dtype=float),  # [B, H / 2, W / 2]
    smoothed: wp.array3d(dtype=float),  # [B, H / 2, W / 2]
):
    """Mean over 4 x 4 pixels of the same surface, which removes the pattern of `turn_of`."""
    b, row = wp.tid()
    for column in range(open.shape[2]):
        if buffers.kind[b, 2 * row, 2 * column] < 0:
            smoothed[b, row, column] = 1.0
            continue
        depth = buffers.depth[b, 2 * row, 2 * column]
        total = float(0.0)  # noqa: UP018
        count = float(0.0)  # noqa: UP018
        for i in range(-2, 2):
            v = row + i
            if v >= 0 and v < open.shape[1]:
                for j in range(-2, 2):
                    u = column + j
                    if u >= 0 and u < open.shape[2]:  # noqa: SIM102 -- warp evaluates both sides
                        if buffers.kind[b, 2 * v, 2 * u] >= 0:
                            off = wp.abs(buffers.depth[b, 2 * v, 2 * u] - depth)
                            weight = wp.max(1.0 - off / OCCLUSION_EDGE, 0.0)
                            total += weight * open[b, v, u]
                            count += weight
        smoothed[b, row, column] = total / wp.max(count, 1.0e-6)


@wp.func
def openness_at(buffers: Buffers, smoothed: wp.array3d(dtype=float), b: int, row: int, column: int):
    """Occlusion at a pixel from the four values around it on the same surface."""
    depth = buffers.depth[b, row, column]
    total = float(0.0)  # noqa: UP018
    count = float(0.0)  # noqa: UP018
    for i in range(2):
        v = wp.min((row + i) / 2, smoothed.shape[1] - 1)
        for j in range(2):
            u = wp.min((column + j) / 2, smoothed.shape[2] - 1)
            if buffers.kind[b, 2 * v, 2 * u] >= 0:
                off = wp.abs(buffers.depth[b, 2 * v, 2 * u] - depth)
                weight = wp.max(1.0 - off / OCCLUSION_EDGE, 1.0e-3)
                total += weight * smoothed[b, v, u]
                count += weight
    if count == 0.0:
        return 1.0
    return total / count


@wp.func
def kind_of(materials: Materials, key: wp.int64):
    if key == NOTHING:
        return -1
    return materials.kind[int(key & LOW_HALF)]


@wp.func
def covered_from(
    materials: Materials,
    keys: wp.array3d(dtype=wp.int64),
    b: int,
    row: int,
    column: int,
    step: int,
    count: int,
    kind: int,
):
    """Share of samples above (step -1) or below (1) on a kind; near ones count more."""
    total = float(0.0)  # noqa: UP018
    for k in range(1, count + 1):
        v = row + k * step
        if v >= 0 and v < keys.shape[1]:  # noqa: SIM102 -- warp evaluates both sides
            if kind_of(materials, keys[b, v, column]) == kind:
                total += float(count + 1 - k)
    return 2.0 * total / float(count * (count + 1))


@wp.kernel
def light_surface(
    materials: Materials,
    view: View,
    pixels: float,
    samples: int,
    keys: wp.array3d(dtype=wp.int64),
    smoothed: wp.array3d(dtype=float),
    buffers: Buffers,
):
    """Diffuse light that arrives at each pixel."""
    b, row = wp.tid()
    for column in range(buffers.kind.shape[2]):
        kind = buffers.kind[b, row, column]
        if kind < 0:
            continue
        soft = buffers.soft[b, row, column]
        n = buffers.normal[b, row, column]
        fine = view.focal[0] * pixels * float(samples) / buffers.depth[b, row, column]
        openness = soft[1] * openness_at(buffers, smoothed, b, row, column)
        arriving = soft[0]
        tint = float(1.0)  # noqa: UP018
        top = row * samples
        left = column * samples
        if kind == MOUTH:
            arriving = MOUTH_KEY * soft[1]
            openness = MOUTH_OPEN * soft[1]
        if kind == EYE or kind == MOUTH:  # noqa: SIM109 -- warp has no `in`
            count = wp.max(int(LID_REACH * fine + 0.5), 2)
            shade = covered_from(materials, keys, b, top, left, -1, count, SKIN)
            tint = 1.0 - wp.where(kind == EYE, LID_DARK, LIP_DARK) * shade
        if kind == SKIN:
            count = wp.max(int(LASH_REACH * fine + 0.5), 2)
            tint = 1.0 - LASH_DARK * covered_from(materials, keys, b, top, left, 1, count, EYE)
        wrap = wp.where(kind == CLOTH, CLOTH_WRAP, wp.where(kind == MOUTH, MOUTH_WRAP, 0.0))
        key = arriving * wp.max((wp.dot(n, KEY) + wrap) / (1.0 + wrap), 0.0)
        fill = wp.max((wp.dot(n, FILL) + FILL_WRAP) / (1.0 + FILL_WRAP), 0.0)
        back = wp.max(wp.dot(n, BACK), 0.0)
        around = FILL_COLOUR * fill + GROUND + (SKY - GROUND) * (0.5 + 0.5 * n[1])
        one = wp.vec3(1.0, 1.0, 1.0)
        open = wp.cw_div(one * openness, one - BOUNCE * (1.0 - openness))
        light = KEY_COLOUR * key + wp.cw_mul(around, open) + BACK_COLOUR * (back * openness)
        buffers.soft[b, row, column] = wp.vec3(arriving, openness, tint)
        buffers.light[b, row, column] = light


@wp.func
def scattered(
    buffers: Buffers,
    light: wp.array3d(dtype=wp.vec3),
    weights: wp.array(dtype=wp.vec3),
    b: int,
    row: int,
    column: int,
    down: int,
    right: int,
):
    own = light[b, row, column]
    depth = buffers.depth[b, row, column]
    total = wp.cw_mul(own, weights[0])
    for k in range(1, SCATTER_TAPS + 1):
        for side in range(2):
            step = k - 2 * k * side
            v = row + down * step
            u = column + right * step
            value = own
            if v >= 0 and v < light.shape[1] and u >= 0 and u < light.shape[2]:  # noqa: SIM102 -- warp evaluates both sides
                if buffers.kind[b, v, u] == SKIN:
                    off = wp.abs(buffers.depth[b, v, u] - depth)
                    share = wp.max(1.0 - off / SCATTER_EDGE, 0.0)
                    value = own + (light[b, v, u] - own) * share
            total = total + wp.cw_mul(value, weights[k])
    return total


@wp.kernel
def scatter(
    buffers: Buffers,
    light: wp.array3d(dtype=wp.vec3),  # [B, H, W]
    weights: wp.array(dtype=wp.vec3),  # [SCATTER_TAPS + 1] of red, green and blue
    down: int,  # step of a tap
    right: int,
    blurred: wp.array3d(dtype=wp.vec3),  # [B, H, W]
):
    """Light that arrives at skin, spread along columns or rows."""
    b, row = wp.tid()
    for column in range(light.shape[2]):
        kind = buffers.kind[b, row, column]
        if kind == SKIN:
            blurred[b, row, column] = scattered(
                buffers, light, weights, b, row, column, down, right
            )
        elif kind >= 0:
            blurred[b, row, column] = light[b, row, column]


@wp.func
def lobe(nh: float, lh: float, alpha: float):
    """Microfacet highlight (GGX) of unit reflectance, by the cosines of the half vector."""
    a2 = alpha * alpha
    d = nh * nh * (a2 - 1.0) + 1.0
    return a2 / (4.0 * d * d * lh * lh * (wp.sqrt(alpha) + 0.5))


@wp.func
def highlight(
    normal: wp.vec3, towards: wp.vec3, light: wp.vec3, rough: float, fine: float, share: float
):
    """Two lobes of one light; `share` is that of the fine one."""
    cosine = wp.dot(normal, light)
    if cosine <= 0.0:
        return 0.0
    half = wp.normalize(light + towards)
    nh = wp.max(wp.dot(normal, half), 0.0)
    lh = wp.max(wp.dot(light, half), 0.1)
    return cosine * ((1.0 - share) * lobe(nh, lh, rough) + share * lobe(nh, lh, fine))


@wp.func
def gloss(
    normal: wp.vec3, towards: wp.vec3, soft: wp.vec3, rough: float, fine: float, share: float
):
    """Highlights of the key, fill and back light."""
    key = highlight(normal, towards, KEY, rough, fine, share) * soft[0]
    fill = highlight(normal, towards, FILL, rough, fine, share) * soft[1]
    back = highlight(normal, towards, BACK, rough, fine, share) * soft[1]
    return KEY_COLOUR * key + FILL_COLOUR * fill + BACK_COLOUR * back


@wp.func
def strand(tangent: wp.vec3, towards: wp.vec3, light: wp.vec3):
    """Sine of the angle between strand and half vector (Kajiya and Kay)."""
    along = wp.dot(tangent, wp.normalize(light + towards))
    return wp.sqrt(wp.max(1.0 - along * along, 0.0))


@wp.func
def power16(x: float):
    y = x * x
    y = y * y
    y = y * y
    return y * y


@wp.func
def hair_gloss(normal: wp.vec3, tangent: wp.vec3, towards: wp.vec3, soft: wp.vec3, shift: float):
    """Two highlights along strands: one white, one shifted and in the colour of the hair."""
    first = wp.normalize(tangent + normal * (shift - 0.12))
    second = wp.normalize(tangent + normal * (shift + 0.18))
    key = soft[0] * smooth(wp.dot(normal, KEY), -0.15, 0.5)
    back = soft[1] * smooth(wp.dot(normal, BACK), -0.1, 0.6)
    a = power16(power16(strand(first, towards, KEY))) * key
    b = power16(strand(second, towards, KEY)) * key
    c = power16(strand(first, towards, BACK)) * back
    white = KEY_COLOUR * (a * HAIR_WHITE) + BACK_COLOUR * (c * HAIR_BACK)
    return white + wp.cw_mul(KEY_COLOUR, HAIR_TINT) * (b * HAIR_COLOURED)


@wp.func
def strand_at(materials: Materials, x: float, period: int):
    """Lightness of a strand, interpolated in the first `period` values of the table."""
    low = wp.floor(x)
    i = int(low) % period
    i = wp.where(i < 0, i + period, i)
    a = materials.strands[i]
    return a + (materials.strands[(i + 1) % period] - a) * (x - low)


@wp.func
def strands(materials: Materials, around: float, along: float, pixel: float):
    """Lightness of the hair by strand, -1 to 1; thin strands fade where pixels are larger."""
    x = around + STRAND_WAVE * wp.sin(along * 90.0)
    seen = 1.0 - smooth(pixel / STRAND_WIDTH, 0.6, 1.6)
    locks = strand_at(materials, x / IN_LOCK, LOCKS)
    return 0.5 * locks + 0.5 * seen * strand_at(materials, x, STRANDS)


@wp.func
def pores(materials: Materials, uv: wp.vec2, pixel: float):
    """Fine noise of skin, -1 to 1; it fades where pixels are larger."""
    a = strand_at(materials, uv[0] * PORES[0] + uv[1] * PORES[1], STRANDS)
    b = strand_at(materials, uv[0] * PORES[2] + uv[1] * PORES[3], STRANDS)
    return a * b * (1.0 - smooth(pixel / PORE_WIDTH, 0.8, 3.0))


@wp.func
def knit(
    materials: Materials,
    f: int,
    w: wp.vec3,
    a: wp.vec3,
    b: wp.vec3,
    c: wp.vec3,
    normal: wp.vec3,
    towards: wp.vec3,
    facing: float,
    pixel: float,  # size of a pixel at the surface, seen from the front
):
    """Normal over the wales of the knit, and in w the shade of its grooves.

    Wales fade where pixels do not resolve them: a surface that is seen from the side is shorter
    only in the direction of the view.
    """
    q = materials.across[f]
    s = materials.along[f]
    e1 = b - a
    e2 = c - a
    across = wp.cross(e1, e2)
    size = wp.max(wp.dot(across, across), 1.0e-12)
    d1 = q[1] - q[0]
    d2 = q[2] - q[0]
    slope = (wp.cross(e2, across) * d1 + wp.cross(across, e1) * d2) / size
    length = wp.length(slope)  # above 1 where the cloth is compressed
    away = towards - normal * facing
    off = wp.dot(slope, away) / wp.max(wp.length(away), 1.0e-6)
    level = 1.0 / ((facing + 0.05) * (facing + 0.05))
    rate = wp.sqrt(wp.max(length * length + off * off * (level - 1.0), 1.0))
    seen = 1.0 - smooth(pixel * rate / KNIT_PERIOD, 0.20, 0.45)
    rows = 1.0 - smooth(pixel / (KNIT_ROW * (facing + 0.05)), 0.20, 0.45)
    at = w[0] * q[0] + w[1] * q[1] + w[2] * q[2]
    up = w[0] * s[0] + w[1] * s[1] + w[2] * s[2]
    phase = TURN * at / KNIT_PERIOD
    stitch = rows * wp.sin(TURN * up / KNIT_ROW + 1.5 * wp.cos(phase))
    wave = wp.sin(phase) * (0.8 + 0.2 * stitch)
    bent = normal
    if length > 0.0:
        bent = wp.normalize(normal + slope * (KNIT_SLOPE * seen * wave / length))
    groove = (0.5 - 0.5 * wp.cos(phase)) * (0.75 + 0.25 * stitch)
    shade = 1.0 - KNIT_SHADE * (KNIT_MEAN + (groove - KNIT_MEAN) * seen)
    return wp.vec4(bent[0], bent[1], bent[2], shade)


@wp.func
def colour_of(
    surface: Surface,
    materials: Materials,
    posed: wp.array2d(dtype=wp.vec3),
    anchor: wp.array(dtype=wp.vec3),
    view: View,
    mouth_light: wp.array(dtype=float),
    pixels: float,
    b: int,
    f: int,
    kind: int,
    w: wp.vec3,
    smooth_normal: wp.vec3,
    soft: wp.vec3,
    light: wp.vec3,
    x: float,
    y: float,
    depth: float,
):
    """Display values of one sample."""
    face = surface.faces[f]
    corner = surface.uv_faces[f]
    uv = w[0] * surface.uv[corner[0]] + w[1] * surface.uv[corner[1]] + w[2] * surface.uv[corner[2]]
    albedo = sample_texture(surface.texture, uv)
    normal = smooth_normal
    towards = -wp.normalize(wp.transpose(view.rotation) * ray_of(view, x, y))
    facing = wp.max(wp.dot(normal, towards), 0.0)
    grazing = (1.0 - facing) * (1.0 - facing)
    result = wp.vec3(0.0, 0.0, 0.0)
    if kind == SKIN:
        fresnel = SKIN_REFLECTANCE + (0.35 - SKIN_REFLECTANCE) * grazing * grazing * (1.0 - facing)
        lips = smooth(albedo[0] - 2.2 * albedo[1], 0.02, 0.16)
        share = SKIN_SMOOTH_SHARE + LIP_GLOSS * lips
        pore = pores(materials, uv, depth / (view.focal[0] * pixels))
        albedo = albedo * (1.0 + PORE_SHADE * pore)
        shine = gloss(normal, towards, soft, SKIN_ROUGH, SKIN_SMOOTH, share)
        shine = shine * (1.0 + PORE_GLOSS * pore * (1.0 - lips))
        result = wp.cw_mul(albedo, light) * soft[2]
        result = result + shine * (fresnel * soft[1])
        result = result + wp.cw_mul(albedo, light) * (SKIN_SHEEN * grazing)
    elif kind == CLOTH:
        a = posed[b, face[0]]
        knitted = knit(
            materials,
            f,
            w,
            a,
            posed[b, face[1]],
            posed[b, face[2]],
            normal,
            towards,
            facing,
            depth / (view.focal[0] * pixels),
        )
        bent = wp.vec3(knitted[0], knitted[1], knitted[2])
        was = wp.max((wp.dot(normal, KEY) + CLOTH_WRAP) / (1.0 + CLOTH_WRAP), 0.0)
        now = wp.max((wp.dot(bent, KEY) + CLOTH_WRAP) / (1.0 + CLOTH_WRAP), 0.0)
        fill_was = wp.max((wp.dot(normal, FILL) + FILL_WRAP) / (1.0 + FILL_WRAP), 0.0)
        fill_now = wp.max((wp.dot(bent, FILL) + FILL_WRAP) / (1.0 + FILL_WRAP), 0.0)
        bright = light + KEY_COLOUR * ((now - was) * soft[0])
        bright = bright + FILL_COLOUR * ((fill_now - fill_was) * soft[1])
        grey = (albedo[0] + albedo[1] + albedo[2]) / 3.0
        albedo = albedo + (wp.vec3(grey, grey, grey) - albedo) * CLOTH_GREY
        result = wp.cw_mul(albedo, bright) * knitted[3]
        fuzz = wp.cw_mul(albedo + wp.vec3(0.04, 0.04, 0.04), bright)
        result = result + fuzz * (CLOTH_SHEEN * grazing * soft[1])
    elif kind == HAIR:
        lightness = strands(
            materials, wp.dot(w, materials.across[f]), uv[0], depth / (view.focal[0] * pixels)
        )
        mean = 0.5 * materials.hair_mean
        way = anchor[b] - (
            w[0] * posed[b, face[0]] + w[1] * posed[b, face[1]] + w[2] * posed[b, face[2]]
        )
        tangent = wp.normalize(way - normal * wp.dot(way, normal) + wp.vec3(1.0e-6, 0.0, 0.0))
        root = w[0] * materials.root[face[0]]
        root = root + w[1] * materials.root[face[1]] + w[2] * materials.root[face[2]]
        covers = smooth(root + 0.6 * lightness, 0.0, 0.6)
        level = (albedo[0] + albedo[1] + albedo[2]) / 3.0
        shade = 1.0 + HAIR_RELIEF * lightness
        hair = (HAIR_TINT * mean + albedo * (mean / (mean + 0.5 * level))) * (HAIR_ALBEDO * shade)
        dark = materials.hair_mean / HAIR_MEAN
        bright = hair_gloss(normal, tangent, towards, soft, HAIR_SHIFT * lightness)
        bright = bright * (shade * wp.min(dark, 1.0))
        skin = HAIR_ROOT * dark
        result = wp.cw_mul(skin + (hair - skin) * covers, light) + bright * covers
    elif kind == EYE:
        sharp = wp.dot(normal, wp.normalize(EYE_LIGHT + towards))
        caught = smooth(sharp, CATCH_OUTER, CATCH_INNER) * CATCH_LIGHT
        result = wp.cw_mul(albedo, light) * (EYE_ALBEDO * soft[2])
        result = result + gloss(normal, towards, soft, WET_ROUGH, WET_ROUGH, 0.0) * (
            WET_REFLECTANCE * soft[2]
        )
        result = result + wp.vec3(caught, caught, caught) * soft[2]
    else:
        wet = gloss(normal, towards, soft, WET_ROUGH, WET_ROUGH, 0.0) * TEETH_REFLECTANCE
        result = (wp.cw_mul(albedo + MOUTH_FLOOR, light) + wet * soft[1]) * soft[2]
        result = result * (1.0 - MOUTH_DIM * (1.0 - mouth_light[b]))
    return wp.vec3(
        display(surface.tone, result[0]),
        display(surface.tone, result[1]),
        display(surface.tone, result[2]),
    )


@wp.func
def hair_cover(buffers: Buffers, b: int, row: int, column: int, facing: float, lightness: float):
    """Share of a sample of hair at the outline that hair covers: its rim is soft."""
    if facing >= HAIR_RIM:
        return 1.0
    height = buffers.kind.shape[1]
    width = buffers.kind.shape[2]
    outline = int(0)  # noqa: RUF046, UP018
    for i in range(-1, 2):
        for j in range(-1, 2):
            v = wp.clamp(row + 2 * i, 0, height - 1)
            u = wp.clamp(column + 2 * j, 0, width - 1)
            if buffers.kind[b, v, u] < 0:
                outline += 1
    if outline == 0:
        return 1.0
    return smooth(facing + HAIR_FRAY * lightness, -0.1, HAIR_RIM)


@wp.kernel
def finish(
    surface: Surface,
    materials: Materials,
    posed: wp.array2d(dtype=wp.vec3),
    points: wp.array2d(dtype=wp.vec3),
    normals: wp.array2d(dtype=wp.vec3),
    anchor: wp.array(dtype=wp.vec3),  # [B] point towards which strands of hair run
    view: View,
    mouth_light: wp.array(dtype=float),
    first_column: int,
    samples: int,
    keys: wp.array3d(dtype=wp.int64),  # cleared after reading
    buffers: Buffers,
    frames: wp.array4d(dtype=wp.uint8),
):
    """Render a row over the background."""
    b, row = wp.tid()
    half = float(wp.min(keys.shape[1], keys.shape[2])) / 2.0
    pixels = half / float(samples)
    height = buffers.kind.shape[1]
    width = buffers.kind.shape[2]
    for column in range(width):
        if buffers.kind[b, row, column] < 0:
            continue
        top = row * samples
        left = column * samples
        covered = int(0)  # noqa: RUF046, UP018
        for i in range(samples):
            for j in range(samples):
                if keys[b, top + i, left + j] != NOTHING:
                    covered += 1
        at = first_column + column
        back = wp.vec3(
            float(frames[b, row, at, 0]), float(frames[b, row, at, 1]), float(frames[b, row, at, 2])
        )
        total = wp.vec3(0.0, 0.0, 0.0)
        count = samples * samples
        shaded = samples
        own = buffers.face[b, row, column]
        if samples > 1 and covered == count:  # noqa: SIM102 -- warp evaluates both sides
            if is_uniform(surface, keys, b, top, left, samples):
                shaded = 1
                count = 1
        for i in range(shaded):
            for j in range(shaded):
                key = keys[b, top + i, left + j]
                if key == NOTHING:
                    total = total + back
                else:
                    f = int(key & LOW_HALF)
                    x = centre(left + j, keys.shape[2], half)
                    y = centre(top + i, keys.shape[1], half)
                    depth = depth_of(key)
                    kind = materials.kind[f]
                    w = buffers.weights[b, row, column]
                    normal = buffers.normal[b, row, column]
                    v = row
                    u = column
                    if shaded > 1:
                        face = surface.faces[f]
                        v0 = points[b, face[0]]
                        v1 = points[b, face[1]]
                        v2 = points[b, face[2]]
                        area = edge(v2[0], v2[1], v0, v1) + 1.0e-8
                        w = corner_weights(x, y, v0, v1, v2, area)
                        normal = wp.normalize(
                            w[0] * normals[b, face[0]]
                            + w[1] * normals[b, face[1]]
                            + w[2] * normals[b, face[2]]
                        )
                        if f != own:
                            best = float(1.0e9)  # noqa: UP018
                            for k in range(5):  # the pixel and its neighbours
                                vk = row + wp.where(k == 1, -1, 0) + wp.where(k == 2, 1, 0)
                                uk = column + wp.where(k == 3, -1, 0) + wp.where(k == 4, 1, 0)
                                vk = wp.clamp(vk, 0, height - 1)
                                uk = wp.clamp(uk, 0, width - 1)
                                if buffers.kind[b, vk, uk] >= 0:
                                    off = wp.abs(buffers.depth[b, vk, uk] - depth)
                                    if buffers.kind[b, vk, uk] != kind:
                                        off += SAME_DEPTH
                                    if off < best:
                                        best = off
                                        v = vk
                                        u = uk
                    soft = buffers.soft[b, v, u]
                    light = buffers.light[b, v, u]
                    colour = colour_of(
                        surface,
                        materials,
                        posed,
                        anchor,
                        view,
                        mouth_light,
                        pixels,
                        b,
                        f,
                        kind,
                        w,
                        normal,
                        soft,
                        light,
                        x,
                        y,
                        depth,
                    )
                    if kind == HAIR and frames.shape[3] == 3:
                        ray = wp.normalize(wp.transpose(view.rotation) * ray_of(view, x, y))
                        facing = wp.max(-wp.dot(normal, ray), 0.0)
                        around = wp.dot(w, materials.across[f])
                        lightness = strand_at(materials, around / IN_LOCK, LOCKS)
                        share = hair_cover(buffers, b, row, column, facing, lightness)
                        colour = back + (colour - back) * share
                    total = total + colour
        if frames.shape[3] == 4:  # straight alpha, as in the shading `fast`
            count = wp.min(count, covered)
            share = float(covered) / float(samples * samples)
            frames[b, row, at, 3] = wp.uint8(int(255.0 * share + 0.5))
        for c in range(3):
            frames[b, row, at, c] = wp.uint8(int(total[c] / float(count) + 0.5))
        for i in range(samples):
            for j in range(samples):
                keys[b, top + i, left + j] = NOTHING
