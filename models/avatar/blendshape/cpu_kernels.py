"""Warp kernel of the blendshape avatar for CPUs: light of samples in lanes of a vector.

The results are those of `kernels.light_pixels`, bit by bit. It is C++, because the loops of warp's
Python dialect are not vectorised. Letters: B frames, V vertices, F faces, H and W pixels.
"""

# mypy: ignore-errors
# Warp compiles the kernels and checks their types itself; its Python dialect does not pass mypy.

import warp as wp

from models.avatar.blendshape import shading
from models.avatar.blendshape.kernels import NOTHING, TONE_LAST, TONE_SCALE, Surface, View
from models.avatar.blendshape.surface import SHARP_SHINE, UNIFORM_DEPTH
from models.avatar.raster.cpu_kernels import LANES, VECTORS
from models.avatar.raster.types import EPSILON

LISTED = 256  # samples that are shaded at a time, with those of their last pixel


def _vector(values: tuple[float, ...]) -> str:
    return "{" + ", ".join(f"{value!r}f" for value in values) + "}"


CONSTANTS = f"""
const float lights[3][3] = {{{", ".join(map(_vector, shading.LIGHTS))}}};
const float colours[3][3] = {{{", ".join(map(_vector, shading.LIGHT_COLOURS))}}};
const float sky[3] = {_vector(shading.SKY)}, ground[3] = {_vector(shading.GROUND)};
const float skin_wrap[3] = {_vector(shading.SKIN_WRAP)};
"""

