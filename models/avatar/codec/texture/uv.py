"""Conversion between vertices and UV maps, in both directions.

Source: spec/renderer.md section 4. `uv` has v downwards; the centre of the texel in row i and
column j is at ((j + .5) / S, (i + .5) / S).
Letters: B frames, C channels, V vertices, F faces, M texture coordinates, S side of the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.avatar.raster.rasterise import rasterise

if TYPE_CHECKING:
    from collections.abc import Sequence

REACH = 100  # texels; texels further from a chart stay empty
SMALLEST = 1e-6  # lower limit for twice the area of a face on the map


@dataclass(frozen=True)
class UvMap:
    """The three vertices around each texel and their barycentric weights."""

    size: int
    corners: Tensor  # [3, S * S] vertices
    shares: Tensor  # [3, S * S] weights, 0 for texels without a face

    def spread(self, values: Tensor) -> Tensor:
        """Interpolate vertex values [B, V, C] to a map [B, C, S, S], 0 at texels without a face."""
        rows = values.transpose(1, 2).contiguous()  # [B, C, V]
        result = rows.index_select(2, self.corners[0]).mul_(self.shares[0])
        for corner, share in zip(self.corners[1:], self.shares[1:], strict=True):
            result.addcmul_(rows.index_select(2, corner), share)
        return result.view(*result.shape[:2], self.size, self.size)


def uv_map(corners: Tensor, weights: Tensor) -> UvMap:
    """Build a UV map from images of vertices (-1 for none) and weights, [S, S, 3] each."""
    valid = (corners >= 0).all(-1, keepdim=True)
    shares = weights.float() * valid
    numbers = corners.clamp(min=0).int()
    return UvMap(len(corners), *(x.flatten(0, 1).T.contiguous() for x in (numbers, shares)))


@dataclass(frozen=True)
class VertexReader:
    """Sampler of a map at the vertices: the mean over up to four texture coordinates per vertex.

    A vertex with two coordinates lists the first one three times, as in the released tables.
    """

    texels: Tensor  # [M, 4] indices of the texels around each coordinate
    shares: Tensor  # [M, 4] bilinear weights, 0 for texels outside the map
    coordinates: Tensor  # [V, 4]
    neighbours: Tensor  # [9, M * 4] 3x3 neighbourhood of each texel, row by row
    inside: Tensor  # [9, M * 4] 1 for neighbours on the map, otherwise 0

    def read(self, x: Tensor) -> Tensor:
        """Sample a map: [B, C, S, S] -> [B, V, C]."""
        return self._mean(_rows(x).index_select(1, self.texels.flatten()))

    def read_convolved(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """`read` after a 3x3 convolution, which is computed only at the texels that are read.

        x [B, I or more, S, S], weight [C, I, 3, 3], bias [C, S, S] -> [B, V, C]
        """
        rows, inputs = _rows(x), weight.shape[1]
        result = _rows(bias[None]).index_select(1, self.texels.flatten())  # [1, M * 4, C]
        for tap, (texels, on_map) in enumerate(zip(self.neighbours, self.inside, strict=True)):
            kernel = weight[:, :, tap // 3, tap % 3]  # [C, I]
            values = rows.index_select(1, texels)[..., :inputs]
            result = result + (values * on_map[:, None]) @ kernel.T
        return self._mean(result)

    def _mean(self, texels: Tensor) -> Tensor:
        """Bilinear interpolation and mean per vertex: [B, M * 4, C] -> [B, V, C]."""
        around = texels.view(len(texels), *self.texels.shape, -1)  # [B, M, 4, C]
        at = (around * self.shares[..., None]).sum(2)  # [B, M, C]
        return at[:, self.coordinates].mean(2)


def _rows(x: Tensor) -> Tensor:
    """Flatten [B, C, S, S] to rows [B, S * S, C]; a view if the layout is channels-last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def vertex_reader(uv: Tensor, coordinates: Tensor, size: int) -> VertexReader:
    """Build a reader for maps of a size: uv [M, 2], coordinates of each vertex [V, 4].

    Unlike in `UvMap`, the centres of the first and the last texel are the ends of the map; values
    outside are 0.
    """
    at = (uv.float() * 2 - 1 + 1) / 2 * (size - 1)  # [M, 2] column, row
    low = at.floor()
    part = at - low
    steps = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=uv.device)
    texel = low[:, None].long() + steps  # [M, 4, 2]
    share = torch.where(steps.bool(), part[:, None], 1 - part[:, None]).prod(-1)  # [M, 4]
    on_map = ((texel >= 0) & (texel < size)).all(-1)
    texel = texel.clamp(0, size - 1)
    column, row = texel.flatten(0, 1).T
    window = [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    neighbours = torch.stack([torch.stack(both) for both in window])  # [9, 2, M * 4]
    inside = ((neighbours >= 0) & (neighbours < size)).all(1)
    neighbours = neighbours.clamp(0, size - 1)
    return VertexReader(
        texel[..., 1] * size + texel[..., 0],
        share * on_map,
        coordinates.long(),
        neighbours[:, 0] * size + neighbours[:, 1],
        inside.to(share.dtype),
    )


@dataclass(frozen=True)
class Charts:
    """Layout of the faces on the map."""

    nearest: Tensor  # [S, S] nearest texel inside a face (itself when inside), -1 for none
    faces: Tensor  # [S, S] face of each texel, -1 for none
    corners: Tensor  # [S, S, 3] vertices of that face
    weights: Tensor  # [S, S, 3]


def lay_out(faces: Tensor, uv: Tensor, uv_faces: Tensor, size: int) -> Charts:
    """Assign a face to each texel: faces [F, 3], uv [M, 2] and uv_faces [F, 3].

    A texel belongs to a face when its centre is strictly inside; other texels copy the nearest
    texel that is.
    """
    flat = torch.cat([1 - 2 * uv.float(), torch.ones_like(uv[:, :1]).float()], dim=1)
    inside = rasterise(flat[None], uv_faces, height=size, width=size).faces[0].long()
    nearest = nearest_texels(inside >= 0)
    assigned = torch.where(nearest >= 0, inside.flatten()[nearest.clamp(min=0)], -1)
    weights = corner_weights(uv.float()[uv_faces.long()], inside).flatten(0, 1)
    weights = torch.where(nearest[..., None] >= 0, weights[nearest.clamp(min=0)], 0.0)
    corners = torch.where(assigned[..., None] >= 0, faces.long()[assigned.clamp(min=0)], -1)
    return Charts(nearest, assigned, corners, weights)


def corner_weights(triangles: Tensor, face: Tensor) -> Tensor:
    """Barycentric weights [S, S, 3]: triangles on the map [F, 3, 2], face of each texel [S, S]."""
    size = len(face)
    centre = (torch.arange(size, device=face.device) + 0.5) / size
    texels = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), dim=-1)  # [S, S, 2]
    a, b, c = triangles[face.clamp(min=0)].unbind(-2)  # [S, S, 2] each
    (x, y), (x1, y1), (x2, y2) = (p.unbind(-1) for p in (texels - c, a - c, b - c))
    area = y2 * x1 - y1 * x2
    area = torch.where(area.abs() < SMALLEST, SMALLEST * torch.where(area < 0, -1, 1), area)
    first, second = (y2 * x - x2 * y) / area, (x1 * y - y1 * x) / area
    return torch.stack([first, second, 1 - first - second], dim=-1)


