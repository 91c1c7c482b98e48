"""One loop for all four trainers: a network, what a step is made of, its losses, and settings.

Everything random comes from one generator and from torch's own (dropout), which are saved with the
network, the optimiser and the averaged weights: a run that was cut off goes on exactly as if it had
not been. So does a run of several processes (`training.loop.distributed`); the first
of them writes.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from models.motion.layers import DecoderLayer, EncoderLayer
from training.loop.checkpoints import StateError, States
from training.loop.distributed import ALONE, Processes
from training.loop.schedules import CosineSchedule, Schedule
from training.loop.tensorboard import NOTHING, Board

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Generator, Tensor

    from training.loop.batch import TrainingBatch
    from training.loop.tensorboard import Picture

    Weights = dict[str, Tensor]

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
REMEMBERED = 0.02  # share of the newest losses in those that are logged
VALIDATION_SEED = 1
BEST = "best.safetensors"  # beside the states


@dataclass(frozen=True)
class LoopConfig:
    """How long, how fast, how averaged. With `minutes` the schedule follows the clock instead."""

    steps: int = 1000
    minutes: float | None = None
    schedule: Schedule = field(default_factory=lambda: CosineSchedule(1e-3))
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float | None = None  # largest gradient norm
    average: float = 0.0  # decay of the averaged weights, which are what is kept; 0: the last ones
    accumulate: int = 1  # micro-batches that a process makes of its part of a batch
    save_seconds: float = 60.0
    keep: int = 3  # states
    log_steps: int = 50
    log_seconds: float = 60.0  # a slow run says something this often
    validate_steps: int = 0  # 0: never
    validate_draws: int = 4  # batches
    preview_minutes: float = 10.0  # 0: never
    publish: Literal["last", "best"] = "last"  # averaged weights that go to the person directory
    seed: int = 10

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "keep", "log_steps", "validate_draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.minutes is not None and self.minutes <= 0:
            raise ValueError(f"minutes must be above 0, got {self.minutes}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be in [0, 1), got {self.average}")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"clip must be above 0, got {self.clip}; leave it out for no clipping")


def nothing_else(_draw: TrainingBatch, _generator: Generator) -> None:
    """Where all that learns learns by gradient."""


@dataclass(frozen=True)
class Training:
    """All that the loop needs of a trainer, and how the result is kept."""

    model: nn.Module
    draw: Callable[[Generator], TrainingBatch]  # for the whole batch of a step, on the CPU
    losses: Callable[
        [TrainingBatch], dict[str, Tensor]
    ]  # "loss" is minimised, the others are logged
    publish: Callable[[Weights, Path], None]
    learn: Callable[[TrainingBatch, Generator], None] = (
        nothing_else  # without gradient, from the whole batch
    )
    held_out: Callable[[Generator], TrainingBatch] | None = None  # what is validated on


@dataclass
class Progress:
    """Where a run stands; saved with it."""

    step: int = 0
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)  # running means
    best: float = math.inf  # validation loss
    best_step: int = 0

    def share(self, config: LoopConfig) -> float:
        """How much of the run is over."""
        if config.minutes is not None:
            return self.seconds / (60 * config.minutes)
        return self.step / config.steps


class Step(nn.Module):
    """The losses of a part of a batch as a module, so that processes can share its gradients."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self.network = training.model
        self._losses = training.losses

    def forward(self, draw: TrainingBatch) -> dict[str, Tensor]:
        return self._losses(draw)


