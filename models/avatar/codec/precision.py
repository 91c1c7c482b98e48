"""How the networks reckon. Skeleton, seams, rasteriser and light are always float32."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


@dataclass(frozen=True)
class Precision:
    """The defaults give the reference's numbers, and the same ones every time."""

    half: bool = (
        False  # bfloat16, for GPUs that are fast at it: of 100 bytes 98 are off by two at most
    )
    tf32: bool = False  # ten bits of each factor, on GPUs that have it
    channels_last: bool = True  # how maps lie in memory; numbers differ in the last bits
    compiler: str | None = None  # "inductor": torch.compile, which fuses what follows convolutions

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

    def compiled(self, networks: nn.Module) -> None:
        """Have each of the networks compiled when it first runs, in place. Weights stay the same.

        The compiler writes and builds code then: minutes for a whole avatar, kept on the disk for
        the next process.
        """
        if self.compiler is None:
            return
        for network in networks.children():
            network.compile(backend=self.compiler)


EXACT = Precision()
