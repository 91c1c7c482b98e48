"""Warp kernels of the blendshape avatar: skinning, normals, projection, shading.

Reference implementations in plain torch: `skinning.skin`, `plain_painter`, `shading.shade`.
Letters: B frames, V vertices, F faces, K joints per vertex, H and W pixels of the image.
"""

# mypy: ignore-errors
# Warp compiles the kernels and checks their types itself; its Python dialect does not pass mypy.

import warp as wp

from models.avatar.blendshape import shading
from models.avatar.blendshape.surface import SHARP_SHINE, UNIFORM_DEPTH
from models.avatar.raster.kernels import LOW_HALF, NOTHING, centre, corner_weights, edge

LIGHT_0 = wp.constant(wp.vec3(*shading.LIGHTS[0]))
LIGHT_1 = wp.constant(wp.vec3(*shading.LIGHTS[1]))
LIGHT_2 = wp.constant(wp.vec3(*shading.LIGHTS[2]))
COLOUR_0 = wp.constant(wp.vec3(*shading.LIGHT_COLOURS[0]))
COLOUR_1 = wp.constant(wp.vec3(*shading.LIGHT_COLOURS[1]))
COLOUR_2 = wp.constant(wp.vec3(*shading.LIGHT_COLOURS[2]))
SKY = wp.constant(wp.vec3(*shading.SKY))
GROUND = wp.constant(wp.vec3(*shading.GROUND))
SKIN_WRAP = wp.constant(wp.vec3(*shading.SKIN_WRAP))
CLOTH_WRAP = wp.constant(shading.CLOTH_WRAP)
CLOTH_SHINE = wp.constant(shading.CLOTH_SHINE)
WET_SHINE = wp.constant(shading.WET_SHINE)
HIGHLIGHT = wp.constant(shading.HIGHLIGHT)
RIM = wp.constant(shading.RIM)
TONE_SCALE = wp.constant((shading.TONE_STEPS - 1) / shading.TONE_LIMIT)
TONE_LAST = wp.constant(shading.TONE_STEPS - 1)
UNIFORM = wp.constant(UNIFORM_DEPTH)
SHARP = wp.constant(SHARP_SHINE)


@wp.struct
class Surface:
    """Mesh and material tables read by the kernel `light`."""

    faces: wp.array(dtype=wp.vec3i)  # [F]
    uv_faces: wp.array(dtype=wp.vec3i)  # [F]
    uv: wp.array(dtype=wp.vec2)  # [M]
    openness: wp.array(dtype=float)  # [V]
    shine: wp.array(dtype=float)  # [F]
    parts: wp.array(dtype=wp.int32)  # [F]
    inside: wp.array(dtype=float)  # [F] 1 inside the mouth
    texture: wp.array2d(dtype=wp.vec3ub)  # [S, S]
    tone: wp.array(dtype=float)


@wp.struct
class View:
    """Pose and projection of a camera."""

    rotation: wp.mat33
    translation: wp.vec3
    focal: wp.vec2  # in units of half the shorter side
    middle: wp.vec2  # offset of the optical axis, in the same unit
    position: wp.vec3


@wp.kernel
def skin(
    rest: wp.array2d(dtype=wp.vec3),  # [B, V]
    weights: wp.array2d(dtype=float),  # [V, K] heaviest first
    joints: wp.array2d(dtype=wp.int32),  # [V, K]
    matrices: wp.array3d(dtype=wp.vec4),  # [B, J, 3]
    posed: wp.array2d(dtype=wp.vec3),  # [B, V]
):
    b, v = wp.tid()
    p = rest[b, v]
    at = wp.vec4(p[0], p[1], p[2], 1.0)
    total = wp.vec3(0.0, 0.0, 0.0)
    for k in range(weights.shape[1]):
        weight = weights[v, k]
        if weight == 0.0:
            break
        j = joints[v, k]
        moved = wp.vec3(
            wp.dot(matrices[b, j, 0], at),
            wp.dot(matrices[b, j, 1], at),
            wp.dot(matrices[b, j, 2], at),
        )
        total = total + weight * moved
    posed[b, v] = total


@wp.kernel
def face_normals(
    posed: wp.array2d(dtype=wp.vec3),  # [B, V]
    faces: wp.array(dtype=wp.vec3i),  # [F]
    normals: wp.array2d(dtype=wp.vec3),  # [B, F] length is twice the area of the face
):
    b, f = wp.tid()
    face = faces[f]
    a = posed[b, face[0]]
    normals[b, f] = wp.cross(posed[b, face[1]] - a, posed[b, face[2]] - a)


@wp.kernel
def vertex_normals(
    by_face: wp.array2d(dtype=wp.vec3),  # [B, F]
    starts: wp.array(dtype=wp.int32),  # [V + 1] offsets into around
    around: wp.array(dtype=wp.int32),  # indices of the faces around each vertex
    normals: wp.array2d(dtype=wp.vec3),  # [B, V]
):
    b, v = wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    for i in range(starts[v], starts[v + 1]):
        total = total + by_face[b, around[i]]
    normals[b, v] = total / (wp.length(total) + 1.0e-12)