class Run:
    """A network in training, and all that must be saved so that it can go on."""

    def __init__(
        self,
        training: Training,
        config: LoopConfig,
        *,
        device: torch.device = CPU,
        processes: Processes = ALONE,
    ) -> None:
        """A fresh run; dropout is seeded here, of each process differently."""
        torch.manual_seed(config.seed + processes.rank)
        self.training, self.config = training, config
        self.device, self.processes = device, processes
        self.model = training.model.to(device).train()
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.trained = trained
        state = self.model.state_dict()
        self.learned = [value for name, value in state.items() if name not in trained]
        self.optimiser = torch.optim.AdamW(
            trained.values(), config.schedule.rate, betas=config.betas,
            weight_decay=config.weight_decay, fused=True,
        )  # fmt: skip
        self.averages = {
            name: value.detach().clone() for name, value in trained.items() if config.average
        }
        self.generator = torch.Generator().manual_seed(config.seed)
        self.progress = Progress()
        self.losses: dict[str, Tensor] = {}  # running means of this process, on the device
        self.clipped_norm: Tensor | None = None  # what the gradients had before they were cut
        self.step: nn.Module = Step(training)
        if processes.count > 1:
            self.step = DistributedDataParallel(
                self.step,
                device_ids=[device.index] if device.type == "cuda" else None,
            )

    @property
    def gradient_norm(self) -> Tensor:
        """Of the last step, before clipping; worked out where it is asked for."""
        if self.clipped_norm is not None:
            return self.clipped_norm
        gradients = [p.grad for p in self.trained.values() if p.grad is not None]
        return nn.utils.get_total_norm(gradients)

    @property
    def averaged(self) -> Weights:
        """The network with averaged weights; what no gradient reaches as it stands."""
        return {**self.model.state_dict(), **self.averages}

    def state(self) -> dict[str, Any]:
        """All of it. Every process must ask: each has its own numbers for dropout."""
        self.settle()
        return {
            "model": self.model.state_dict(),
            "averages": self.averages,
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "random": self.processes.gathered(torch.get_rng_state()),
            "random_cuda": self._cuda_states(),
            "progress": asdict(self.progress),
        }

    def _cuda_states(self) -> list[Tensor]:
        if self.device.type != "cuda":
            return []
        return self.processes.gathered(torch.cuda.get_rng_state(self.device))

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state. StateError where it is of another network.

        A process that the state knows nothing of keeps its fresh numbers for dropout.
        """
        try:
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError) as error:
            raise StateError(
                "the state is of a network of other sizes; go on with the recipe it was begun with,"
                f" or take another --work to begin again ({error})"
            ) from error
        for name, value in self.averages.items():
            value.copy_(state["averages"].get(name, state["model"][name]))
        self.generator.set_state(state["generator"])
        rank = self.processes.rank
        if rank < len(state["random"]):
            torch.set_rng_state(state["random"][rank])
        if self.device.type == "cuda" and rank < len(state["random_cuda"]):
            torch.cuda.set_rng_state(state["random_cuda"][rank], self.device)
        self.progress = Progress(**state["progress"])
        self.losses = {
            name: torch.tensor(value, device=self.device)
            for name, value in self.progress.losses.items()
        }

    def settle(self) -> None:
        """Running means become those of all processes together."""
        names = list(self.losses)
        values = self.processes.mean([float(self.losses[name]) for name in names])
        self.progress.losses = dict(zip(names, values, strict=True))
        for name, value in self.progress.losses.items():
            if not math.isfinite(value):
                raise ValueError(
                    f"{name} is {value} at step {self.progress.step}: the run stops, its states "
                    "before are whole; a smaller rate or a clip may help"
                )
            self.losses[name] = torch.full_like(self.losses[name], value)

    def note(self, losses: dict[str, Tensor]) -> None:
        """The losses of a step, on the device: nothing waits for them."""
        for name, value in losses.items():
            before = self.losses.get(name, value)
            self.losses[name] = before.lerp(value, REMEMBERED)

    @contextmanager
    def with_averages(self) -> Iterator[None]:
        """Inside, the network is the averaged one and at rest; outside, nothing was touched."""
        kept = {name: self.trained[name].detach().clone() for name in self.averages}
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            torch.manual_seed(VALIDATION_SEED)
            self._put(self.averages)
            self.model.eval()
            try:
                yield
            finally:
                self.model.train()
                self._put(kept)

    def _put(self, weights: Weights) -> None:
        for name, value in weights.items():
            self.trained[name].data.copy_(value)


def train(
    training: Training,
    config: LoopConfig,
    *,
    states: States,
    publish: Callable[[Weights, Progress], None],
    device: torch.device = CPU,
    processes: Processes = ALONE,
    board: Board = NOTHING,
    preview: Callable[[], Picture] | None = None,
) -> Progress:
    """Trains on from the newest state, else from the start.

    publish gets the averaged weights at each save and at the end; preview is asked for a picture of
    the averaged network now and then. SIGINT and SIGTERM end the run after the current step, saved;
    the same call then goes on from there. StateError where the states cannot be gone on from,
    ValueError where a loss is no number any more.
    """
    run = Run(training, config, device=device, processes=processes)
    if (state := states.newest()) is not None:
        run.restore(state)
        _say(run, "goes on at step %d", run.progress.step)
    progress = run.progress
    pace = Pace(progress.step, progress.seconds)
    logs, saves, previews = (
        Every(seconds, progress.seconds)
        for seconds in (config.log_seconds, config.save_seconds, 60 * config.preview_minutes)
    )
    over = progress.share(config) >= 1
    with stop_on_signals() as stopped:
        while not over:
            one_step(run)
            over = _agreed(run, stopped=stopped()) or progress.share(config) >= 1
            if over or logs.due(progress.seconds) or progress.step % config.log_steps == 0:
                report(run, pace, board)
            if config.validate_steps and progress.step % config.validate_steps == 0:
                validate(run, states.folder / BEST, board)
            if not over and saves.due(progress.seconds):
                keep(run, states, publish)
            if preview and config.preview_minutes and previews.due(progress.seconds):
                show(run, preview, board)
    keep(run, states, publish)
    if progress.share(config) >= 1:
        _say(run, "done at step %d", progress.step)
    else:
        _say(run, "stopped at step %d; the same command goes on from there", progress.step)
    return progress


def one_step(run: Run) -> None:
    """Draws a batch, learns from this process's part of it, in micro-batches."""
    begun = time.monotonic()
    config, processes, progress, training = run.config, run.processes, run.progress, run.training
    for group in run.optimiser.param_groups:
        group["lr"] = config.schedule.at(progress.step, progress.share(config))
    run.optimiser.zero_grad(set_to_none=True)
    draw = training.draw(run.generator)
    parts = draw.parts(processes.count * config.accumulate)
    own = parts[processes.rank * config.accumulate :][: config.accumulate]
    noted: dict[str, Tensor] = {}
    for place, part in enumerate(own, start=1):
        weight = processes.count * len(part) / len(draw)  # the mean is over all samples alike
        with _gradients_stay(run) if place < len(own) else nullcontext():
            losses = run.step(part.to(run.device))
            torch.autograd.backward(losses["loss"] * weight)
        for name, value in losses.items():
            noted[name] = noted.get(name, 0.0) + value.detach() * weight
    training.learn(draw, run.generator)
    processes.spread(run.learned)  # sums on a GPU come in any order
    if config.clip is not None:
        run.clipped_norm = nn.utils.clip_grad_norm_(run.trained.values(), config.clip)
    run.optimiser.step()
    average_weights(run)
    run.note(noted)
    progress.step += 1
    progress.seconds += time.monotonic() - begun