def nearest_texels(known: Tensor, *, reach: int = REACH) -> Tensor:
    """Index of the nearest known texel: known [S, S] -> [S, S], -1 beyond `reach` texels.

    The search goes up and down in each column first, then along the rows.
    """
    size = len(known)
    row = torch.arange(size, device=known.device)[:, None]
    above = torch.where(known, row, -size * 2).cummax(0).values
    below = torch.where(known, row, size * 3).flip(0).cummin(0).values.flip(0)
    source = torch.where(row - above <= below - row, above, below)  # [S, S] nearest row per column
    squared = (source - row).clamp(-2 * reach, 2 * reach) ** 2
    best, result = torch.full_like(squared, reach**2), torch.full_like(squared, -1)
    indices = source * size + torch.arange(size, device=known.device)
    for step in _column_steps(reach, size):
        target = slice(max(0, -step), size - max(0, step))
        origin = slice(max(0, step), size + min(0, step))
        distance = squared[:, origin] + step**2
        nearer = distance < best[:, target]
        best[:, target] = torch.where(nearer, distance, best[:, target])
        result[:, target] = torch.where(nearer, indices[:, origin], result[:, target])
    return result


def _column_steps(reach: int, size: int) -> Sequence[int]:
    """Column offsets to either side, nearest first."""
    return sorted(range(-min(reach, size) + 1, min(reach, size)), key=abs)