@wp.kernel
def project(
    posed: wp.array2d(dtype=wp.vec3),  # [B, V]
    view: View,
    points: wp.array2d(dtype=wp.vec3),  # [B, V] normalised coordinates
):
    b, v = wp.tid()
    at = view.rotation * posed[b, v] + view.translation
    x = -view.focal[0] * at[0] / at[2] - view.middle[0]
    y = -view.focal[1] * at[1] / at[2] - view.middle[1]
    points[b, v] = wp.vec3(x, y, at[2])


@wp.func
def texel(texture: wp.array2d(dtype=wp.vec3ub), y: int, x: int):
    t = texture[y, x]
    return wp.vec3(float(t[0]), float(t[1]), float(t[2]))


@wp.func
def sample_texture(texture: wp.array2d(dtype=wp.vec3ub), uv: wp.vec2):
    width = float(texture.shape[1])
    height = float(texture.shape[0])
    u = wp.clamp(uv[0] * width - 0.5, 0.0, width - 1.001)
    v = wp.clamp(uv[1] * height - 0.5, 0.0, height - 1.001)
    x = int(u)
    y = int(v)
    across = u - float(x)
    a = texel(texture, y, x)
    upper = a + (texel(texture, y, x + 1) - a) * across
    c = texel(texture, y + 1, x)
    lower = c + (texel(texture, y + 1, x + 1) - c) * across
    s = (upper + (lower - upper) * (v - float(y))) / 255.0
    cubic = wp.cw_mul(s, s * 0.305306011 + wp.vec3(0.682171111, 0.682171111, 0.682171111))
    return wp.cw_mul(s, cubic + wp.vec3(0.012522878, 0.012522878, 0.012522878))


@wp.func
def gloss(mirrored: float, shine: float):
    x = mirrored * mirrored
    x = x * x
    x = x * x
    x = x * x
    if shine > WET_SHINE:
        x = x * x
        x = x * x
        x = x * x
    return x


@wp.func
def wrapped(lit: float, wrap: float):
    return wp.max((lit + wrap) / (1.0 + wrap), 0.0)


@wp.func
def one_light(normal: wp.vec3, wrap: wp.vec3, light: wp.vec3, colour: wp.vec3):
    lit = wp.dot(normal, light)
    return wp.vec3(
        colour[0] * wrapped(lit, wrap[0]),
        colour[1] * wrapped(lit, wrap[1]),
        colour[2] * wrapped(lit, wrap[2]),
    )


@wp.func
def one_highlight(normal: wp.vec3, towards: wp.vec3, light: wp.vec3, colour: wp.vec3, shine: float):
    if wp.dot(normal, light) <= 0.0:
        return 0.0
    mirrored = wp.max(wp.dot(normal, wp.normalize(light + towards)), 0.0)
    return colour[0] * gloss(mirrored, shine)


@wp.func
def shade(albedo: wp.vec3, n: wp.vec3, towards: wp.vec3, openness: float, shine: float):
    facing = wp.max(wp.dot(n, towards), 0.0)
    wrap = SKIN_WRAP
    if shine < CLOTH_SHINE:
        wrap = wp.vec3(CLOTH_WRAP, CLOTH_WRAP, CLOTH_WRAP)
    lit = one_light(n, wrap, LIGHT_0, COLOUR_0)
    lit = lit + one_light(n, wrap, LIGHT_1, COLOUR_1)
    lit = lit + one_light(n, wrap, LIGHT_2, COLOUR_2)
    diffuse = (GROUND + (SKY - GROUND) * (0.5 + 0.5 * n[1])) * openness
    diffuse = diffuse + lit * (0.35 + 0.65 * openness)
    bright = one_highlight(n, towards, LIGHT_0, COLOUR_0, shine)
    bright = bright + one_highlight(n, towards, LIGHT_1, COLOUR_1, shine)
    bright = bright + one_highlight(n, towards, LIGHT_2, COLOUR_2, shine)
    bright = bright * shine * openness * HIGHLIGHT
    rest = 1.0 - facing
    rest = rest * rest
    rim = rest * rest * RIM * openness
    light = wp.cw_mul(albedo + wp.vec3(rim, rim, rim), diffuse)
    return light + wp.vec3(bright, bright, bright)


@wp.func
def display(tone: wp.array(dtype=float), light: float):
    return tone[wp.clamp(int(light * TONE_SCALE), 0, TONE_LAST)]