def _gradients_stay(run: Run) -> Any:
    """Inside, gradients add up in each process and do not travel."""
    step = run.step
    return step.no_sync() if isinstance(step, DistributedDataParallel) else nullcontext()


def _agreed(run: Run, *, stopped: bool) -> bool:
    """All processes go by the slowest clock, and stop together: whether somebody was told to."""
    run.progress.seconds, stop = run.processes.largest([run.progress.seconds, float(stopped)])
    return stop > 0


@torch.no_grad()
def average_weights(run: Run) -> None:
    """Moves the averages to the weights; young runs average over fewer steps."""
    step = run.progress.step
    decay = min(run.config.average, (1 + step) / (10 + step))
    for name, average in run.averages.items():
        average.lerp_(run.trained[name], 1 - decay)


@dataclass
class Every:
    """Says when it is time again, by the seconds of a run."""

    seconds: float
    last: float

    def due(self, now: float) -> bool:
        """Whether it is; then the next time is as far again."""
        if now - self.last < self.seconds:
            return False
        self.last = now
        return True


@dataclass(frozen=True)
class Pace:
    """Where this part of a run began: rates are counted from there."""

    step: int
    seconds: float

    def rate(self, progress: Progress) -> float:
        """Steps a second."""
        return (progress.step - self.step) / max(1e-9, progress.seconds - self.seconds)

    def left(self, progress: Progress, config: LoopConfig) -> float:
        """Seconds to the end."""
        if config.minutes is not None:
            return 60 * config.minutes - progress.seconds
        return (config.steps - progress.step) / max(1e-9, self.rate(progress))