# Display values 0 to 255 of samples: those of faces `face` at the centres (`across`, `down`).
SHADE = f"""
auto pick = [](const float* values, whole at) {{
    lanes found;
    for (int lane = 0; lane < {LANES}; ++lane)
        found[lane] = values[at[lane]];
    return found;
}};
auto pick_whole = [](const int* values, whole at) {{
    whole found;
    for (int lane = 0; lane < {LANES}; ++lane)
        found[lane] = values[at[lane]];
    return found;
}};
auto least = [](lanes a, lanes b) {{ return b < a ? b : a; }};
auto most = [](lanes a, lanes b) {{ return a < b ? b : a; }};
auto centre = [half](whole index, float size) {{
    return -((__builtin_convertvector(index, lanes) + 0.5f) - size / 2.0f) / half;
}};
auto shade_lanes = [&](whole face, whole sample_column, whole sample_row, float* display) {{
    const lanes x = centre(sample_column, keys.shape[2]), y = centre(sample_row, keys.shape[1]);
    const float* mesh = (const float*)(points.data + (long long)(b) * points.shape[1]);
    const float* bent = (const float*)(normals.data + (long long)(b) * normals.shape[1]);
    whole corner[3];
    lanes px[3], py[3], pz[3], t[3], w[3];
    for (int k = 0; k < 3; ++k) {{
        corner[k] = pick_whole((const int*)surface.faces.data + k, face * 3);
        px[k] = pick(mesh, corner[k] * 3);
        py[k] = pick(mesh + 1, corner[k] * 3);
        pz[k] = pick(mesh + 2, corner[k] * 3);
    }}
    const lanes area = ((px[2] - px[0]) * (py[1] - py[0]) - (py[2] - py[0]) * (px[1] - px[0]))
        + {EPSILON}f;
    for (int k = 0; k < 3; ++k) {{
        const int i = (k + 1) % 3, j = (k + 2) % 3;
        const lanes edge = (x - px[i]) * (py[j] - py[i]) - (y - py[i]) * (px[j] - px[i]);
        t[k] = edge / area * pz[k == 0 ? 1 : 0] * pz[k == 2 ? 1 : 2];
    }}
    const lanes sum = t[0] + t[1] + t[2];
    const lanes all = most(sum, {EPSILON}f);
    for (int k = 0; k < 3; ++k)
        w[k] = t[k] / all;
    auto mix = [&](const float* values, const whole* at, int stride) {{
        return w[0] * pick(values, at[0] * stride) + w[1] * pick(values, at[1] * stride)
            + w[2] * pick(values, at[2] * stride);
    }};
    auto normalise = [](lanes* v) {{
        const lanes length = __builtin_elementwise_sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
        for (int c = 0; c < 3; ++c)
            v[c] = length > 0.0f ? v[c] / length : 0.0f;
    }};
    auto dot = [](const lanes* a, const auto& b) {{
        return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    }};

    lanes n[3], towards[3];
    for (int c = 0; c < 3; ++c)
        n[c] = mix(bent + c, corner, 3);
    normalise(n);
    const lanes open = mix(surface.openness.data, corner, 1);
    for (int k = 0; k < 3; ++k)
        corner[k] = pick_whole((const int*)surface.uv_faces.data + k, face * 3);
    const lanes u = mix((const float*)surface.uv.data, corner, 2);
    const lanes v = mix((const float*)surface.uv.data + 1, corner, 2);
    const lanes ray_x = -(x + view.middle[0]) / view.focal[0];
    const lanes ray_y = -(y + view.middle[1]) / view.focal[1];
    for (int c = 0; c < 3; ++c)
        towards[c] = view.rotation.data[0][c] * ray_x + view.rotation.data[1][c] * ray_y
            + view.rotation.data[2][c];
    normalise(towards);
    for (int c = 0; c < 3; ++c)
        towards[c] = -towards[c];

    // Bilinear texture. Two reads of four bytes have both texels of a row and no byte behind them.
    const int side_x = surface.texture.shape[1], side_y = surface.texture.shape[0];
    const lanes at_x = least(most(0.0f, u * (float)side_x - 0.5f), side_x - 1.001f);
    const lanes at_y = least(most(0.0f, v * (float)side_y - 0.5f), side_y - 1.001f);
    const whole left = __builtin_convertvector(at_x, whole);
    const whole top = __builtin_convertvector(at_y, whole);
    const lanes share_x = at_x - __builtin_convertvector(left, lanes);
    const lanes share_y = at_y - __builtin_convertvector(top, lanes);
    const unsigned char* texels = (const unsigned char*)surface.texture.data;
    auto read = [&](whole at) {{
        whole found;
        for (int lane = 0; lane < {LANES}; ++lane) {{
            int four;
            __builtin_memcpy(&four, texels + at[lane], 4);
            found[lane] = four;
        }}
        return found;
    }};
    auto byte = [](whole four, int place) {{
        return __builtin_convertvector((four >> (8 * place)) & 255, lanes);
    }};
    lanes row_colour[2][3];
    for (int r = 0; r < 2; ++r) {{
        const whole at = ((top + r) * side_x + left) * 3;
        const whole first = read(at), second = read(at + 2);
        for (int c = 0; c < 3; ++c) {{
            const lanes near = byte(first, c);
            row_colour[r][c] = near + (byte(second, c + 1) - near) * share_x;
        }}
    }}
    lanes albedo[3];
    for (int c = 0; c < 3; ++c) {{
        const lanes upper = row_colour[0][c], lower = row_colour[1][c];
        const lanes s = (upper + (lower - upper) * share_y) / 255.0f;
        albedo[c] = s * (s * (s * 0.305306011f + 0.682171111f) + 0.012522878f);
    }}

    const lanes shine = pick(surface.shine.data, face);
    const lanes facing = most(dot(n, towards), 0.0f);
    lanes lit[3] = {{0.0f, 0.0f, 0.0f}}, bright = 0.0f;
    for (int l = 0; l < 3; ++l) {{
        const lanes level = dot(n, lights[l]);
        for (int c = 0; c < 3; ++c) {{
            const lanes wrap = shine < {shading.CLOTH_SHINE!r}f ? (lanes){shading.CLOTH_WRAP!r}f
                                                          : (lanes)skin_wrap[c];
            const lanes soft = colours[l][c] * most((level + wrap) / (1.0f + wrap), 0.0f);
            lit[c] = l == 0 ? soft : lit[c] + soft;
        }}
        lanes middle[3];
        for (int c = 0; c < 3; ++c)
            middle[c] = lights[l][c] + towards[c];
        normalise(middle);
        lanes gloss = most(dot(n, middle), 0.0f);
        gloss = gloss * gloss;
        gloss = gloss * gloss;
        gloss = gloss * gloss;
        gloss = gloss * gloss;
        lanes wet = gloss * gloss;
        wet = wet * wet;
        wet = wet * wet;
        gloss = colours[l][0] * (shine > {shading.WET_SHINE!r}f ? wet : gloss);
        gloss = level <= 0.0f ? 0.0f : gloss;
        bright = l == 0 ? gloss : bright + gloss;
    }}
    bright = bright * shine * open * {shading.HIGHLIGHT!r}f;
    lanes rest = 1.0f - facing;
    rest = rest * rest;
    const lanes rim = rest * rest * {shading.RIM!r}f * open;
    const lanes dark = 1.0f - pick(surface.inside.data, face) * (1.0f - mouth_light.data[b]);
    for (int c = 0; c < 3; ++c) {{
        lanes diffuse = (ground[c] + (sky[c] - ground[c]) * (0.5f + 0.5f * n[1])) * open;
        diffuse = diffuse + lit[c] * (0.35f + 0.65f * open);
        const lanes light = ((albedo[c] + rim) * diffuse + bright) * dark;
        const lanes step = least(most(0.0f, light * {TONE_SCALE!r}f), {TONE_LAST}.0f);
        const lanes shown = pick(surface.tone.data, __builtin_convertvector(step, whole));
        __builtin_memcpy(display + c * {LISTED}, &shown, sizeof(lanes));
    }}
}};
"""

