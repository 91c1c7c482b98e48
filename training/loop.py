"""One loop for all four trainers: a model, a loss of one drawn batch, and settings go in.

Everything random comes from one generator, which is saved with the model, the optimiser and the
averaged weights: a run that was cut off goes on exactly as if it had not been.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Generator, Tensor, nn

    Loss = Callable[[Generator], dict[str, Tensor]]  # "loss" is minimised, the others are logged

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopConfig:
    """How long, how fast, how averaged. With `minutes` the schedule follows the clock instead."""

    steps: int = 1000
    minutes: float | None = None
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_rate: float = 0.05  # share of the learning rate that is left at the end (cosine)
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0  # largest gradient norm
    average: float = 0.998  # decay of the averaged weights, which are what is kept
    save_seconds: float = 60.0
    log_steps: int = 50
    seed: int = 10

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be in [0, 1), got {self.average}")

    def rate(self, step: int, progress: float) -> float:
        """Learning rate: linear warm-up by steps, then a cosine over the progress in [0, 1]."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        cosine = 0.5 + 0.5 * math.cos(math.pi * min(1.0, progress))
        return self.learning_rate * warm * (self.final_rate + (1 - self.final_rate) * cosine)


@dataclass
class Progress:
    """Where a run stands; saved with it."""

    step: int = 0
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)  # running means, for the log

    def share(self, config: LoopConfig) -> float:
        if config.minutes is not None:
            return self.seconds / (60 * config.minutes)
        return self.step / config.steps

    def note(self, losses: dict[str, Tensor]) -> None:
        for name, value in losses.items():
            before = self.losses.get(name, float(value))
            self.losses[name] = before + 0.02 * (float(value) - before)


@dataclass
class Run:
    """A model in training: what must be saved so that it can go on."""

    model: nn.Module
    averaged: dict[str, Tensor]
    optimiser: torch.optim.Optimizer
    generator: Generator
    progress: Progress

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "progress": vars(self.progress),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.averaged = state["averaged"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"])
        self.progress = Progress(**state["progress"])


def start(model: nn.Module, config: LoopConfig) -> Run:
    """A fresh run; dropout is seeded here too."""
    torch.manual_seed(config.seed)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        trained, config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
    averaged = {name: value.detach().clone() for name, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(config.seed)
    return Run(model, averaged, optimiser, generator, Progress())


def save_state(path: Path, run: Run) -> None:
    """Writes the run beside its old state and then takes its place: never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    torch.save(run.state(), fresh)
    fresh.replace(path)


def train(
    model: nn.Module,
    loss: Loss,
    config: LoopConfig,
    *,
    state: Path,
    publish: Callable[[dict[str, Tensor], Progress], None],
) -> Progress:
    """Trains from `state` if that file exists, else from the start, and publishes the averages.

    publish gets the averaged weights at each save and at the end. SIGINT and SIGTERM end the run
    after the current step, saved; the same call then goes on from there.
    """
    run = start(model, config)
    if state.is_file():
        run.restore(torch.load(state, weights_only=True))
        logger.info("goes on at step %d", run.progress.step)
    model.train()
    saved = time.monotonic()
    with stop_on_signals() as stopped:
        while run.progress.share(config) < 1 and not stopped():
            one_step(run, loss, config)
            if run.progress.step % config.log_steps == 0:
                log(run.progress, config)
            if time.monotonic() - saved > config.save_seconds:
                save_state(state, run)
                publish(run.averaged, run.progress)
                saved = time.monotonic()
    save_state(state, run)
    publish(run.averaged, run.progress)
    return run.progress


def one_step(run: Run, loss: Loss, config: LoopConfig) -> None:
    begun = time.monotonic()
    progress = run.progress
    for group in run.optimiser.param_groups:
        group["lr"] = config.rate(progress.step, progress.share(config))
    losses = loss(run.generator)
    run.optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(losses["loss"])
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip)
    run.optimiser.step()
    average_weights(run, config.average)
    progress.note({name: value.detach() for name, value in losses.items()})
    progress.step += 1
    progress.seconds += time.monotonic() - begun


@torch.no_grad()
def average_weights(run: Run, decay: float) -> None:
    """Moves the averages to the weights; young runs average over fewer steps."""
    decay = min(decay, (1 + run.progress.step) / (10 + run.progress.step))
    for name, value in run.model.state_dict().items():
        average = run.averaged[name]
        if average.is_floating_point():
            average.lerp_(value, 1 - decay)
        else:
            average.copy_(value)


def log(progress: Progress, config: LoopConfig) -> None:
    rate = progress.step / max(1e-9, progress.seconds)
    share = max(1e-9, progress.share(config))
    logger.info(
        "step %d  %s  %.2f steps/s  %.1f min left",
        progress.step,
        "  ".join(f"{name} {value:.4f}" for name, value in progress.losses.items()),
        rate,
        progress.seconds * (1 - share) / share / 60,
    )


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Inside, SIGINT and SIGTERM only set a flag; the old handlers come back after."""
    caught: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda n, _frame: caught.append(n)) for number in signals]
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