def report(run: Run, pace: Pace, board: Board) -> None:
    """The losses to the log and to the board. ValueError where one is no number."""
    run.settle()
    progress, config = run.progress, run.config
    rate = pace.rate(progress)
    of = f"of {config.steps}" if config.minutes is None else f"of {config.minutes:g} min"
    _say(
        run,
        "step %d %s (%.0f %%)  %s  %.2f steps/s  %s left",
        progress.step,
        of,
        100 * progress.share(config),
        "  ".join(f"{name} {value:.4f}" for name, value in progress.losses.items()),
        rate,
        in_words(pace.left(progress, config)),
    )
    if run.processes.leads:
        own = {"rate": run.optimiser.param_groups[0]["lr"], "steps_per_second": rate}
        norm = {"gradient_norm": float(run.gradient_norm)}
        losses = {f"loss/{name}": value for name, value in progress.losses.items()}
        board.scalars(progress.step, {**losses, **own, **norm})


def in_words(seconds: float) -> str:
    """A time that is left: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def validate(run: Run, best: Path, board: Board) -> None:
    """The averaged network on the same draws each time; where it is the best so far, it is kept."""
    held_out = run.training.held_out
    if held_out is None or not run.processes.leads:
        return
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    with run.with_averages():
        draws = [held_out(generator) for _ in range(run.config.validate_draws)]
        losses = [run.training.losses(draw.to(run.device))["loss"] for draw in draws]
    loss, progress = float(torch.stack(losses).mean()), run.progress
    better = loss < progress.best
    told = "the best so far" if better else f"best {progress.best:.4f} at step {progress.best_step}"
    logger.info("validation %.4f at step %d, %s", loss, progress.step, told)
    board.scalars(progress.step, {"loss/validation": loss})
    if better:
        progress.best, progress.best_step = loss, progress.step
        run.training.publish(run.averaged, best)


def keep(run: Run, states: States, publish: Callable[[Weights, Progress], None]) -> None:
    """Save the state, then publish."""
    state = run.state()  # of all processes
    if run.processes.leads:
        states.save(run.progress.step, state)
        publish(run.averaged, run.progress)


def show(run: Run, preview: Callable[[], Picture], board: Board) -> None:
    """A picture of what the averaged network does."""
    if run.processes.leads:
        with run.with_averages():
            picture = preview()
        board.picture(run.progress.step, picture)


def compile_layers(model: nn.Module, *, backend: str = "inductor") -> None:
    """The layers of transformers by torch.compile, in place: names of weights stay.

    Layer by layer, because all layers of a network are compiled once.
    """
    for module in model.modules():
        if isinstance(module, (DecoderLayer, EncoderLayer)):
            module.compile(backend=backend)


def _say(run: Run, message: str, *values: object) -> None:
    if run.processes.leads:
        logger.info(message, *values)


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
