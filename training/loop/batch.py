"""The global batch of one training step, including noise, timesteps and dropped conditions.

Every process samples the same batch and trains on its share, so results do not depend on the
number of processes or micro-batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from contracts.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class TrainingBatch:
    """All random numbers of a step except dropout."""

    rows: dict[str, Tensor]  # by name, each [B, ...]
    first: int = 0  # position of the first frame in the longest clip

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    def __getitem__(self, name: str) -> Tensor:
        return self.rows[name]

    def parts(self, count: int) -> list[TrainingBatch]:
        """Split in order into parts of nearly equal size.

        Raises: InputError: when the batch has fewer samples than parts.
        """
        if count == 1:
            return [self]
        if len(self) < count:
            raise InputError(
                f"a batch of {len(self)} cannot be split into {count} parts (processes times "
                "micro-batches); use a larger batch or a smaller `accumulate`"
            )
        edges = [len(self) * part // count for part in range(count + 1)]
        return [
            TrainingBatch({name: value[a:b] for name, value in self.rows.items()}, self.first)
            for a, b in pairwise(edges)
        ]

    def to(self, device: torch.device) -> TrainingBatch:
        """Move to another device; copies to a GPU are asynchronous."""
        if device.type != "cuda":
            return self
        moved = {
            name: value.contiguous().pin_memory().to(device, non_blocking=True)
            for name, value in self.rows.items()
        }
        return TrainingBatch(moved, self.first)
