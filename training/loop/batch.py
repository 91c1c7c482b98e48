"""What a step of training is made of, drawn at once for the whole batch.

Every process draws the same and takes its part, so what is learned from does not depend on how
many processes or micro-batches share the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class TrainingBatch:
    """All that is random in a step but dropout."""

    rows: dict[str, Tensor]  # by what they are, each [B, ...]
    first: int = 0  # where in the longest clip the first frame stands

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    def __getitem__(self, name: str) -> Tensor:
        return self.rows[name]

    def parts(self, count: int) -> list[TrainingBatch]:
        """As even as it goes, in order. ValueError where there are fewer samples than parts."""
        if count == 1:
            return [self]
        if len(self) < count:
            raise ValueError(
                f"a batch of {len(self)} cannot be shared by {count} (processes times "
                "micro-batches); make it larger or `accumulate` smaller"
            )
        edges = [len(self) * place // count for place in range(count + 1)]
        return [
            TrainingBatch({name: value[a:b] for name, value in self.rows.items()}, self.first)
            for a, b in pairwise(edges)
        ]

    def to(self, device: torch.device) -> TrainingBatch:
        """On another device; a GPU fetches it while the CPU goes on."""
        if device.type != "cuda":
            return self
        moved = {
            name: value.contiguous().pin_memory().to(device, non_blocking=True)
            for name, value in self.rows.items()
        }
        return TrainingBatch(moved, self.first)
