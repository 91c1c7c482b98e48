"""The shading `full` in plain torch: the reference implementation of `full.kernels`.

Images are [H, W] pixels or [s H, s W] samples of one frame; N selected points, S side of the shadow
map. Names follow the kernels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from models.avatar.blendshape.full import lighting as lit
from models.avatar.blendshape.full.lighting import CLOTH, EYE, HAIR, MOUTH, SKIN
from models.avatar.blendshape.shading import sample_texture, to_display
from models.avatar.blendshape.surface import NEAR
from models.avatar.raster.plain import rasterise_plain
from models.avatar.raster.types import to_normalised

if TYPE_CHECKING:
    Vector = tuple[float, float, float]

    from models.avatar.blendshape.full.tables import MaterialTables
    from models.avatar.blendshape.surface import Surface
    from models.avatar.camera import Camera
    from models.avatar.raster.types import Raster

IN_LOCK = lit.STRANDS / lit.LOCKS  # strands


@dataclass(frozen=True)
class Shadows:
    """Means of depth and squared depth seen from the key light, [S, S, 2] each."""

    lamp: Camera
    sharp: Tensor
    wide: Tensor


@dataclass(frozen=True)
class Body:
    """A posed frame."""

    posed: Tensor  # [V, 3]
    normals: Tensor  # [V, 3]
    mouth_light: float  # brightness inside the mouth, 0 to 1
    anchor: Tensor  # [3] point towards which strands run
    shadows: Shadows


@dataclass(frozen=True)
class Pixels:
    """Buffers of a view, as `kernels.Buffers`."""

    kind: Tensor  # [H, W], -1 for the background
    face: Tensor
    depth: Tensor
    normal: Tensor  # [H, W, 3]
    soft: Tensor  # [H, W, 3]
    light: Tensor  # [H, W, 3]


def cast_shadows(tables: MaterialTables, surface: Surface, posed: Tensor) -> Shadows:
    """Shadow map of posed vertices [V, 3]."""
    lamp, side = lit.lamp_of(tables.face), lit.SHADOW_SIDE
    points = to_normalised(lamp, posed[None])
    raster = rasterise_plain(
        points, surface.faces, height=side, width=side, near=NEAR, front_only=True
    )
    depth = (raster.depth[0] - lit.NEAREST).clamp(max=lit.SHADOW_FAR)
    depth = torch.where(raster.faces[0] >= 0, depth, lit.SHADOW_EMPTY)
    moments = torch.stack([depth, depth * depth], dim=-1)
    maps = []
    for rows, columns in lit.SHADOW_REACHES:
        moments = _mean_of_rows(_mean_of_rows(moments, rows), columns)
        maps.append(moments)
    return Shadows(lamp, *maps)


def _mean_of_rows(moments: Tensor, reach: int) -> Tensor:
    """Means over 2 reach + 1 columns, transposed: [S, S, 2]."""
    side = len(moments)
    index = torch.arange(-reach, side + reach, device=moments.device).clamp(0, side - 1)
    total = pad(moments[:, index].double().cumsum(1), (0, 0, 1, 0))
    mean = (total[:, 2 * reach + 1 :] - total[:, : -2 * reach - 1]) / (2 * reach + 1)
    return mean.float().transpose(0, 1).contiguous()


def key_light(shadows: Shadows, at: Tensor) -> Tensor:
    """Share of the key light that arrives at points in the world: [N, 3] -> [N]."""
    u, v, z = shadows.lamp.project(at).unbind(-1)
    u, v, side = u - 0.5, v - 0.5, lit.SHADOW_SIDE
    inside = (u >= 0) & (v >= 0) & (u < side - 1) & (v < side - 1)
    u, v = (torch.where(inside, x, torch.zeros_like(x)) for x in (u, v))
    depth = z - lit.NEAREST - lit.SHADOW_BIAS
    wide = _sample_moments(shadows.wide, u, v)
    far = _lit_share(wide, depth)
    gap = (depth - wide[:, 0]).clamp(min=0) / (1 - far).clamp(min=0.1)
    near = _lit_share(_sample_moments(shadows.sharp, u, v), depth)
    arriving = near + (far - near) * (gap / lit.SHADOW_GAP).clamp(0, 1)
    border = torch.minimum(torch.minimum(u, v), side - 1 - torch.maximum(u, v))
    arriving = 1 + (arriving - 1) * (border / (lit.SHADOW_EDGE * side)).clamp(max=1)
    return torch.where(inside, arriving, torch.ones_like(arriving))


def _sample_moments(moments: Tensor, u: Tensor, v: Tensor) -> Tensor:
    x, y = u.long(), v.long()
    across, down = (u - x)[:, None], (v - y)[:, None]
    upper = moments[y, x] + (moments[y, x + 1] - moments[y, x]) * across
    lower = moments[y + 1, x] + (moments[y + 1, x + 1] - moments[y + 1, x]) * across
    return upper + (lower - upper) * down


def _lit_share(m: Tensor, depth: Tensor) -> Tensor:
    gap = depth - m[:, 0]
    variance = (m[:, 1] - m[:, 0] ** 2).clamp(min=lit.SHADOW_VARIANCE)
    share = (variance / (variance + gap * gap) - lit.SHADOW_BLEED) / (1 - lit.SHADOW_BLEED)
    return torch.where(gap <= 0, torch.ones_like(gap), share.clamp(min=0))


class FullView:
    """One view of a frame: its surface, light and colours."""

    def __init__(
        self,
        tables: MaterialTables,
        surface: Surface,
        body: Body,
        camera: Camera,
        raster: Raster,
        samples: int,
    ) -> None:
        self.tables, self.surface, self.body = tables, surface, body
        self.camera, self.raster, self.samples = camera, raster, samples
        self.focal = camera.intrinsics[0][0]
        self.rotation = torch.tensor(camera.rotation, device=body.posed.device)
        face = raster.faces[0].long()
        self.kind = torch.where(face >= 0, tables.kind[face.clamp(min=0)].long(), -1)
        self.pixels = self._pixels()

    def _pixels(self) -> Pixels:
        """Surface and light at the first covered sample of each pixel."""
        samples, raster = self.samples, self.raster
        height, width = self.camera.height, self.camera.width
        blocks = self.kind.view(height, samples, width, samples).transpose(1, 2)
        blocks = blocks.reshape(height, width, samples**2)
        first = (blocks >= 0).int().argmax(-1)
        row = torch.arange(height, device=first.device)[:, None] * samples + first // samples
        column = torch.arange(width, device=first.device)[None] * samples + first % samples
        kind, face = self.kind[row, column], raster.faces[0][row, column].long()
        covered = kind >= 0
        depth = raster.depth[0][row, column]
        depth = torch.where(covered, depth, torch.zeros_like(depth))
        weights = raster.weights[0][row, column][..., None]
        corner = self.surface.faces[face.clamp(min=0)].long()
        normal = normalize((self.body.normals[corner] * weights).sum(2), dim=-1)
        rays = self.rays(row, column)
        translation = torch.tensor(self.camera.translation, device=rays.device)
        there = (rays * depth[..., None] - translation) @ self.rotation
        facing = covered & (_dot(normal, lit.KEY) > -lit.CLOTH_WRAP)
        arriving = torch.zeros_like(depth)
        arriving[facing] = key_light(
            self.body.shadows, there[facing] + normal[facing] * lit.SHADOW_OFFSET
        )
        openness = (self.tables.openness[corner] * weights[..., 0]).sum(-1)
        soft = torch.stack([arriving, openness, torch.ones_like(depth)], dim=-1)
        buffers = Pixels(kind, face, depth, normal, soft, torch.zeros_like(normal))
        return self._lighted(buffers)

    def rays(self, row: Tensor, column: Tensor) -> Tensor:
        """Points at depth 1 behind samples, in the space of the camera, [..., 3]."""
        (fx, _, cx), (_, fy, cy), _ = self.camera.intrinsics
        x = ((column + 0.5) / self.samples - cx) / fx
        y = ((row + 0.5) / self.samples - cy) / fy
        return torch.stack([x, y, torch.ones_like(x)], dim=-1)

    def _occlusion(self, buffers: Pixels) -> Tensor:
        """Ambient occlusion at every second pixel, [H / 2, W / 2]; 1 is open."""
        kind, depth = buffers.kind, buffers.depth
        height, width = kind.shape
        row = torch.arange(0, height, 2, device=kind.device)[:, None].expand(-1, width // 2)
        column = torch.arange(0, width, 2, device=kind.device)[None].expand(height // 2, -1)
        (fx, _, cx), (_, fy, cy), _ = self.camera.intrinsics

        def point(v: Tensor, u: Tensor) -> Tensor:
            rays = torch.stack([(u + 0.5 - cx) / fx, (v + 0.5 - cy) / fy, torch.ones_like(u)], -1)
            return rays * depth[v, u][..., None]

        here, at = depth[::2, ::2], point(row, column)
        normal = buffers.normal[::2, ::2] @ self.rotation.T
        reach = lit.OCCLUSION_RADIUS * fx / here.clamp(min=1e-6)
        jitter = _turns(row // 2, column // 2)
        c, s = torch.cos(2 * math.pi * jitter), torch.sin(2 * math.pi * jitter)
        total = torch.zeros_like(here)
        for k in range(lit.OCCLUSION_TAPS):
            r = reach * (k + 0.4 + 0.6 * jitter) / lit.OCCLUSION_TAPS
            r = r.clamp(max=1e6)
            u = (column + (c * r + 0.5).floor().long()).clamp(0, width - 1)
            v = (row + (s * r + 0.5).floor().long()).clamp(0, height - 1)
            turned = c * lit.GOLDEN_COS - s * lit.GOLDEN_SIN
            c, s = turned, s * lit.GOLDEN_COS + c * lit.GOLDEN_SIN
            to = point(v, u) - at
            far = (to * to).sum(-1)
            left = (1 - far / lit.OCCLUSION_RADIUS**2).clamp(min=0) * (kind[v, u] >= 0)
            up = (to * normal).sum(-1) / (far + 1e-6).sqrt() - lit.OCCLUSION_BIAS
            total += up.clamp(min=0) * left
        open_ = (1 - lit.OCCLUSION_STRENGTH * total / lit.OCCLUSION_TAPS).clamp(min=0)
        return self._smoothed(torch.where(kind[::2, ::2] >= 0, open_, 1.0), kind, depth)

    def _smoothed(self, open_: Tensor, kind: Tensor, depth: Tensor) -> Tensor:
        here, covered = depth[::2, ::2], kind[::2, ::2] >= 0
        total, count = torch.zeros_like(here), torch.zeros_like(here)
        for i in range(-2, 2):
            for j in range(-2, 2):
                near, value, there = (_shifted(x, i, j) for x in (here, open_, covered))
                weight = (1 - (near - here).abs() / lit.OCCLUSION_EDGE).clamp(min=0) * there
                total, count = total + weight * value, count + weight
        return torch.where(covered, total / count.clamp(min=1e-6), 1.0)

    def _openness(self, smoothed: Tensor, buffers: Pixels) -> Tensor:
        """Occlusion at each pixel, [H, W]."""
        height, width = buffers.kind.shape
        total = torch.zeros_like(buffers.depth)
        count = torch.zeros_like(buffers.depth)
        device = total.device
        for i in range(2):
            v = ((torch.arange(height, device=device) + i) // 2).clamp(max=len(smoothed) - 1)
            for j in range(2):
                u = (torch.arange(width, device=device) + j) // 2
                u = u.clamp(max=smoothed.shape[1] - 1)
                at = (v[:, None], u[None])
                off = (buffers.depth[::2, ::2][at] - buffers.depth).abs()
                weight = (1 - off / lit.OCCLUSION_EDGE).clamp(min=1e-3)
                weight = weight * (buffers.kind[::2, ::2][at] >= 0)
                total, count = total + weight * smoothed[at], count + weight
        return torch.where(count > 0, total / count.clamp(min=1e-9), 1.0)

    def _covered_from(self, where: Tensor, step: int, count: Tensor, kind: int) -> Tensor:
        """Share of samples above or below pixels of the mask on a kind, [N]."""
        row, column = where.nonzero(as_tuple=True)
        top, left = row * self.samples, column * self.samples
        total = torch.zeros(len(row), device=where.device)
        for k in range(1, int(count.max()) + 1 if len(count) else 1):
            v = top + k * step
            valid = (v >= 0) & (v < len(self.kind)) & (k <= count)
            on = self.kind[v.clamp(0, len(self.kind) - 1), left] == kind
            total += (valid & on) * (count + 1 - k)
        return 2 * total / (count * (count + 1))

    def _lighted(self, buffers: Pixels) -> Pixels:
        """Add the diffuse light that arrives, and the tint of lids and lashes."""
        kind, n = buffers.kind, buffers.normal
        smoothed = self._occlusion(buffers)
        openness = buffers.soft[..., 1] * self._openness(smoothed, buffers)
        arriving, tint = buffers.soft[..., 0].clone(), torch.ones_like(openness)
        fine = self.focal * self.samples / buffers.depth.clamp(min=1e-6)
        mouth = kind == MOUTH
        behind = buffers.soft[mouth][:, 1]
        arriving[mouth], openness[mouth] = lit.MOUTH_KEY * behind, lit.MOUTH_OPEN * behind
        for of, step, other, reach, dark in (
            (EYE, -1, SKIN, lit.LID_REACH, lit.LID_DARK),
            (MOUTH, -1, SKIN, lit.LID_REACH, lit.LIP_DARK),
            (SKIN, 1, EYE, lit.LASH_REACH, lit.LASH_DARK),
        ):
            on = kind == of
            count = (reach * fine[on] + 0.5).long().clamp(min=2)
            tint[on] = 1 - dark * self._covered_from(on, step, count, other)
        wrap = torch.where(kind == CLOTH, lit.CLOTH_WRAP, 0.0)
        wrap = torch.where(mouth, lit.MOUTH_WRAP, wrap)
        key = arriving * ((_dot(n, lit.KEY) + wrap) / (1 + wrap)).clamp(min=0)
        fill = ((_dot(n, lit.FILL) + lit.FILL_WRAP) / (1 + lit.FILL_WRAP)).clamp(min=0)
        back = _dot(n, lit.BACK).clamp(min=0)
        sky, ground = _colour(lit.SKY, n), _colour(lit.GROUND, n)
        around = _colour(lit.FILL_COLOUR, n) * fill[..., None] + ground
        around = around + (sky - ground) * (0.5 + 0.5 * n[..., 1:2])
        open_ = openness[..., None] / (1 - _colour(lit.BOUNCE, n) * (1 - openness[..., None]))
        light = _colour(lit.KEY_COLOUR, n) * key[..., None] + around * open_
        light = light + _colour(lit.BACK_COLOUR, n) * (back * openness)[..., None]
        soft = torch.stack([arriving, openness, tint], dim=-1)
        light = self._scattered(light, buffers)
        return Pixels(kind, buffers.face, buffers.depth, n, soft, light)

    def _scattered(self, light: Tensor, buffers: Pixels) -> Tensor:
        distance = math.dist(self.camera.position, self.tables.face)
        step = lit.scatter_step(self.camera, distance)
        weights = lit.scatter_weights(self.camera, distance).to(light.device)
        skin = buffers.kind == SKIN
        for down, right in ((0, step), (step, 0)):
            total = light * weights[0]
            for k in range(1, lit.SCATTER_TAPS + 1):
                for side in (k, -k):
                    near, depth, there = (
                        _shifted(x, side * down, side * right) for x in (light, buffers.depth, skin)
                    )
                    off = (depth - buffers.depth).abs()
                    share = (1 - off / lit.SCATTER_EDGE).clamp(min=0) * there
                    total = total + (light + (near - light) * share[..., None]) * weights[k]
            light = torch.where(skin[..., None], total, light)
        return light

    def colours(self, where: Tensor, back: Tensor, *, opaque: bool) -> Tensor:
        """Display values of the samples of the mask [s H, s W]: back [N, 3] -> [N, 3].

        opaque: mix the rim of the hair with the background.
        """
        row, column = where.nonzero(as_tuple=True)
        pixels = self._pixel_of(row, column)
        soft, light = self.pixels.soft[pixels], self.pixels.light[pixels]
        samples = _Samples(self, row, column)
        result = torch.zeros_like(light)
        for kind, shade in (
            (SKIN, samples.skin),
            (CLOTH, samples.cloth),
            (HAIR, samples.hair),
            (EYE, samples.eye),
            (MOUTH, samples.mouth),
        ):
            on = samples.kind == kind
            if bool(on.any()):
                result[on] = shade(on, soft[on], light[on])
        colour = _display(result)
        if opaque:
            share = self._hair_cover(row // self.samples, column // self.samples, samples)
            colour = back + (colour - back) * share[:, None]
        return colour

    def _pixel_of(self, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """Pixel whose light a sample takes: its own, or the neighbour most like it."""
        height, width = self.pixels.kind.shape
        face, depth = (x[0][row, column] for x in (self.raster.faces, self.raster.depth))
        kind = self.kind[row, column]
        v, u = row // self.samples, column // self.samples
        best = torch.full_like(depth, 1e9)
        chosen_v, chosen_u = v.clone(), u.clone()
        for i, j in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)):
            vk, uk = (v + i).clamp(0, height - 1), (u + j).clamp(0, width - 1)
            off = (self.pixels.depth[vk, uk] - depth).abs()
            off = off + lit.SAME_DEPTH * (self.pixels.kind[vk, uk] != kind)
            better = (off < best) & (self.pixels.kind[vk, uk] >= 0)
            best = torch.where(better, off, best)
            chosen_v, chosen_u = (
                torch.where(better, new, old) for new, old in ((vk, chosen_v), (uk, chosen_u))
            )
        own = face.long() == self.pixels.face[v, u]
        return torch.where(own, v, chosen_v), torch.where(own, u, chosen_u)

    def _hair_cover(self, v: Tensor, u: Tensor, samples: _Samples) -> Tensor:
        height, width = self.pixels.kind.shape
        outline = torch.zeros(len(v), dtype=torch.bool, device=v.device)
        for i in (-2, 0, 2):
            for j in (-2, 0, 2):
                at = ((v + i).clamp(0, height - 1), (u + j).clamp(0, width - 1))
                outline |= self.pixels.kind[at] < 0
        facing = samples.facing
        soft = outline & (samples.kind == HAIR) & (facing < lit.HAIR_RIM)
        locks = _interpolated(samples.strands[: lit.LOCKS], samples.around / IN_LOCK)
        share = _smooth(facing + lit.HAIR_FRAY * locks, -0.1, lit.HAIR_RIM)
        return torch.where(soft, share, torch.ones_like(share))


class _Samples:
    """Geometry and albedo of samples, and the shading of each kind of surface."""

    def __init__(self, view: FullView, row: Tensor, column: Tensor) -> None:
        surface, body = view.surface, view.body
        self.view, self.kind = view, view.kind[row, column]
        self.face = view.raster.faces[0][row, column].long()
        self.depth = view.raster.depth[0][row, column]
        self.weights = view.raster.weights[0][row, column]
        weights = self.weights[..., None]
        corner = surface.faces[self.face].long()
        self.normal = normalize((body.normals[corner] * weights).sum(1), dim=-1)
        self.corners = body.posed[corner]  # [N, 3, 3]
        self.at = (self.corners * weights).sum(1)
        self.strands = lit.strand_table().to(self.depth.device)
        self.around = (view.tables.across[self.face] * self.weights).sum(1)  # of hair
        self.root = (view.tables.root[corner] * self.weights).sum(1)
        self.uv = (surface.uv[surface.uv_faces[self.face].long()] * weights).sum(1)
        self.towards = -normalize(view.rays(row, column) @ view.rotation, dim=-1)
        self.facing = (self.normal * self.towards).sum(-1).clamp(min=0)
        self.albedo = sample_texture(surface.textures[surface.level(view.camera)], self.uv)

    def _gloss(
        self, on: Tensor, soft: Tensor, rough: float, fine: float, share: Tensor | float
    ) -> Tensor:
        normal, towards, total = self.normal[on], self.towards[on], torch.zeros_like(soft)
        for light, colour, arrives in (
            (lit.KEY, lit.KEY_COLOUR, 0),
            (lit.FILL, lit.FILL_COLOUR, 1),
            (lit.BACK, lit.BACK_COLOUR, 1),
        ):
            cosine = _dot(normal, light).clamp(min=0)
            half = normalize(_colour(light, normal) + towards, dim=-1)
            nh = (normal * half).sum(-1).clamp(min=0)
            lh = _dot(half, light).clamp(min=0.1)
            lobes = (1 - share) * _lobe(nh, lh, rough) + share * _lobe(nh, lh, fine)
            total = total + _colour(colour, soft) * (cosine * lobes * soft[:, arrives])[:, None]
        return total

    def skin(self, on: Tensor, soft: Tensor, light: Tensor) -> Tensor:
        albedo, facing = self.albedo[on], self.facing[on]
        grazing = (1 - facing) ** 2
        fresnel = (0.35 - lit.SKIN_REFLECTANCE) * grazing * grazing * (1 - facing)
        lips = _smooth(albedo[:, 0] - 2.2 * albedo[:, 1], 0.02, 0.16)
        share = lit.SKIN_SMOOTH_SHARE + lit.LIP_GLOSS * lips
        pore = self._pores(on)[:, None]
        albedo = albedo * (1 + lit.PORE_SHADE * pore)
        shine = self._gloss(on, soft, lit.SKIN_ROUGH, lit.SKIN_SMOOTH, share)
        shine = shine * (1 + lit.PORE_GLOSS * pore * (1 - lips)[:, None])
        result = albedo * light * soft[:, 2:]
        result = result + shine * ((lit.SKIN_REFLECTANCE + fresnel) * soft[:, 1])[:, None]
        return result + albedo * light * (lit.SKIN_SHEEN * grazing)[:, None]

    def _pores(self, on: Tensor) -> Tensor:
        """Fine noise of skin, [N]."""
        u, v = self.uv[on].unbind(-1)
        a, b, c, d = lit.PORES
        noise = _interpolated(self.strands, u * a + v * b) * _interpolated(
            self.strands, u * c + v * d
        )
        pixel = self.depth[on] / self.view.focal
        return noise * (1 - _smooth(pixel / lit.PORE_WIDTH, 0.8, 3.0))

    def cloth(self, on: Tensor, soft: Tensor, light: Tensor) -> Tensor:
        albedo, facing, normal = self.albedo[on], self.facing[on], self.normal[on]
        bent, shade = self._knit(on)
        change = []
        for towards, wrap in ((lit.KEY, lit.CLOTH_WRAP), (lit.FILL, lit.FILL_WRAP)):
            was, now = (
                ((_dot(n, towards) + wrap) / (1 + wrap)).clamp(min=0) for n in (normal, bent)
            )
            change.append(now - was)
        light = light + _colour(lit.KEY_COLOUR, light) * (change[0] * soft[:, 0])[:, None]
        light = light + _colour(lit.FILL_COLOUR, light) * (change[1] * soft[:, 1])[:, None]
        grey = albedo.mean(1, keepdim=True)
        albedo = albedo + (grey - albedo) * lit.CLOTH_GREY
        fuzz = (albedo + 0.04) * light * (lit.CLOTH_SHEEN * (1 - facing) ** 2 * soft[:, 1])[:, None]
        return albedo * light * shade[:, None] + fuzz

    def _knit(self, on: Tensor) -> tuple[Tensor, Tensor]:
        """Normals over the wales of the knit [N, 3], and the shade of its grooves [N]."""
        tables, normal, weights = self.view.tables, self.normal[on], self.weights[on]
        q, s = tables.across[self.face[on]], tables.along[self.face[on]]
        a, b, c = self.corners[on].unbind(1)
        across = torch.linalg.cross(b - a, c - a)
        size = (across * across).sum(-1, keepdim=True).clamp(min=1e-12)
        d1, d2 = (q[:, 1] - q[:, 0])[:, None], (q[:, 2] - q[:, 0])[:, None]
        one, two = torch.linalg.cross(c - a, across), torch.linalg.cross(across, b - a)
        slope = (one * d1 + two * d2) / size
        pixel, facing = self.depth[on] / self.view.focal, self.facing[on]
        length = slope.norm(dim=1, keepdim=True)
        away = self.towards[on] - normal * facing[:, None]
        off = (slope * away).sum(1) / away.norm(dim=1).clamp(min=1e-6)
        rate = length[:, 0] ** 2 + off**2 * ((facing + 0.05) ** -2 - 1)
        seen = 1 - _smooth(pixel * rate.clamp(min=1).sqrt() / lit.KNIT_PERIOD, 0.20, 0.45)
        rows = 1 - _smooth(pixel / (lit.KNIT_ROW * (facing + 0.05)), 0.20, 0.45)
        phase = 2 * math.pi * (weights * q).sum(1) / lit.KNIT_PERIOD
        up = (weights * s).sum(1)
        stitch = rows * torch.sin(2 * math.pi * up / lit.KNIT_ROW + 1.5 * torch.cos(phase))
        wave = torch.sin(phase) * (0.8 + 0.2 * stitch)
        tilt = slope * (lit.KNIT_SLOPE * seen * wave)[:, None] / length.clamp(min=1e-12)
        groove = (0.5 - 0.5 * torch.cos(phase)) * (0.75 + 0.25 * stitch)
        shade = lit.KNIT_MEAN + (groove - lit.KNIT_MEAN) * seen
        return normalize(normal + tilt, dim=-1), 1 - lit.KNIT_SHADE * shade

    def hair(self, on: Tensor, soft: Tensor, light: Tensor) -> Tensor:
        albedo, normal, towards = self.albedo[on], self.normal[on], self.towards[on]
        lightness = self._strands(on)
        way = self.view.body.anchor - self.at[on]
        flat = way - normal * (way * normal).sum(-1, keepdim=True)
        tangent = normalize(flat + _colour((1e-6, 0.0, 0.0), flat), dim=-1)
        covers = _smooth(self.root[on] + 0.6 * lightness, 0.0, 0.6)[:, None]
        level, mean = albedo.mean(1, keepdim=True), 0.5 * self.view.tables.hair_mean
        dark = self.view.tables.hair_mean / lit.HAIR_MEAN
        shade = (1 + lit.HAIR_RELIEF * lightness)[:, None]
        colour = _colour(lit.HAIR_TINT, albedo) * mean + albedo * (mean / (mean + 0.5 * level))
        colour = colour * (lit.HAIR_ALBEDO * shade)
        shift = lit.HAIR_SHIFT * lightness[:, None]
        first = normalize(tangent + normal * (shift - 0.12), dim=-1)
        second = normalize(tangent + normal * (shift + 0.18), dim=-1)
        key = soft[:, 0] * _smooth(_dot(normal, lit.KEY), -0.15, 0.5)
        back = soft[:, 1] * _smooth(_dot(normal, lit.BACK), -0.1, 0.6)
        a = _strand(first, towards, lit.KEY) ** 256 * key
        b = _strand(second, towards, lit.KEY) ** 16 * key
        c = _strand(first, towards, lit.BACK) ** 16 * back
        lamp = _colour(lit.KEY_COLOUR, light)
        bright = lamp * (a * lit.HAIR_WHITE)[:, None]
        bright = bright + _colour(lit.BACK_COLOUR, light) * (c * lit.HAIR_BACK)[:, None]
        bright = bright + lamp * _colour(lit.HAIR_TINT, light) * (b * lit.HAIR_COLOURED)[:, None]
        root = _colour(lit.HAIR_ROOT, light) * dark
        bright = bright * shade * min(dark, 1.0)
        return (root + (colour - root) * covers) * light + bright * covers

    def _strands(self, on: Tensor) -> Tensor:
        """Lightness of the hair by strand, [N]."""
        x = self.around[on] + lit.STRAND_WAVE * torch.sin(self.uv[on][:, 0] * 90)
        pixel = self.depth[on] / self.view.focal
        seen = 1 - _smooth(pixel / lit.STRAND_WIDTH, 0.6, 1.6)
        locks = _interpolated(self.strands[: lit.LOCKS], x / IN_LOCK)
        return 0.5 * locks + 0.5 * seen * _interpolated(self.strands, x)

    def eye(self, on: Tensor, soft: Tensor, light: Tensor) -> Tensor:
        normal, towards, tint = self.normal[on], self.towards[on], soft[:, 2:]
        half = normalize(_colour(lit.EYE_LIGHT, normal) + towards, dim=-1)
        caught = _smooth((normal * half).sum(-1), lit.CATCH_OUTER, lit.CATCH_INNER)
        result = self.albedo[on] * light * lit.EYE_ALBEDO * tint
        wet = self._gloss(on, soft, lit.WET_ROUGH, lit.WET_ROUGH, 0.0)
        return result + (wet * lit.WET_REFLECTANCE + (caught * lit.CATCH_LIGHT)[:, None]) * tint

    def mouth(self, on: Tensor, soft: Tensor, light: Tensor) -> Tensor:
        wet = self._gloss(on, soft, lit.WET_ROUGH, lit.WET_ROUGH, 0.0) * lit.TEETH_REFLECTANCE
        albedo = self.albedo[on] + _colour(lit.MOUTH_FLOOR, light)
        result = (albedo * light + wet * soft[:, 1:2]) * soft[:, 2:]
        return result * (1 - lit.MOUTH_DIM * (1 - self.view.body.mouth_light))


def _display(light: Tensor) -> Tensor:
    return to_display(light, lit.film_curve())


def _shifted(image: Tensor, down: int, right: int) -> Tensor:
    """Image [H, W, ...] whose pixel (i, j) is (i + down, j + right); 0 or False outside."""
    height, width = image.shape[:2]
    result = torch.zeros_like(image)
    rows = slice(max(-down, 0), min(height - down, height))
    columns = slice(max(-right, 0), min(width - right, width))
    if rows.start < rows.stop and columns.start < columns.stop:
        result[rows, columns] = image[
            rows.start + down : rows.stop + down, columns.start + right : columns.stop + right
        ]
    return result


def _turns(row: Tensor, column: Tensor) -> Tensor:
    x, y = column & 3, row & 3
    z = x ^ y
    return (((z & 1) << 3) | ((y & 1) << 2) | (z & 2) | ((y & 2) >> 1)) / 16


def _interpolated(table: Tensor, x: Tensor) -> Tensor:
    low = x.floor()
    i = low.long()
    a, b = table[i % len(table)], table[(i + 1) % len(table)]
    return a + (b - a) * (x - low)


def _lobe(nh: Tensor, lh: Tensor, alpha: float) -> Tensor:
    d = nh * nh * (alpha * alpha - 1) + 1
    return alpha * alpha / (4 * d * d * lh * lh * (math.sqrt(alpha) + 0.5))


def _strand(tangent: Tensor, towards: Tensor, light: Vector) -> Tensor:
    half = normalize(_colour(light, towards) + towards, dim=-1)
    along = (tangent * half).sum(-1)
    return (1 - along * along).clamp(min=0).sqrt()


def _smooth(x: Tensor, low: float, high: float) -> Tensor:
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _dot(vectors: Tensor, direction: Vector) -> Tensor:
    return vectors @ _colour(direction, vectors)


def _colour(values: Vector, like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)
