"""Numerical precision of the networks; skeleton, seams, rasteriser and light stay float32."""

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
    """Precision and memory layout; the defaults reproduce the numbers of the reference exactly."""

    half: bool = False  # bfloat16 on GPUs that support it; 98 of 100 bytes differ by at most two
    tf32: bool = False  # ten mantissa bits per factor, on GPUs that support it
    channels_last: bool = True  # memory layout of maps; results differ in the last bits
    compiler: str | None = None  # backend of torch.compile, such as "inductor"

    @contextmanager
    def applied(self, device: torch.device) -> Iterator[None]:
        """Apply the precision to the networks that run inside this context."""
        with ExitStack() as stack:
            flags = torch.backends.cudnn.flags(
                enabled=True, deterministic=True, allow_tf32=self.tf32
            )
            if device.type == "cuda":
                stack.enter_context(flags)
            if self.half:
                stack.enter_context(torch.autocast(device.type, torch.bfloat16))
            yield

    def compile(self, networks: nn.Module) -> None:
        """Compile each network in place on its first run; the weights do not change.

        Compiling a whole avatar takes minutes; the result is cached on disk for the next process.
        """
        if self.compiler is None:
            return
        for network in networks.children():
            network.compile(backend=self.compiler)


EXACT = Precision()