LIGHT_ROW = f"""{VECTORS}{CONSTANTS}
const int width = keys.shape[2] / samples, count = samples * samples;
const int channels = frames.shape[3];
const float half = wp::min(keys.shape[1], keys.shape[2]) / 2.0f;
{SHADE}
long long* first_key = (long long*)keys.data
    + ((long long)(b) * keys.shape[1] + (long long)row * samples) * keys.shape[2];
unsigned char* pixels = frames.data
    + (((long long)(b) * frames.shape[1] + row) * frames.shape[2] + first_column) * channels;
const long long nothing = {NOTHING};

// Samples to shade, those of a pixel one after another; face -1: the background.
int face[{LISTED}], sample_column[{LISTED}], sample_row[{LISTED}];
int pixel[{LISTED}], shaded[{LISTED}], covered[{LISTED}];
float display[3 * {LISTED}];
int listed = 0, waiting = 0;
auto flush = [&]() {{
    for (int i = 0; i < listed; i += {LANES}) {{
        whole f, column, line;
        for (int lane = 0; lane < {LANES}; ++lane) {{
            const int at = wp::min(i + lane, listed - 1);
            f[lane] = wp::max(face[at], 0);
            column[lane] = sample_column[at];
            line[lane] = sample_row[at];
        }}
        shade_lanes(f, column, line, display + i);
    }}
    int next = 0;
    for (int i = 0; i < waiting; ++i) {{
        unsigned char* target = pixels + (long long)pixel[i] * channels;
        float total[3] = {{0.0f, 0.0f, 0.0f}};
        for (int s = 0; s < shaded[i]; ++s, ++next)
            for (int c = 0; c < 3; ++c)
                total[c] += face[next] < 0 ? target[c] : display[c * {LISTED} + next];
        int among = shaded[i];
        if (channels == 4) {{  // straight alpha: mean colour and share of the covered samples
            among = wp::min(among, covered[i]);
            const float share = (float)covered[i] / (float)count;
            target[3] = (unsigned char)(int)(255.0f * share + 0.5f);
        }}
        for (int c = 0; c < 3; ++c)
            target[c] = (unsigned char)(int)(total[c] / (float)among + 0.5f);
    }}
    listed = waiting = 0;
}};
for (int column = 0; column < width; ++column) {{
    long long* corner = first_key + (long long)column * samples;
    int present = 0;
    for (int i = 0; i < samples; ++i)
        for (int j = 0; j < samples; ++j)
            present += corner[(long long)i * keys.shape[2] + j] != nothing;
    if (present == 0)
        continue;
    bool uniform = false;  // all samples lie on the same smooth surface
    if (samples > 1 && present == count) {{
        const int f = (int)corner[0];
        const int part = surface.parts.data[f];
        uniform = surface.shine.data[f] < {SHARP_SHINE!r}f;
        long long nearest = corner[0], farthest = corner[0];
        for (int i = 0; uniform && i < samples; ++i)
            for (int j = 0; j < samples; ++j) {{
                const long long key = corner[(long long)i * keys.shape[2] + j];
                const int other = (int)key;
                uniform = uniform && (other == f || surface.parts.data[other] == part);
                nearest = wp::min(nearest, key);
                farthest = wp::max(farthest, key);
            }}
        const float depth = __builtin_bit_cast(float, (int)(farthest >> 32))
            - __builtin_bit_cast(float, (int)(nearest >> 32));
        uniform = uniform && depth < {UNIFORM_DEPTH!r}f;
    }}
    const int side = uniform ? 1 : samples;
    if (listed + side * side > {LISTED})
        flush();
    for (int i = 0; i < side; ++i)
        for (int j = 0; j < side; ++j, ++listed) {{
            const long long key = corner[(long long)i * keys.shape[2] + j];
            face[listed] = key == nothing ? -1 : (int)key;
            sample_column[listed] = column * samples + j;
            sample_row[listed] = row * samples + i;
        }}
    pixel[waiting] = column;
    shaded[waiting] = side * side;
    covered[waiting++] = present;
    for (int i = 0; i < samples; ++i)
        for (int j = 0; j < samples; ++j)
            corner[(long long)i * keys.shape[2] + j] = nothing;
}}
flush();
"""


@wp.func_native(LIGHT_ROW)
def light_row(
    surface: Surface,
    points: wp.array2d(dtype=wp.vec3),
    normals: wp.array2d(dtype=wp.vec3),
    view: View,
    mouth_light: wp.array(dtype=float),
    first_column: int,
    samples: int,
    keys: wp.array3d(dtype=wp.int64),
    frames: wp.array4d(dtype=wp.uint8),
    b: int,
    row: int,
): ...


@wp.kernel
def light_rows(
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
    """Render a row over the background."""
    b, row = wp.tid()
    light_row(
        surface,
        points,
        normals,
        view,
        mouth_light,
        first_column,
        samples,
        keys,
        frames,
        b,
        row,
    )
