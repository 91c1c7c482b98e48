"""The processes that train one network together, started by torchrun; or one alone.

Gradients travel by NCCL between GPUs, else by Gloo. What the loop agrees on (the clock, a signal,
what is logged) are a few numbers on the CPU and always go by Gloo.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor

DEVICES = ("auto", "cpu", "cuda")
PATIENCE = timedelta(hours=12)  # the first process may have features of a whole dataset to make


class DeviceError(ValueError):
    """A device that this machine does not have: a sentence with what to do."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int = 0
    count: int = 1
    group: Any = None  # of Gloo, for numbers on the CPU

    @property
    def leads(self) -> bool:
        """The one that writes and logs."""
        return self.rank == 0

    def largest(self, values: Sequence[float]) -> list[float]:
        """Each value, as large as it is anywhere."""
        return self._reduced(values, distributed.ReduceOp.MAX)

    def mean(self, values: Sequence[float]) -> list[float]:
        """Each value, on the mean of all processes."""
        return [value / self.count for value in self._reduced(values, distributed.ReduceOp.SUM)]

    def gathered(self, value: Tensor) -> list[Tensor]:
        """A tensor of the CPU from each process, of the same shape in all."""
        if self.count == 1:
            return [value]
        parts = [torch.empty_like(value) for _ in range(self.count)]
        distributed.all_gather(parts, value, group=self.group)
        return parts

    def spread(self, values: Iterable[Tensor]) -> None:
        """Tensors of the network become those of the first process."""
        if self.count > 1:
            for value in values:
                distributed.broadcast(value, 0)

    def _reduced(self, values: Sequence[float], how: Any) -> list[float]:
        if self.count == 1 or not values:
            return list(values)
        together = torch.tensor(list(values), dtype=torch.float64)
        distributed.all_reduce(together, how, group=self.group)
        return [float(value) for value in together.tolist()]


ALONE = Processes()


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun has started, or this one alone."""
    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    gloo_only = device.type == "cpu"
    if not gloo_only:
        torch.cuda.set_device(device)
    distributed.init_process_group("gloo" if gloo_only else "nccl", timeout=PATIENCE)
    try:
        group = None if gloo_only else distributed.new_group(backend="gloo", timeout=PATIENCE)
        yield Processes(distributed.get_rank(), distributed.get_world_size(), group)
        distributed.barrier()  # nobody takes the connections down while another one still uses them
    finally:
        gc.collect()  # DDP holds the group, and its threads must not outlive the interpreter
        distributed.destroy_process_group()


def chosen_device(wish: str) -> torch.device:
    """`auto` is a GPU where there is one; each process of a machine has its own.

    DeviceError where there is none to be had.
    """
    if wish == "cpu" or (wish == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceError("--device cuda, but torch finds no GPU here; try --device cpu")
    place = distributed.get_node_local_rank(fallback_rank=0)
    if place >= (found := torch.cuda.device_count()):
        raise DeviceError(
            f"process {place + 1} of this machine has no GPU: {found} found; start as many "
            "processes as there are GPUs"
        )
    return torch.device("cuda", place)
