"""Between vertices and the map: every texel's place on the mesh, every vertex's place on the map.

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

REACH = 100  # texels; what is further from a chart stays empty
SMALLEST = 1e-6  # twice the area of a face on the map; smaller ones get the weights of this one


@dataclass(frozen=True)
class UvMap:
    """Which three vertices a texel lies between, and how near it is to each."""

    size: int
    corners: Tensor  # [3, S * S] vertices
    shares: Tensor  # [3, S * S] 0 where no face is near

    def spread(self, values: Tensor) -> Tensor:
        """Values of vertices [B, V, C] -> a map of them [B, C, S, S], 0 where no face is near."""
        rows = values.transpose(1, 2).contiguous()  # [B, C, V]
        result = rows.index_select(2, self.corners[0]).mul_(self.shares[0])
        for corner, share in zip(self.corners[1:], self.shares[1:], strict=True):
            result.addcmul_(rows.index_select(2, corner), share)
        return result.view(*result.shape[:2], self.size, self.size)


def uv_map(corners: Tensor, weights: Tensor) -> UvMap:
    """Pictures of vertices (-1 for none) and weights, [S, S, 3] each, as tables."""
    near = (corners >= 0).all(-1, keepdim=True)
    shares = weights.float() * near
    numbers = corners.clamp(min=0).int()
    return UvMap(len(corners), *(x.flatten(0, 1).T.contiguous() for x in (numbers, shares)))


@dataclass(frozen=True)
class VertexReader:
    """Reads a map where the vertices are: at up to four coordinates each, the mean of them.

    A vertex with two coordinates has the first one three times, as the released tables have it.
    """

    texels: Tensor  # [M, 4] by number, around each coordinate
    shares: Tensor  # [M, 4] 0 for texels outside the map
    coordinates: Tensor  # [V, 4]
    neighbours: Tensor  # [9, M * 4] the texels around each, row by row
    inside: Tensor  # [9, M * 4] 1 where they are on the map, else 0

    def read(self, x: Tensor) -> Tensor:
        """[B, C, S, S] -> [B, V, C]"""
        return self._mean(_rows(x).index_select(1, self.texels.flatten()))

    def read_convolved(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """`read` after a 3x3 convolution, done only at the texels that are read.

        x [B, I or more, S, S], weight [C, I, 3, 3], bias [C, S, S] -> [B, V, C]
        """
        rows, inputs = _rows(x), weight.shape[1]
        result = _rows(bias[None]).index_select(1, self.texels.flatten())  # [1, M * 4, C]
        for place, (near, on_map) in enumerate(zip(self.neighbours, self.inside, strict=True)):
            kernel = weight[:, :, place // 3, place % 3]  # [C, I]
            around = rows.index_select(1, near)[..., :inputs]
            result = result + (around * on_map[:, None]) @ kernel.T
        return self._mean(result)

    def _mean(self, texels: Tensor) -> Tensor:
        """[B, M * 4, C] -> [B, V, C]"""
        around = texels.view(len(texels), *self.texels.shape, -1)  # [B, M, 4, C]
        at = (around * self.shares[..., None]).sum(2)  # [B, M, C]
        return at[:, self.coordinates].mean(2)


def _rows(x: Tensor) -> Tensor:
    """[B, C, S, S] -> [B, S * S, C], a view where channels lie together."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def vertex_reader(uv: Tensor, coordinates: Tensor, size: int) -> VertexReader:
    """uv [M, 2] and each vertex's coordinates [V, 4] -> a reader of maps of a size.

    The first and the last texel's centres are the map's ends, unlike in `UvMap`; outside is 0.
    """
    at = (uv.float() * 2 - 1 + 1) / 2 * (size - 1)  # [M, 2] column, row
    low = at.floor()
    part = at - low
    steps = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=uv.device)
    place = low[:, None].long() + steps  # [M, 4, 2]
    share = torch.where(steps.bool(), part[:, None], 1 - part[:, None]).prod(-1)  # [M, 4]
    on_map = ((place >= 0) & (place < size)).all(-1)
    place = place.clamp(0, size - 1)
    column, row = place.flatten(0, 1).T
    around = [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    near = torch.stack([torch.stack(both) for both in around])  # [9, 2, M * 4]
    inside = ((near >= 0) & (near < size)).all(1)
    near = near.clamp(0, size - 1)
    return VertexReader(
        place[..., 1] * size + place[..., 0],
        share * on_map,
        coordinates.long(),
        near[:, 0] * size + near[:, 1],
        inside.to(share.dtype),
    )


@dataclass(frozen=True)
class Charts:
    """The faces as they lie on the map."""

    nearest: Tensor  # [S, S] the texel that each takes after, itself inside a face, -1 for none
    faces: Tensor  # [S, S] the face of each texel, -1 where none is near
    corners: Tensor  # [S, S, 3] its vertices
    weights: Tensor  # [S, S, 3]


def lay_out(faces: Tensor, uv: Tensor, uv_faces: Tensor, size: int) -> Charts:
    """faces [F, 3], uv [M, 2] and uv_faces [F, 3] -> which face each texel shows.

    A texel is a face's when its centre is truly inside. Others take after the nearest that is.
    """
    flat = torch.cat([1 - 2 * uv.float(), torch.ones_like(uv[:, :1]).float()], dim=1)
    seen = rasterise(flat[None], uv_faces, height=size, width=size).faces[0].long()
    nearest = nearest_texels(seen >= 0)
    shown = torch.where(nearest >= 0, seen.flatten()[nearest.clamp(min=0)], -1)
    weights = corner_weights(uv.float()[uv_faces.long()], seen).flatten(0, 1)
    weights = torch.where(nearest[..., None] >= 0, weights[nearest.clamp(min=0)], 0.0)
    corners = torch.where(shown[..., None] >= 0, faces.long()[shown.clamp(min=0)], -1)
    return Charts(nearest, shown, corners, weights)


def corner_weights(triangles: Tensor, seen: Tensor) -> Tensor:
    """Faces on the map [F, 3, 2], the face of each texel [S, S] -> its weights [S, S, 3]."""
    size = len(seen)
    centre = (torch.arange(size, device=seen.device) + 0.5) / size
    texels = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), dim=-1)  # [S, S, 2]
    a, b, c = triangles[seen.clamp(min=0)].unbind(-2)  # [S, S, 2] each
    (x, y), (x1, y1), (x2, y2) = (p.unbind(-1) for p in (texels - c, a - c, b - c))
    area = y2 * x1 - y1 * x2
    area = torch.where(area.abs() < SMALLEST, SMALLEST * torch.where(area < 0, -1, 1), area)
    first, second = (y2 * x - x2 * y) / area, (x1 * y - y1 * x) / area
    return torch.stack([first, second, 1 - first - second], dim=-1)


