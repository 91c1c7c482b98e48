"""Distillation: a student learns to sample in few calls what its teacher samples in many.

The teacher, with guidance, samples clips of a dataset once; its trajectories are kept on disk. The
student starts with the teacher's weights. In each step of training it makes all of its calls from
the noise of a trajectory, and each call learns the prediction that leads from where the calls
before it arrived to the trajectory again. So it also learns to correct its own errors.

Letters: B samples, S calls, T frames, C channels, L rows of features, A their width, K key poses.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from contracts.files import sha256_of
from models import checkpoint
from models.motion.denoiser import BodyDenoiser, Denoiser, DenoiserConfig
from models.motion.diffusion import (
    CLEANEST,
    even_in_log_snr,
    half_log_snr,
    log_snr_schedule_of,
)
from models.motion.pipeline import Sampling, take_generators
from models.motion.samplers.ddim import ddim_step
from models.motion.samplers.student import student_schedule
from models.motion.samplers.unipc import solve
from models.motion.sampling import SHORTEST_FRAMES
from training.loop.batch import TrainingBatch
from training.loop.loop import Training

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Generator

    from models.formats.dataset import SceneData
    from models.motion.diffusion import Denoise
    from models.motion.pipeline import Animator
    from models.motion.sampling import ClipFeatures

    Name = Literal["face", "body"]

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
LARGEST_GAIN = 1.2  # half log-SNR that the teacher gains with one call
VALIDATION = 20  # one of so many trajectories is for validation
# Weights of errors of positions and of their differences, each relative to its own spread.
ORDERS = (1.0, 0.5, 0.2, 0.1)
SMALLEST = 1e-6  # variance of a channel that stands still
ROUNDS = 3  # of fitting the spread of results
SPREAD = 1.0  # weight of errors of the spread of each channel, beside those of its values
NAMES: tuple[Name, ...] = ("face", "body")


@dataclass(frozen=True)
class DistillConfig:
    """Calls of a student, and the trajectories that it learns from."""

    calls: int = 4  # S
    clips: int = 600
    frames: tuple[int, ...] = (240, 240, 240, 600)  # lengths of clips, in turn
    batch: int = 4  # clips of the first length; longer ones are fewer
    seed: int = 10

    def __post_init__(self) -> None:
        if not 1 <= self.calls <= 4:
            raise ValueError(f"calls must be 1 to 4, got {self.calls}")
        if self.clips < 2:
            raise ValueError(f"clips must be at least 2, got {self.clips}")
        if min(self.frames) < SHORTEST_FRAMES:
            raise ValueError(f"frames must be at least {SHORTEST_FRAMES}, got {self.frames}")

    def length(self, number: int) -> int:
        """Return the frames of a clip."""
        return self.frames[number % len(self.frames)]


def teacher_timesteps(calls: int) -> tuple[int, ...]:
    """Return timesteps of an accurate solution, ascending, which contain those of a student."""
    ends = (CLEANEST, *student_schedule(calls).timesteps)
    levels = half_log_snr()
    timesteps: set[int] = set()
    for clean, noisy in pairwise(ends):
        gain = float(levels[clean] - levels[noisy])
        timesteps.update(even_in_log_snr(math.ceil(gain / LARGEST_GAIN) + 1, noisy, clean))
    return tuple(sorted(timesteps))


def trajectory(denoise: Denoise, noise: Tensor, calls: int) -> Tensor:
    """Return the signal at each call of a student, and the end: [N, T, C] -> [N, S + 1, T, C]."""
    schedule = log_snr_schedule_of(teacher_timesteps(calls))
    wanted = set(student_schedule(calls).timesteps)
    points = dict(zip(schedule.timesteps, solve(denoise, noise, schedule), strict=True))
    states = [x for t, (x, _) in points.items() if t in wanted]
    _, end = points[schedule.timesteps[-1]]
    return torch.stack([*states, end], dim=1)


def teacher_files(person: Path) -> dict[str, str]:
    """Return the digests of the networks that a student learns from."""
    return {name: sha256_of(person / f"{name}.safetensors") for name in NAMES}


class Trajectories:
    """Trajectories of a teacher on disk, made once; those that exist are kept."""

    def __init__(self, folder: Path, config: DistillConfig, facts: Mapping[str, Any]) -> None:
        """folder: of the files. facts: those of the teacher, without which a file is made again."""
        self._folder, self.config = folder, config
        self._facts = {**facts, **asdict(config)}
        del self._facts["clips"], self._facts["batch"]
        self._facts["frames"] = list(config.frames)

    def path(self, name: Name, number: int) -> Path:
        """Return the file of a clip."""
        return self._folder / f"{name}-{number:05d}.safetensors"

    def exists(self, number: int) -> bool:
        """Check for the files of a clip from this teacher."""
        try:
            return all(
                checkpoint.read_config(self.path(name, number)) == self._facts for name in NAMES
            )
        except checkpoint.CheckpointError:
            return False

    def write(self, number: int, tensors: Mapping[Name, Mapping[str, Tensor]]) -> None:
        """Write the files of a clip."""
        for name, rows in tensors.items():
            checkpoint.write(self.path(name, number), self._facts, rows)

    def read(self, name: Name, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Read clips of the same length as a batch: `features`, `states` and, of a body, `keys`."""
        read = [checkpoint.read(self.path(name, number), device=CPU)[1] for number in numbers]
        return {key: torch.stack([each[key] for each in read]) for key in read[0]}


