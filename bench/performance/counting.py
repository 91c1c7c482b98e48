"""Operations and bytes of some work, and what this machine can do: the floor of its time.

A floor is the larger of two times: floating-point operations at the measured rate of a matrix
product, and bytes at the measured rate of a copy. No implementation with these operations is
faster on the same machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from bench.performance.spread import Spread, measured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SIDE = 1536  # of the matrices
COPIED = 64 * 2**20  # bytes of a copy, more than caches hold
REPEATS = 5


@dataclass(frozen=True)
class Counted:
    """Operations and bytes of some work."""

    gflop: float  # of matrix products, convolutions and attention
    megabytes: float  # read and written, each tensor of each operation once
    operations: int  # calls of operations that compute


@dataclass(frozen=True)
class Rates:
    """Measured limits of a machine."""

    gflop_a_second: float  # float32 matrix product
    gigabytes_a_second: float  # of a copy, reading and writing

    def floor(self, counted: Counted) -> float:
        """Return the least seconds for the counted work."""
        computing = counted.gflop / self.gflop_a_second
        return max(computing, counted.megabytes / 1e3 / self.gigabytes_a_second)


class _Bytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sum of the tensors that operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.operations = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        read = {id(each): each for each in tree_leaves((args, kwargs)) if _is_tensor(each)}
        written = [each for each in tree_leaves(result) if _is_tensor(each)]
        sources = {each.untyped_storage().data_ptr() for each in read.values()}
        new = any(each.untyped_storage().data_ptr() not in sources for each in written)
        if new or func._schema.is_mutable:
            self.operations += 1
            self.bytes += sum(each.nbytes for each in (*read.values(), *written))
        return result


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def counted(work: Callable[[], object]) -> Counted:
    """Count some work, which must run in this thread; it runs twice."""
    with torch.inference_mode(mode=False), torch.no_grad():
        with _Bytes() as moved:
            work()
        # The counter does not know the fused attention of CPUs, but its matrix products.
        with FlopCounterMode(display=False) as flops, sdpa_kernel(SDPBackend.MATH):
            work()
    return Counted(flops.get_total_flops() / 1e9, moved.bytes / 1e6, moved.operations)


def rates_of(device: torch.device) -> Rates:
    """Measure a matrix product and a copy with all threads of torch; the best of some runs."""
    left = torch.rand(SIDE, SIDE, device=device)
    source = torch.ones(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    products, copies = Spread(), Spread()
    for _ in range(REPEATS + 1):
        products.add(measured(lambda: left @ left)[1])
        copies.add(measured(lambda: target.copy_(source))[1])
    product, copy = min(products.wall[1:]), min(copies.wall[1:])  # the first is warm-up
    return Rates(2 * SIDE**3 / 1e9 / product, 2 * COPIED / 1e9 / copy)
