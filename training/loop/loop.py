"""Training loop of all four networks.

All random numbers come from one generator and from torch's global one (dropout). Both are saved in
the checkpoint with the network, the optimiser and the averaged weights, so a resumed run continues
bit for bit. The same holds for several processes (`training.loop.distributed`); rank 0 writes.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from contracts.errors import InputError
from models.motion.layers import DecoderLayer, EncoderLayer
from training.loop.checkpoints import CheckpointStore, ResumeError
from training.loop.distributed import SINGLE_PROCESS, Processes
from training.loop.schedules import CosineSchedule, Schedule
from training.loop.tensorboard import NULL_WRITER, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Generator, Tensor

    from training.loop.batch import TrainingBatch
    from training.loop.tensorboard import Picture

    Weights = dict[str, Tensor]

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
LOSS_SMOOTHING = 0.02  # weight of the newest loss in the running mean
VALIDATION_SEED = 1
BEST = "best.safetensors"  # beside the checkpoints


class LossError(InputError):
    """A loss that is NaN or infinite."""


@dataclass(frozen=True)
class LoopConfig:
    """Length, optimiser and averaging of a run. With `minutes` the schedule follows the clock."""

    steps: int = 1000
    minutes: float | None = None
    schedule: Schedule = field(default_factory=lambda: CosineSchedule(1e-3))
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float | None = None  # largest gradient norm
    average: float = 0.0  # decay of the averaged weights, which are published; 0 averages nothing
    accumulate: int = 1  # micro-batches in the share of one process
    save_seconds: float = 60.0  # between checkpoints
    keep: int = 3  # checkpoints
    log_steps: int = 50
    log_seconds: float = 60.0  # a slow run logs at least this often
    validate_steps: int = 0  # between validations; 0 turns them off
    validate_draws: int = 4  # validation batches
    preview_minutes: float = 10.0  # between previews; 0 turns them off
    publish: Literal["last", "best"] = "last"  # which averaged weights the person directory gets
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


def no_update(_batch: TrainingBatch, _generator: Generator) -> None:
    """The update of networks that learn by gradient only."""


@dataclass(frozen=True)
class Training:
    """A network with the functions that the loop calls."""

    model: nn.Module
    sample: Callable[[Generator], TrainingBatch]  # the global batch of a step, on the CPU
    losses: Callable[[TrainingBatch], dict[str, Tensor]]  # minimises "loss", logs the others
    publish: Callable[[Weights, Path], None]
    update: Callable[[TrainingBatch, Generator], None] = no_update  # changes without gradient
    sample_validation: Callable[[Generator], TrainingBatch] | None = None


@dataclass
class Progress:
    """Progress of a run, saved in its checkpoints."""

    step: int = 0
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)  # running means
    best: float = math.inf  # validation loss
    best_step: int = 0

    def share(self, config: LoopConfig) -> float:
        """Completed fraction of the run; 1 or more when it is complete."""
        if config.minutes is not None:
            return self.seconds / (60 * config.minutes)
        return self.step / config.steps


class LossModule(nn.Module):
    """Losses as a module, which DistributedDataParallel needs to synchronise gradients."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self.network = training.model
        self._losses = training.losses

    def forward(self, batch: TrainingBatch) -> dict[str, Tensor]:
        return self._losses(batch)


