"""Diffusion samplers: each is declared in one module of `models.motion.samplers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from contracts.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

DEFAULT_SAMPLER = "ddim"
STUDENT = "student"  # samples with other networks, if a person has them


class Sample(Protocol):
    """From noise to a clean signal."""

    def __call__(
        self,
        denoise: Callable[[Tensor, int], Tensor],  # (x [N, T, C], timestep) -> x0 [N, T, C]
        noise: Tensor,  # [N, T, C]
        steps: int,
        *,
        progress: Callable[[float], None],  # called with 0..1
    ) -> Tensor:  # [N, T, C]
        ...


@dataclass(frozen=True)
class Sampler:
    """One way to integrate the reverse diffusion process."""

    name: str
    description: str
    sample: Sample
    order: int = 100


SAMPLERS: Registry[Sampler] = Registry("sampler", "models.motion.samplers", "SAMPLER")
