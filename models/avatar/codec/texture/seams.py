"""Closes the seams of a texture: where two charts end that meet on the body.

Source: spec/renderer.md section 5. Only texels that change are touched.
Letters: B frames, C channels, S side of the map, N texels that change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Seams:
    """Texels by their number, row by row. Tables as a file keeps them."""

    size: int
    filled: Tensor  # [M] texels outside the charts
    sources: Tensor  # [M] what they copy
    blended: Tensor  # [N] texels beside a seam
    corners: Tensor  # [4, N] the texels beyond the seam
    shares: Tensor  # [5, N] of the texel itself and of the four

    def fill(self, x: Tensor) -> Tensor:
        """Around the charts: [B, C, S, S] -> the same, changed in place where it can be."""
        rows = _rows(x)
        rows[:, self.filled] = rows.index_select(1, self.sources)
        return _map(rows, self.size)

    def blend(self, x: Tensor) -> Tensor:
        """Beside the seams: [B, C, S, S] -> the same, changed in place where it can be."""
        rows = _rows(x)
        mixed = rows.index_select(1, self.blended) * self.shares[0, :, None]
        for corner, share in zip(self.corners, self.shares[1:], strict=True):
            mixed.addcmul_(rows.index_select(1, corner), share[:, None])
        rows[:, self.blended] = mixed
        return _map(rows, self.size)

    def close(self, x: Tensor) -> Tensor:
        """As textures get it: filled, then blended twice."""
        return self.blend(self.blend(self.fill(x)))


def _rows(x: Tensor) -> Tensor:
    """[B, C, S, S] -> [B, S * S, C], channels together; a view where they lie so already."""
    return x.permute(0, 2, 3, 1).contiguous().flatten(1, 2)


def _map(rows: Tensor, size: int) -> Tensor:
    return rows.view(len(rows), size, size, -1).permute(0, 3, 1, 2)


def seam_tables(
    target: Tensor,  # [M, 2] row and column
    source: Tensor,  # [M, 2]
    uv: Tensor,  # [S, S, 2] what to mix a texel with, 0 to 1
    weight: Tensor,  # [S, S] how much of it
) -> dict[str, Tensor]:
    """Dense tables as released -> what `Seams` holds, by name."""
    size = uv.shape[-2]
    weight = weight.reshape(size, size).float()
    blended = weight.flatten().nonzero()[:, 0]
    at = (uv.reshape(-1, 2)[blended].float() * size - 0.5).clamp(0, size - 1)  # [N, 2] column, row
    low = at.floor().long().clamp(max=size - 1)
    high, part = (low + 1).clamp(max=size - 1), at - low
    (left, top), (right, bottom) = low.T, high.T
    across, down = part.T
    corners = [top * size + left, top * size + right, bottom * size + left, bottom * size + right]
    shares = [(1 - across) * (1 - down), across * (1 - down), (1 - across) * down, across * down]
    own = weight.flatten()[blended]
    return {
        "filled": (target[:, 0].long() * size + target[:, 1].long()).int(),
        "sources": (source[:, 0].long() * size + source[:, 1].long()).int(),
        "blended": blended.int(),
        "corners": torch.stack(corners).int(),
        "shares": torch.stack([1 - own, *(own * share for share in shares)]),
    }


def seams_of(tables: Mapping[str, Tensor], prefix: str, size: int) -> Seams:
    """Seams from a file's tables, whose names start with a prefix."""
    return Seams(
        size,
        tables[prefix + "filled"].long(),
        tables[prefix + "sources"].long(),
        tables[prefix + "blended"].long(),
        tables[prefix + "corners"].long(),
        tables[prefix + "shares"].float(),
    )