@wp.func
def sample_colour(
    surface: Surface,
    points: wp.array2d(dtype=wp.vec3),
    normals: wp.array2d(dtype=wp.vec3),
    view: View,
    mouth_light: wp.array(dtype=float),
    b: int,
    f: int,
    x: float,
    y: float,
):
    """Display values, 0 to 255, of face f at the sample centre (x, y)."""
    face = surface.faces[f]
    v0 = points[b, face[0]]
    v1 = points[b, face[1]]
    v2 = points[b, face[2]]
    area = edge(v2[0], v2[1], v0, v1) + 1.0e-8
    w = corner_weights(x, y, v0, v1, v2, area)
    normal = w[0] * normals[b, face[0]] + w[1] * normals[b, face[1]] + w[2] * normals[b, face[2]]
    openness = (
        w[0] * surface.openness[face[0]]
        + w[1] * surface.openness[face[1]]
        + w[2] * surface.openness[face[2]]
    )
    corner = surface.uv_faces[f]
    uv = w[0] * surface.uv[corner[0]] + w[1] * surface.uv[corner[1]] + w[2] * surface.uv[corner[2]]
    ray = wp.vec3(-(x + view.middle[0]) / view.focal[0], -(y + view.middle[1]) / view.focal[1], 1.0)
    towards = -wp.normalize(wp.transpose(view.rotation) * ray)
    albedo = sample_texture(surface.texture, uv)
    light = shade(albedo, wp.normalize(normal), towards, openness, surface.shine[f])
    light = light * (1.0 - surface.inside[f] * (1.0 - mouth_light[b]))
    return wp.vec3(
        display(surface.tone, light[0]),
        display(surface.tone, light[1]),
        display(surface.tone, light[2]),
    )


@wp.func
def depth_of(key: wp.int64):
    return wp.cast(wp.int32(key >> wp.int64(32)), float)


@wp.func
def is_uniform(
    surface: Surface, keys: wp.array3d(dtype=wp.int64), b: int, top: int, left: int, samples: int
):
    """True when all samples of a pixel lie on the same smooth surface."""
    first = keys[b, top, left]
    face = int(first & LOW_HALF)
    if surface.shine[face] >= SHARP:
        return False
    part = surface.parts[face]
    nearest = first
    farthest = first
    for i in range(samples):
        for j in range(samples):
            key = keys[b, top + i, left + j]
            other = int(key & LOW_HALF)
            if other != face:  # noqa: SIM102 -- warp evaluates both sides of an `and`
                if surface.parts[other] != part:
                    return False
            nearest = wp.min(nearest, key)
            farthest = wp.max(farthest, key)
    return depth_of(farthest) - depth_of(nearest) < UNIFORM


@wp.kernel
def light_pixels(
    surface: Surface,
    points: wp.array2d(dtype=wp.vec3),  # [B, V]
    normals: wp.array2d(dtype=wp.vec3),  # [B, V]
    view: View,
    mouth_light: wp.array(dtype=float),  # [B]
    first_column: int,
    samples: int,  # per pixel side
    keys: wp.array3d(dtype=wp.int64),  # [B, samples * H, samples * W]; cleared after reading
    frames: wp.array4d(dtype=wp.uint8),  # [B, H, W * views, 3 or 4]; the background, rendered over
):
    """Render one pixel over the background."""
    b, row, column = wp.tid()
    top = row * samples
    left = column * samples
    covered = int(0)  # noqa: RUF046, UP018 - warp: a variable, not a constant
    for i in range(samples):
        for j in range(samples):
            if keys[b, top + i, left + j] != NOTHING:
                covered += 1
    if covered == 0:
        return
    half = float(wp.min(keys.shape[1], keys.shape[2])) / 2.0
    at = first_column + column
    back = wp.vec3(
        float(frames[b, row, at, 0]), float(frames[b, row, at, 1]), float(frames[b, row, at, 2])
    )
    total = wp.vec3(0.0, 0.0, 0.0)
    count = samples * samples
    shaded = samples
    if samples > 1 and covered == count:  # noqa: SIM102 -- warp evaluates both sides of an `and`
        if is_uniform(surface, keys, b, top, left, samples):
            shaded = 1
            count = 1
    for i in range(shaded):
        for j in range(shaded):
            key = keys[b, top + i, left + j]
            if key == NOTHING:
                total = total + back
            else:
                x = centre(left + j, keys.shape[2], half)
                y = centre(top + i, keys.shape[1], half)
                f = int(key & LOW_HALF)
                colour = sample_colour(surface, points, normals, view, mouth_light, b, f, x, y)
                total = total + colour
    if frames.shape[3] == 4:  # straight alpha: mean colour of the covered samples, and their share
        count = wp.min(count, covered)
        share = float(covered) / float(samples * samples)
        frames[b, row, at, 3] = wp.uint8(int(255.0 * share + 0.5))
    for c in range(3):
        frames[b, row, at, c] = wp.uint8(int(total[c] / float(count) + 0.5))
    for i in range(samples):
        for j in range(samples):
            keys[b, top + i, left + j] = NOTHING
