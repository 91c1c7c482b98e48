"""Seam closing: fills and blends texels at chart borders that meet on the body.

Source: spec/renderer.md section 5. Only texels that change are read and written.
Letters: B frames, C channels, S side of the map, M filled texels, N blended texels.
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
    """Tables of texel indices (row-major) and weights, as they are stored in the file."""

    size: int
    filled: Tensor  # [M] texels outside the charts
    sources: Tensor  # [M] texels that they copy
    blended: Tensor  # [N] texels beside a seam
    corners: Tensor  # [4, N] texels on the other side of the seam
    shares: Tensor  # [5, N] weights of the texel itself and of the four corners

    def fill(self, x: Tensor) -> Tensor:
        """Fill texels outside the charts of [B, C, S, S], in place when the layout allows it."""
        rows = _rows(x)
        rows[:, self.filled] = rows.index_select(1, self.sources)
        return _map(rows, self.size)

    def blend(self, x: Tensor) -> Tensor:
        """Blend texels beside the seams of [B, C, S, S], in place when the layout allows it."""
        rows = _rows(x)
        mixed = rows.index_select(1, self.blended) * self.shares[0, :, None]
        for corner, share in zip(self.corners, self.shares[1:], strict=True):
            mixed.addcmul_(rows.index_select(1, corner), share[:, None])
        rows[:, self.blended] = mixed
        return _map(rows, self.size)

    def close(self, x: Tensor) -> Tensor:
        """Close the seams of a texture: fill once, then blend twice."""
        return self.blend(self.blend(self.fill(x)))


def _rows(x: Tensor) -> Tensor:
    """Flatten [B, C, S, S] to rows [B, S * S, C]; a view if the layout is channels-last."""
    return x.permute(0, 2, 3, 1).contiguous().flatten(1, 2)


def _map(rows: Tensor, size: int) -> Tensor:
    return rows.view(len(rows), size, size, -1).permute(0, 3, 1, 2)


def seam_tables(
    target: Tensor,  # [M, 2] row and column
    source: Tensor,  # [M, 2]
    uv: Tensor,  # [S, S, 2] position that each texel is blended with, 0 to 1
    weight: Tensor,  # [S, S] weight of that position
) -> dict[str, Tensor]:
    """Convert released dense tables to the tables of `Seams`, by name."""
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
    blend = weight.flatten()[blended]
    return {
        "filled": (target[:, 0].long() * size + target[:, 1].long()).int(),
        "sources": (source[:, 0].long() * size + source[:, 1].long()).int(),
        "blended": blended.int(),
        "corners": torch.stack(corners).int(),
        "shares": torch.stack([1 - blend, *(blend * share for share in shares)]),
    }


def seams_of(tables: Mapping[str, Tensor], prefix: str, size: int) -> Seams:
    """Read seams from tables whose names start with a prefix."""
    return Seams(
        size,
        tables[prefix + "filled"].long(),
        tables[prefix + "sources"].long(),
        tables[prefix + "blended"].long(),
        tables[prefix + "corners"].long(),
        tables[prefix + "shares"].float(),
    )