def nearest_texels(known: Tensor, *, reach: int = REACH) -> Tensor:
    """known [S, S] -> the number of the nearest known texel, [S, S], -1 beyond `reach` texels.

    First up or down in each column, then along the rows.
    """
    size = len(known)
    row = torch.arange(size, device=known.device)[:, None]
    above = torch.where(known, row, -size * 2).cummax(0).values
    below = torch.where(known, row, size * 3).flip(0).cummin(0).values.flip(0)
    source = torch.where(row - above <= below - row, above, below)  # [S, S] the row to go to
    far = (source - row).clamp(-2 * reach, 2 * reach) ** 2
    best, result = torch.full_like(far, reach**2), torch.full_like(far, -1)
    numbers = source * size + torch.arange(size, device=known.device)
    for step in _from_near_to_far(reach, size):
        to = slice(max(0, -step), size - max(0, step))
        of = slice(max(0, step), size + min(0, step))
        distance = far[:, of] + step**2
        nearer = distance < best[:, to]
        best[:, to] = torch.where(nearer, distance, best[:, to])
        result[:, to] = torch.where(nearer, numbers[:, of], result[:, to])
    return result


def _from_near_to_far(reach: int, size: int) -> Sequence[int]:
    """Steps to either side."""
    return sorted(range(-min(reach, size) + 1, min(reach, size)), key=abs)