class Run:
    """A network in training, with everything that a checkpoint stores."""

    def __init__(
        self,
        training: Training,
        config: LoopConfig,
        *,
        device: torch.device = CPU,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        """Start at step 0; each process seeds its dropout differently."""
        torch.manual_seed(config.seed + processes.rank)
        self.training, self.config = training, config
        self.device, self.processes = device, processes
        self.model = training.model.to(device).train()
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.trained = trained
        tensors = self.model.state_dict()
        self.untrained = [value for name, value in tensors.items() if name not in trained]
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
        self.clipped_norm: Tensor | None = None  # norm before clipping
        self.step: nn.Module = LossModule(training)
        if processes.count > 1:
            self.step = DistributedDataParallel(
                self.step,
                device_ids=[device.index] if device.type == "cuda" else None,
            )

    @property
    def gradient_norm(self) -> Tensor:
        """Gradient norm of the last step before clipping, computed on demand."""
        if self.clipped_norm is not None:
            return self.clipped_norm
        gradients = [p.grad for p in self.trained.values() if p.grad is not None]
        return nn.utils.get_total_norm(gradients)

    @property
    def averaged(self) -> Weights:
        """Weights of the network, averaged where they are trained by gradient."""
        return {**self.model.state_dict(), **self.averages}

    def checkpoint(self) -> dict[str, Any]:
        """Content of a checkpoint. Every process must call this: it gathers their random states."""
        self.average_losses()
        return {
            "model": self.model.state_dict(),
            "averages": self.averages,
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "random": self.processes.gather(torch.get_rng_state()),
            "random_cuda": self._gather_cuda_states(),
            "losses": self.processes.gather(torch.tensor([*map(float, self.losses.values())])),
            "progress": asdict(self.progress),
        }

    def _gather_cuda_states(self) -> list[Tensor]:
        if self.device.type != "cuda":
            return []
        return self.processes.gather(torch.cuda.get_rng_state(self.device))

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Resume from a checkpoint.

        A process beyond those in the checkpoint keeps its newly seeded dropout.
        Raises: ResumeError: when the checkpoint belongs to a network of other sizes.
        """
        try:
            self.model.load_state_dict(checkpoint["model"])
            self.optimiser.load_state_dict(checkpoint["optimiser"])
        except (RuntimeError, ValueError) as error:
            raise ResumeError(
                "the checkpoint belongs to a network of other sizes; resume with the recipe it was "
                "started with, or start again with another --work"
            ) from error
        for name, value in self.averages.items():
            value.copy_(checkpoint["averages"].get(name, checkpoint["model"][name]))
        self.generator.set_state(checkpoint["generator"])
        rank = self.processes.rank
        if rank < len(checkpoint["random"]):
            torch.set_rng_state(checkpoint["random"][rank])
        if self.device.type == "cuda" and rank < len(checkpoint["random_cuda"]):
            torch.cuda.set_rng_state(checkpoint["random_cuda"][rank], self.device)
        self.progress = Progress(**checkpoint["progress"])
        losses = list(self.progress.losses.values())
        if rank < len(own := checkpoint.get("losses", ())):
            losses = own[rank].tolist()
        self.losses = {
            name: torch.tensor(value, device=self.device)
            for name, value in zip(self.progress.losses, losses, strict=True)
        }

    def average_losses(self) -> None:
        """Average the running means over all processes.

        Raises: LossError: when a loss is NaN or infinite.
        """
        names = list(self.losses)
        values = self.processes.mean([float(self.losses[name]) for name in names])
        self.progress.losses = dict(zip(names, values, strict=True))
        for name, value in self.progress.losses.items():
            if not math.isfinite(value):
                raise LossError(
                    f"{name} is {value} at step {self.progress.step}: the run stops, earlier "
                    "checkpoints are intact; a lower rate or a clip may help"
                )

    def record_losses(self, losses: dict[str, Tensor]) -> None:
        """Add the losses of a step to the running means, without waiting for the device."""
        for name, value in losses.items():
            before = self.losses.get(name, value)
            self.losses[name] = before.lerp(value, LOSS_SMOOTHING)

    @contextmanager
    def with_averages(self) -> Iterator[None]:
        """Inside, the network has averaged weights and is in eval mode; all is restored after."""
        current = {name: self.trained[name].detach().clone() for name in self.averages}
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            torch.manual_seed(VALIDATION_SEED)
            self._load_weights(self.averages)
            self.model.eval()
            try:
                yield
            finally:
                self.model.train()
                self._load_weights(current)

    def _load_weights(self, weights: Weights) -> None:
        for name, value in weights.items():
            self.trained[name].data.copy_(value)


def train(
    training: Training,
    config: LoopConfig,
    *,
    checkpoints: CheckpointStore,
    publish: Callable[[Weights, Progress], None],
    device: torch.device = CPU,
    processes: Processes = SINGLE_PROCESS,
    writer: Writer = NULL_WRITER,
    preview: Callable[[], Picture] | None = None,
) -> Progress:
    """Train from the latest checkpoint, or from the start without one.

    publish: called with the averaged weights after each checkpoint and at the end.
    preview: called for a picture of the averaged network at the interval of the config.
    SIGINT and SIGTERM end the run after the current step with a checkpoint; the same call resumes.
    Raises: ResumeError: when no checkpoint can be resumed. LossError: when a loss is not finite.
    """
    run = Run(training, config, device=device, processes=processes)
    if (checkpoint := checkpoints.latest_for(processes)) is not None:
        run.restore(checkpoint)
        _log(run, "resumed at step %d", run.progress.step)
    progress = run.progress
    pace = Pace(progress.step, progress.seconds)
    logs, saves, previews = (
        Interval(seconds, progress.seconds)
        for seconds in (config.log_seconds, config.save_seconds, 60 * config.preview_minutes)
    )
    done = progress.share(config) >= 1
    with stop_on_signals() as stopped:
        while not done:
            training_step(run)
            done = _synchronise(run, stopped=stopped()) or progress.share(config) >= 1
            if done or logs.due(progress.seconds) or progress.step % config.log_steps == 0:
                report(run, pace, writer)
            if config.validate_steps and progress.step % config.validate_steps == 0:
                validate(run, checkpoints.folder / BEST, writer)
            if not done and saves.due(progress.seconds):
                save_checkpoint(run, checkpoints, publish)
            if preview and config.preview_minutes and previews.due(progress.seconds):
                show_preview(run, preview, writer)
    save_checkpoint(run, checkpoints, publish)
    if progress.share(config) >= 1:
        _log(run, "done at step %d", progress.step)
    else:
        _log(run, "stopped at step %d; the same command resumes from there", progress.step)
    return progress


def training_step(run: Run) -> None:
    """Sample a batch, then train on the share of this process in micro-batches."""
    started = time.monotonic()
    config, processes, progress, training = run.config, run.processes, run.progress, run.training
    for group in run.optimiser.param_groups:
        group["lr"] = config.schedule.at(progress.step, progress.share(config))
    run.optimiser.zero_grad(set_to_none=True)
    batch = training.sample(run.generator)
    parts = batch.parts(processes.count * config.accumulate)
    own = parts[processes.rank * config.accumulate :][: config.accumulate]
    totals: dict[str, Tensor] = {}
    for number, part in enumerate(own, start=1):
        weight = processes.count * len(part) / len(batch)  # the mean weights all samples equally
        with _no_gradient_sync(run) if number < len(own) else nullcontext():
            losses = run.step(part.to(run.device))
            torch.autograd.backward(losses["loss"] * weight)
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + value.detach() * weight
    training.update(batch, run.generator)
    processes.broadcast(run.untrained)  # the order of sums on a GPU varies
    if config.clip is not None:
        run.clipped_norm = nn.utils.clip_grad_norm_(run.trained.values(), config.clip)
    run.optimiser.step()
    average_weights(run)
    run.record_losses(totals)
    progress.step += 1
    progress.seconds += time.monotonic() - started


def _no_gradient_sync(run: Run) -> Any:
    """Inside, each process accumulates gradients without synchronising them."""
    step = run.step
    return step.no_sync() if isinstance(step, DistributedDataParallel) else nullcontext()


def _synchronise(run: Run, *, stopped: bool) -> bool:
    """Set the clocks of all processes to the slowest; True when any of them was stopped."""
    run.progress.seconds, stop = run.processes.maximum([run.progress.seconds, float(stopped)])
    return stop > 0


@torch.no_grad()
def average_weights(run: Run) -> None:
    """Exponential moving average of the weights, with a shorter window in the first steps.

    AveragedModel of torch copies the weights at its first update and stores whole modules, which
    would change the numbers of a run and the format of its checkpoints.
    """
    step = run.progress.step
    decay = min(run.config.average, (1 + step) / (10 + step))
    for name, average in run.averages.items():
        average.lerp_(run.trained[name], 1 - decay)


@dataclass
class Interval:
    """Timer over the seconds of a run."""

    seconds: float
    last: float

    def due(self, now: float) -> bool:
        """Return True once the interval has passed, and start the next one."""
        if now - self.last < self.seconds:
            return False
        self.last = now
        return True


@dataclass(frozen=True)
class Pace:
    """Start of this process's part of the run, from which rates are computed."""

    step: int
    seconds: float

    def rate(self, progress: Progress) -> float:
        """Steps per second."""
        return (progress.step - self.step) / max(1e-9, progress.seconds - self.seconds)

    def left(self, progress: Progress, config: LoopConfig) -> float:
        """Remaining seconds."""
        if config.minutes is not None:
            return 60 * config.minutes - progress.seconds
        return (config.steps - progress.step) / max(1e-9, self.rate(progress))


def report(run: Run, pace: Pace, writer: Writer) -> None:
    """Write the losses to the log and to TensorBoard.

    Raises: LossError: when a loss is NaN or infinite.
    """
    run.average_losses()
    progress, config = run.progress, run.config
    rate = pace.rate(progress)
    of = f"of {config.steps}" if config.minutes is None else f"of {config.minutes:g} min"
    _log(
        run,
        "step %d %s (%.0f %%)  %s  %.2f steps/s  %s left",
        progress.step,
        of,
        100 * progress.share(config),
        "  ".join(f"{name} {value:.4f}" for name, value in progress.losses.items()),
        rate,
        format_duration(pace.left(progress, config)),
    )
    if run.processes.is_main:
        own = {"rate": run.optimiser.param_groups[0]["lr"], "steps_per_second": rate}
        norm = {"gradient_norm": float(run.gradient_norm)}
        losses = {f"loss/{name}": value for name, value in progress.losses.items()}
        writer.scalars(progress.step, {**losses, **own, **norm})


def format_duration(seconds: float) -> str:
    """Format a duration: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def validate(run: Run, best: Path, writer: Writer) -> None:
    """Validate the averaged network on the same batches each time, and store the best weights."""
    sample = run.training.sample_validation
    if sample is None or not run.processes.is_main:
        return
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    with run.with_averages():
        batches = [sample(generator) for _ in range(run.config.validate_draws)]
        losses = [run.training.losses(batch.to(run.device))["loss"] for batch in batches]
    loss, progress = float(torch.stack(losses).mean()), run.progress
    better = loss < progress.best
    note = "the best so far" if better else f"best {progress.best:.4f} at step {progress.best_step}"
    logger.info("validation %.4f at step %d, %s", loss, progress.step, note)
    writer.scalars(progress.step, {"loss/validation": loss})
    if better:
        progress.best, progress.best_step = loss, progress.step
        run.training.publish(run.averaged, best)


def save_checkpoint(
    run: Run, checkpoints: CheckpointStore, publish: Callable[[Weights, Progress], None]
) -> None:
    """Save a checkpoint, then publish the averaged weights."""
    checkpoint = run.checkpoint()  # collective call of all processes
    if run.processes.is_main:
        checkpoints.save(run.progress.step, checkpoint)
        publish(run.averaged, run.progress)


def show_preview(run: Run, preview: Callable[[], Picture], writer: Writer) -> None:
    """Render a preview of the averaged network."""
    if run.processes.is_main:
        with run.with_averages():
            picture = preview()
        writer.picture(run.progress.step, picture)


def compile_layers(model: nn.Module, *, backend: str = "inductor") -> None:
    """Compile the transformer layers in place with torch.compile; names of weights stay.

    Layer by layer, because layers of the same shape share one compilation.
    """
    for module in model.modules():
        if isinstance(module, (DecoderLayer, EncoderLayer)):
            module.compile(backend=backend)


def _log(run: Run, message: str, *values: object) -> None:
    if run.processes.is_main:
        logger.info(message, *values)


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Inside, SIGINT and SIGTERM only set a flag; the previous handlers are restored after.

    Ray Train runs the loop in a thread, which receives no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    caught: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda n, _frame: caught.append(n)) for number in signals]
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
