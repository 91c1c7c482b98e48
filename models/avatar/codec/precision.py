"""How finely the convolutions reckon. Skeleton, seams, rasteriser and light are always float32."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Precision:
    """The defaults give the reference's numbers, and the same ones every time."""

    half: bool = (
        False  # bfloat16, for GPUs that are fast at it: of 100 bytes 98 are off by two at most
    )
    tf32: bool = False  # ten bits of each factor, on GPUs that have it

    @contextmanager
    def applied(self, device: torch.device) -> Iterator[None]:
        """For the networks that run inside."""
        with ExitStack() as stack:
            flags = torch.backends.cudnn.flags(
                enabled=True, deterministic=True, allow_tf32=self.tf32
            )
            if device.type == "cuda":
                stack.enter_context(flags)
            if self.half:
                stack.enter_context(torch.autocast(device.type, torch.bfloat16))
            yield


EXACT = Precision()
