"""Benchmark of a training step against a plain implementation: `python -m bench training`.

It measures CPU seconds of a step of the face and of the body denoiser, at the released sizes, for
the training loop and for a plain loop, with the same weights and the same batch in the same run,
and compares the two losses. The plain loop works like the reference: each step computes the
features of its windows (speech, for the face also lips), then runs the network a second time
without gradient, with the features computed again, for a logged value. Our loop reads features that
were computed once per scene; their cost has its own column.

Every choice favours the plain loop: its cheapest step is compared with our mean step, and its
second pass computes only the losses.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.motion import RELEASED, TOLERANCE, Sizes
from bench.timing import Cost, Report, report_on, timed, write_json
from contracts.errors import InputError
from models.motion.lips import LipRegressor, lip_geometry, lip_rows
from models.motion.speech import SAMPLES_PER_FRAME, ConvSpeech
from training.commands.options import device_name, output_file, positive_int
from training.data.scenes import Scene
from training.loop.loop import Run, training_step
from training.networks.recipes import Recipe, Windows, read_recipe
from training.networks.trainers import Split, body_training, face_training

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.loop.batch import TrainingBatch
    from training.loop.loop import Training

    Extract = Callable[[Tensor], Tensor]  # normalised audio [B, n, 2] -> features [B, L, A]

PARTS = ("face", "body")
FEWEST_FRAMES = 60


@dataclass(frozen=True)
class Plan:
    """Amount of work to measure."""

    frames: int = 600  # per window
    batch: int = 1
    plain_steps: int = 1
    our_steps: int = 3

    def __post_init__(self) -> None:
        if self.frames < FEWEST_FRAMES or self.frames > 600:
            raise InputError(f"frames must be {FEWEST_FRAMES} to 600, got {self.frames}")


@dataclass(frozen=True)
class Row:
    """Costs and losses of a step of one network, for both loops."""

    part: str
    batch: int
    frames: int
    ours: Cost
    plain: Cost
    times: float
    features: Cost  # ours, once per scene, for the audio of one batch
    paid_after: float  # passes over a scene after which its features have paid off
    loss: float
    plain_loss: float
    agrees: bool


class PlainLoop:
    """The reference's training loop, with the same network, losses and optimiser."""

    def __init__(self, run: Run, extract: Extract, audio: Tensor) -> None:
        """audio: the windows of the batch, [B, n, 2]."""
        self.run, self.extract, self.audio = run, extract, audio

    def step(self, batch: TrainingBatch) -> Tensor:
        """Update the network once and return the loss."""
        run = self.run
        losses = run.training.losses(self._with_features(batch))
        run.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(losses["loss"])
        with torch.no_grad():  # the reference logs this loss
            run.training.losses(self._with_features(batch))
        run.optimiser.step()
        return losses["loss"].detach()

    @torch.no_grad()
    def _with_features(self, batch: TrainingBatch) -> TrainingBatch:
        return replace(batch, rows={**batch.rows, "features": self.extract(self.audio)})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m bench training`."""
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--frames", type=_frames, default=Plan.frames, help="per window")
    parser.add_argument("--batch", type=positive_int, default=Plan.batch)
    parser.add_argument(
        "--steps", type=positive_int, default=Plan.plain_steps, help="of the plain loop"
    )
    parser.add_argument("--threads", type=positive_int, default=1)
    parser.add_argument("--device", type=device_name, default="cpu")
    parser.add_argument(
        "--json", type=output_file, metavar="PATH", help="JSON report; - for stdout"
    )


def _frames(text: str) -> int:
    frames = positive_int(text)
    if not FEWEST_FRAMES <= frames <= 600:
        raise argparse.ArgumentTypeError(f"must be {FEWEST_FRAMES} to 600, got {frames}")
    return frames


def run(arguments: argparse.Namespace) -> None:
    """Print the table. Raises: SystemExit: when the two loops compute different losses."""
    torch.set_num_threads(arguments.threads)
    plan = Plan(arguments.frames, arguments.batch, arguments.steps)
    report = measure(RELEASED, arguments.part, plan, device=torch.device(arguments.device))
    print(table(report))
    write_json(report, arguments.json)
    if different := [row.part for row in report.rows if not row.agrees]:
        raise SystemExit(f"the two loops compute different losses: {', '.join(different)}")


def measure(sizes: Sizes, parts: list[str], plan: Plan, *, device: torch.device) -> Report[Row]:
    """Measure each part."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        extractor = FeatureExtractor(sizes).to(device).eval()
        rows = [_row(part, sizes, extractor, plan, device) for part in parts]
    return report_on(device, rows)


class FeatureExtractor(nn.Module):
    """The frozen speech and lip networks."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.speech, self.lips = ConvSpeech(sizes.speech), LipRegressor(sizes.lips)

    @torch.no_grad()
    def for_face(self, audio: Tensor) -> Tensor:
        """Return speech and lip features: [B, n, 2] -> [B, L, A]."""
        features = self.speech(audio)
        rows = lip_rows(lip_geometry(self.lips, audio), features.shape[1])
        return torch.cat([features, rows], dim=-1)

    @torch.no_grad()
    def for_body(self, audio: Tensor) -> Tensor:
        """Return speech features: [B, n, 2] -> [B, L, A]."""
        return self.speech(audio)


def _row(
    part: str, sizes: Sizes, extractor: FeatureExtractor, plan: Plan, device: torch.device
) -> Row:
    extract = extractor.for_face if part == "face" else extractor.for_body
    generator = torch.Generator().manual_seed(1)
    samples = plan.frames * SAMPLES_PER_FRAME
    audio = torch.randn(plan.batch, samples, 2, generator=generator).to(device)
    features = timed(lambda: extract(audio))
    recipe = _recipe(part, sizes, plan)
    training = _training(part, recipe, features.result.cpu(), generator)
    run = Run(training, recipe.loop, device=device)
    batch = training.sample(torch.Generator().manual_seed(recipe.loop.seed))
    batch = replace(batch, rows={**batch.rows, "features": features.result.cpu()}).to(device)
    with torch.no_grad():
        first = float(training.losses(batch)["loss"])
    plain = PlainLoop(run, extract, audio)
    plain_loss = float(plain.step(batch))
    ours = timed(lambda: training_step(run), repeats=plan.our_steps).cost
    theirs = [timed(lambda: plain.step(batch)).cost for _ in range(plan.plain_steps)]
    cheapest = min(theirs, key=lambda cost: cost.cpu)
    saved = cheapest.cpu - ours.cpu
    return Row(
        part=part,
        batch=plan.batch,
        frames=plan.frames,
        ours=ours,
        plain=cheapest,
        times=cheapest.wall / ours.wall if device.type == "cuda" else cheapest.cpu / ours.cpu,
        features=features.cost,
        paid_after=features.cost.cpu / saved,
        loss=first,
        plain_loss=plain_loss,
        agrees=abs(first - plain_loss) < TOLERANCE * abs(first),
    )


def _recipe(part: str, sizes: Sizes, plan: Plan) -> Recipe:
    """Return the released settings without dropout, so both loops run the same network."""
    released = read_recipe(part, "released")
    return replace(
        released,
        network=replace(sizes.face if part == "face" else sizes.body, dropout=0.0),
        windows=(Windows(plan.frames, plan.batch),),
        tail_dropout=0.0,
        loop=replace(released.loop, log_steps=1000),
    )


def _training(part: str, recipe: Recipe, features: Tensor, generator: torch.Generator) -> Training:
    """Return training over scenes of one window each."""
    channels = recipe.network.channels  # type: ignore[union-attr]
    frames = recipe.windows[0].frames
    scenes = [
        Scene(
            f"scene-{place}",
            rows,
            torch.randn(frames, channels, generator=generator),
            torch.ones(frames),
        )
        for place, rows in enumerate(features)
    ]
    make = face_training if part == "face" else body_training
    return make(recipe, Split(scenes))


def table(report: Report[Row]) -> str:
    """Return the report as text."""
    columns = ("ours", "plain", "plain / ours", "features, once")
    head = f"{'':6} {'batch':16}" + "".join(f"{name:>20}" for name in columns)
    note = "CPU seconds of a step (wall clock in brackets). Features: the audio of one batch, once."
    lines = [_line(row) for row in report.rows]
    return "\n".join([report.title("training"), note, "", head, *lines, ""])


def _line(row: Row) -> str:
    cells = [str(row.ours), str(row.plain), f"{row.times:.1f} x", str(row.features)]
    figures = f"{row.part:6} {f'{row.batch} x {row.frames} frames':16}" + "".join(
        f"{cell:>20}" for cell in cells
    )
    return (
        f"{figures}\n{'':7}loss {row.loss:.5f} and {row.plain_loss:.5f}; features pay off after "
        f"{row.paid_after:.2f} passes"
    )