@torch.inference_mode()
def sample_trajectories(
    animator: Animator,
    scenes: Sequence[SceneData],
    sampling: Sampling,
    trajectories: Trajectories,
) -> None:
    """Let the teacher sample all clips that do not exist yet.

    Raises: ValueError: when a scene is shorter than the longest clip.
    """
    config = trajectories.config
    for number in range(config.clips):
        if trajectories.exists(number):
            continue
        generator = torch.Generator().manual_seed(config.seed * 1_000_000 + number)
        scene = scenes[int(torch.randint(len(scenes), (1,), generator=generator))]
        frames = config.length(number)
        start = int(torch.randint(scene.frames - frames + 1, (1,), generator=generator))
        features = animator.extract(torch.from_numpy(scene.samples(start, start + frames)))
        seed = int(torch.randint(2**62, (1,), generator=generator))
        clip = _sample_clip(animator, features, replace(sampling, seeds=(seed,)), config.calls)
        trajectories.write(number, clip)
        if number % 10 == 9:
            logger.info("sampled %d of %d clips", number + 1, config.clips)


def _sample_clip(
    animator: Animator, features: ClipFeatures, sampling: Sampling, calls: int
) -> dict[Name, dict[str, Tensor]]:
    generators = take_generators(sampling)
    noise = animator.face_noise(features, generators)
    face = trajectory(animator.face_denoise(features, sampling), noise, calls)
    keys = animator.keys(features, sampling.diversity, generators)
    noise = animator.body_noise(features, generators)
    body = trajectory(animator.body_denoise(features, sampling)(keys), noise, calls)
    return {
        "face": {"features": features.with_lips[0], "states": face[0]},
        "body": {"features": features.speech[0], "states": body[0], "keys": keys[0]},
    }


@dataclass(frozen=True)
class Publish:
    """Writer of a student file."""

    network: DenoiserConfig
    calls: int
    guidance: float
    teacher: str  # digest of the teacher's file
    dtype: torch.dtype

    def __call__(self, weights: dict[str, Tensor], path: Path) -> None:
        """Write the weights."""
        facts = {
            "network": asdict(replace(self.network, dropout=0.0)),
            "steps": self.calls,
            "guidance": self.guidance,
            "teacher": self.teacher,
        }
        checkpoint.write(path, facts, weights, dtype=self.dtype)


def new_student(teacher: Denoiser) -> Denoiser:
    """Return a network with the weights of the teacher, without dropout, ready for training."""
    network = type(teacher)(replace(teacher.config, dropout=0.0))
    network.load_state_dict(teacher.state_dict())
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith("null_"))  # a student has all conditions
    return network


