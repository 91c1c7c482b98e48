"""Distributed training: processes that an engine has started, or a single process.

Gradients are synchronised by NCCL between GPUs, else by Gloo. The few numbers that the loop
exchanges (clock, stop signal, logged losses) are on the CPU and always use Gloo.
"""

from __future__ import annotations

import gc
import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from contracts.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor

DEVICES = ("auto", "cpu", "cuda")
TIMEOUT = timedelta(hours=12)  # rank 0 may first compute the features of a whole dataset


class DeviceError(InputError):
    """A device that this machine does not have: one sentence with the fix."""


@dataclass(frozen=True)
class Processes:
    """This process's rank among the processes of a run."""

    rank: int = 0
    count: int = 1
    group: Any = None  # a Gloo group, for numbers on the CPU

    @property
    def is_main(self) -> bool:
        """True for rank 0, which writes and logs."""
        return self.rank == 0

    def maximum(self, values: Sequence[float]) -> list[float]:
        """Maximum of each value over all processes."""
        return self._all_reduce(values, distributed.ReduceOp.MAX)

    def mean(self, values: Sequence[float]) -> list[float]:
        """Mean of each value over all processes."""
        return [value / self.count for value in self._all_reduce(values, distributed.ReduceOp.SUM)]

    def gather(self, value: Tensor) -> list[Tensor]:
        """The CPU tensors of all processes, which must have the same shape."""
        if self.count == 1:
            return [value]
        parts = [torch.empty_like(value) for _ in range(self.count)]
        distributed.all_gather(parts, value, group=self.group)
        return parts

    def broadcast_bytes(self, content: bytes | None) -> bytes | None:
        """The bytes of rank 0, or None if it has none; the others pass None."""
        if self.count == 1:
            return content
        size = torch.tensor([-1 if content is None else len(content)])
        distributed.broadcast(size, 0, group=self.group)
        if size < 0:
            return None
        buffer = torch.empty(int(size), dtype=torch.uint8)
        if content is not None:
            buffer.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        distributed.broadcast(buffer, 0, group=self.group)
        return buffer.numpy().tobytes()

    def broadcast(self, values: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of rank 0."""
        if self.count > 1:
            for value in values:
                distributed.broadcast(value, 0)

    def _all_reduce(self, values: Sequence[float], operation: Any) -> list[float]:
        if self.count == 1 or not values:
            return list(values)
        reduced = torch.tensor(list(values), dtype=torch.float64)
        distributed.all_reduce(reduced, operation, group=self.group)
        return [float(value) for value in reduced.tolist()]


SINGLE_PROCESS = Processes()


@contextmanager
def process_group(device: torch.device) -> Iterator[Processes]:
    """Join the process group of the engine, or yield a single process."""
    if not is_launched():
        yield SINGLE_PROCESS
        return
    gloo_only = device.type == "cpu"
    if not gloo_only:
        torch.cuda.set_device(device)
    joined = distributed.is_initialized()  # by Ray Train, which also ends it
    if not joined:
        distributed.init_process_group("gloo" if gloo_only else "nccl", timeout=TIMEOUT)
    try:
        group = None if gloo_only else distributed.new_group(backend="gloo", timeout=TIMEOUT)
        yield Processes(distributed.get_rank(), distributed.get_world_size(), group)
        distributed.barrier()  # no process closes connections that others still use
    finally:
        gc.collect()  # DDP holds the group, and its threads must not outlive the interpreter
        if not joined:
            distributed.destroy_process_group()


def is_launched() -> bool:
    """Return whether an engine has started this process: torchrun, or Ray Train."""
    return distributed.is_torchelastic_launched() or distributed.is_initialized()


def machine_share() -> tuple[int, int]:
    """Number of this process on its machine, and of all processes there."""
    rank = distributed.get_node_local_rank(fallback_rank=0)
    return rank, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def choose_device(name: str) -> torch.device:
    """Select a device: `auto` is a GPU if there is one, and each process gets its own.

    Raises: DeviceError: when no GPU is available for this process.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceError("--device cuda, but torch finds no GPU here; try --device cpu")
    rank = distributed.get_node_local_rank(fallback_rank=0)
    if rank >= (count := torch.cuda.device_count()):
        raise DeviceError(
            f"process {rank + 1} of this machine has no GPU: {count} found; start one process per "
            "GPU"
        )
    return torch.device("cuda", rank)