def distillation(
    name: Name, teacher: Denoiser, trajectories: Trajectories, publish: Publish
) -> Training:
    """Training of a student of the teacher."""
    config, network = trajectories.config, new_student(teacher)
    numbers = [number for number in range(config.clips) if number not in held_out(config)]

    def losses(batch: TrainingBatch) -> dict[str, Tensor]:
        return student_losses(network, batch, config.calls)

    def sample(numbers: Sequence[int], generator: Generator) -> TrainingBatch:
        first = numbers[int(torch.randint(len(numbers), (1,), generator=generator))]
        frames = config.length(first)
        alike = [number for number in numbers if config.length(number) == frames]
        count = max(1, config.batch * config.frames[0] // frames)
        drawn = torch.randint(len(alike), (count,), generator=generator).tolist()
        return TrainingBatch(trajectories.read(name, [alike[each] for each in drawn]))

    return Training(
        network,
        lambda generator: sample(numbers, generator),
        losses,
        publish,
        sample_validation=lambda generator: sample(held_out(config), generator),
    )


def held_out(config: DistillConfig) -> range:
    """Return the numbers of the clips that a student is not trained on."""
    return range(0, config.clips, VALIDATION)


def student_losses(network: Denoiser, batch: TrainingBatch, calls: int) -> dict[str, Tensor]:
    """Make all calls of a student, and compare each with what its trajectory needs."""
    loss = batch["states"].new_zeros(())
    for predicted, wanted in student_calls(network, batch, calls):
        loss = loss + call_loss(predicted, wanted) / calls
    # The last error is that of the student's result.
    return {"loss": loss, "end": (predicted.detach() - wanted).square().mean()}


def student_calls(
    network: Denoiser, batch: TrainingBatch, calls: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the prediction of each call and what its trajectory needs, both [B, T, C].

    No gradient passes from one call to another.
    """
    states = batch["states"]  # [B, S + 1, T, C]
    condition = network.condition(network.tokens(batch["features"]), states.shape[2])
    if isinstance(network, BodyDenoiser):
        condition = network.with_keys(condition, network.key_tokens(batch["keys"]))
    schedule, x = student_schedule(calls), states[:, 0]
    for call, step in enumerate(reversed(range(calls))):
        t = torch.full((len(states),), schedule.timesteps[step], device=x.device)
        predicted = network(x, t, condition)
        yield predicted, needed(x, states[:, call + 1], step, calls)
        x = ddim_step(x, predicted.detach(), schedule, step)


def call_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Return the loss of predictions, both [B, T, C].

    A plain square error is dominated by slow motion, so tremble costs little, and it is least for
    predictions that move less than what is wanted. So differences of frames count too, and for all
    of them the spread of each channel.
    """
    loss = predicted.new_zeros(())
    for order, weight in enumerate(ORDERS):
        own, true = (each.diff(dim=1, n=order) for each in (predicted, wanted))
        spread = _spread(true)
        errors = (own - true).square().mean() + SPREAD * (_spread(own) - spread).square().mean()
        loss = loss + weight * errors / spread.square().mean()
    return loss


def _spread(x: Tensor) -> Tensor:
    """Return the standard deviation of each channel: [B, T, C] -> [C]."""
    return (x.var(dim=(0, 1)) + SMALLEST).sqrt()  # with a gradient also where nothing moves


@torch.inference_mode()
def fit_spread(network: Denoiser, name: Name, trajectories: Trajectories) -> float:
    """Scale a student's predictions so that its results spread as those of the teacher.

    What the student cannot predict in clips that it was not trained on, it leaves out, and so moves
    less. One factor for all channels makes up for that, in the network's last layer. It comes from
    the trajectories for validation. Returns the factor.
    """
    config = trajectories.config
    device = network.motion_in.weight.device
    factor = 1.0
    for _ in range(ROUNDS):  # the last call starts where those before it arrive
        own, true, mean = [], [], []
        for number in held_out(config):
            rows = trajectories.read(name, [number])
            batch = TrainingBatch(rows).to(device)
            *_, (predicted, _) = student_calls(network, batch, config.calls)
            own.append(predicted.var(dim=1).mean())
            true.append(rows["states"][:, -1].var(dim=1).mean())
            mean.append(predicted.mean(dim=(0, 1)))
        change = float((torch.stack(true).mean() / torch.stack(own).mean().cpu()).sqrt())
        _scale_predictions(network, change, torch.stack(mean).mean(0))
        factor *= change
    return factor


def _scale_predictions(network: Denoiser, factor: float, mean: Tensor) -> None:
    """Scale the last layer's predictions around their mean [C]."""
    last = network.tail_out if isinstance(network, BodyDenoiser) else network.motion_out
    assert last.bias is not None
    last.weight.mul_(factor)
    last.bias.sub_(mean).mul_(factor).add_(mean)


def needed(x: Tensor, later: Tensor, step: int, calls: int) -> Tensor:
    """Return the prediction with which a step of DDIM leads from x to `later`, both [B, T, C]."""
    schedule = student_schedule(calls)
    alpha, previous = schedule.alphas_cumprod[step], schedule.previous[step]
    weight = previous.sqrt() - ((1 - previous) / (1 / alpha - 1)).sqrt()
    return (later - ddim_step(x, torch.zeros_like(x), schedule, step)) / float(weight)
