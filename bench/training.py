"""Measures a step of training against the reference's order of work: `python -m bench training`.

CPU seconds of a step of the face and of the body denoiser, at the released sizes, by the loop that
trains here and by a plain one, with the same weights and the same draw in the same run; and whether
both found the same loss. The plain step hears its windows again (speech features, for the face lips
too), and runs the network a second time without gradient, which hears once more, for a figure that
is only logged. Here features are made once for each scene; what that costs is told apart.

Wherever there is a choice, it is for the plain path: its step is the cheapest of those measured,
ours the mean, and its second pass has nothing to do but the pass.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.motion import RELEASED, TOLERANCE, Cost, Sizes, timed
from models.motion.lips import LipRegressor, lip_geometry, lip_rows
from models.motion.speech import SAMPLES_PER_FRAME, ConvSpeech
from training.data.scenes import Scene
from training.loop.loop import Run, one_step
from training.networks.recipes import Recipe, Windows, read_recipe
from training.networks.trainers import Split, body_training, face_training

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from training.loop.batch import TrainingBatch
    from training.loop.loop import Training

    Hear = Callable[[Tensor], Tensor]  # normalised sound [B, n, 2] -> features [B, L, A]

PARTS = ("face", "body")
FEWEST_FRAMES = 60


@dataclass(frozen=True)
class Plan:
    """How much is run."""

    frames: int = 600  # of a window
    batch: int = 1
    plain_steps: int = 1
    our_steps: int = 3

    def __post_init__(self) -> None:
        if self.frames < FEWEST_FRAMES or self.frames > 600:
            raise ValueError(f"frames must be {FEWEST_FRAMES} to 600, got {self.frames}")


@dataclass(frozen=True)
class Row:
    """A step of one network, both ways."""

    part: str
    batch: int
    frames: int
    ours: Cost
    plain: Cost
    times: float
    features: Cost  # ours, once for as much sound as one batch has
    paid_after: float  # passes over a scene until its features have cost less than the plain way
    loss: float
    plain_loss: float
    agrees: bool


@dataclass(frozen=True)
class Report:
    """Everything that was measured."""

    device: str
    threads: int
    torch: str
    rows: list[Row]


class PlainLoop:
    """The reference's order of work over the same network, losses and optimiser."""

    def __init__(self, run: Run, extract: Hear, sound: Tensor) -> None:
        """sound: of the windows that will be drawn, [B, n, 2]."""
        self.run, self.extract, self.sound = run, extract, sound

    def step(self, draw: TrainingBatch) -> Tensor:
        """One update; the loss."""
        run = self.run
        losses = run.training.losses(self._heard(draw))
        run.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(losses["loss"])
        with torch.no_grad():  # the bound, which is only logged
            run.training.losses(self._heard(draw))
        run.optimiser.step()
        return losses["loss"].detach()

    @torch.no_grad()
    def _heard(self, draw: TrainingBatch) -> TrainingBatch:
        return replace(draw, rows={**draw.rows, "features": self.extract(self.sound)})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be chosen on the command line."""
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--frames", type=int, default=Plan.frames, help="of a window")
    parser.add_argument("--batch", type=int, default=Plan.batch)
    parser.add_argument("--steps", type=int, default=Plan.plain_steps, help="of the plain loop")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, metavar="PATH", help="the same figures, - prints them")


def run(arguments: argparse.Namespace) -> None:
    """Prints the table; SystemExit says where the two found different losses."""
    torch.set_num_threads(arguments.threads)
    plan = Plan(arguments.frames, arguments.batch, arguments.steps)
    report = measure(RELEASED, arguments.part, plan, device=torch.device(arguments.device))
    print(table(report))
    if arguments.json == Path("-"):
        print(as_json(report))
    elif arguments.json:
        arguments.json.write_text(as_json(report), encoding="utf-8")
    if apart := [row.part for row in report.rows if not row.agrees]:
        raise SystemExit(f"the two loops found different losses: {', '.join(apart)}")


def measure(sizes: Sizes, parts: list[str], plan: Plan, *, device: torch.device) -> Report:
    """Each part."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ears = FeatureExtractor(sizes).to(device).eval()
        rows = [_row(part, sizes, ears, plan, device) for part in parts]
    return Report(device.type, torch.get_num_threads(), torch.__version__, rows)


class FeatureExtractor(nn.Module):
    """The frozen networks that hear."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.speech, self.lips = ConvSpeech(sizes.speech), LipRegressor(sizes.lips)

    @torch.no_grad()
    def for_face(self, sound: Tensor) -> Tensor:
        """[B, n, 2] -> [B, L, A], lips behind the speech."""
        features = self.speech(sound)
        rows = lip_rows(lip_geometry(self.lips, sound), features.shape[1])
        return torch.cat([features, rows], dim=-1)

    @torch.no_grad()
    def for_body(self, sound: Tensor) -> Tensor:
        """[B, n, 2] -> [B, L, A]."""
        return self.speech(sound)


def _row(part: str, sizes: Sizes, ears: FeatureExtractor, plan: Plan, device: torch.device) -> Row:
    extract = ears.for_face if part == "face" else ears.for_body
    generator = torch.Generator().manual_seed(1)
    sound = torch.randn(plan.batch, plan.frames * SAMPLES_PER_FRAME, 2, generator=generator).to(
        device
    )
    heard = timed(lambda: extract(sound))
    recipe = _recipe(part, sizes, plan)
    training = _training(part, recipe, heard.result.cpu(), generator)
    mine = Run(training, recipe.loop, device=device)
    draw = training.draw(torch.Generator().manual_seed(recipe.loop.seed))
    draw = replace(draw, rows={**draw.rows, "features": heard.result.cpu()}).to(device)
    with torch.no_grad():
        first = float(training.losses(draw)["loss"])
    plain = PlainLoop(mine, extract, sound)
    plain_loss = float(plain.step(draw))
    ours = timed(lambda: one_step(mine), repeats=plan.our_steps).cost
    theirs = [timed(lambda: plain.step(draw)).cost for _ in range(plan.plain_steps)]
    cheapest = min(theirs, key=lambda cost: cost.cpu)
    saved = cheapest.cpu - ours.cpu
    return Row(
        part=part,
        batch=plan.batch,
        frames=plan.frames,
        ours=ours,
        plain=cheapest,
        times=cheapest.wall / ours.wall if device.type == "cuda" else cheapest.cpu / ours.cpu,
        features=heard.cost,
        paid_after=heard.cost.cpu / saved,
        loss=first,
        plain_loss=plain_loss,
        agrees=abs(first - plain_loss) < TOLERANCE * abs(first),
    )


def _recipe(part: str, sizes: Sizes, plan: Plan) -> Recipe:
    """The released settings; dropout is off, so that both see the same network."""
    released = read_recipe(part, "released")
    return replace(
        released,
        network=replace(sizes.face if part == "face" else sizes.body, dropout=0.0),
        windows=(Windows(plan.frames, plan.batch),),
        tail_dropout=0.0,
        loop=replace(released.loop, log_steps=1000),
    )


def _training(part: str, recipe: Recipe, features: Tensor, generator: torch.Generator) -> Training:
    """Over scenes of one window each."""
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


def table(report: Report) -> str:
    """The report for people."""
    threads = f"{report.threads} thread{'s' * (report.threads > 1)}"
    title = f"training on {report.device}, {threads}, torch {report.torch}"
    columns = ("ours", "plain", "plain / ours", "features, once")
    head = f"{'':6} {'batch':16}" + "".join(f"{name:>20}" for name in columns)
    note = "Seconds of CPU for a step (wall in brackets). Features: of a batch's sound, before it."
    return "\n".join([title, note, "", head, *(_line(row) for row in report.rows), ""])


def _line(row: Row) -> str:
    cells = [_seconds(row.ours), _seconds(row.plain), f"{row.times:.1f} x", _seconds(row.features)]
    figures = f"{row.part:6} {f'{row.batch} x {row.frames} frames':16}" + "".join(
        f"{cell:>20}" for cell in cells
    )
    return (
        f"{figures}\n{'':7}loss {row.loss:.5f} and {row.plain_loss:.5f}; features are paid for "
        f"after {row.paid_after:.2f} passes"
    )


def _seconds(cost: Cost) -> str:
    return f"{cost.cpu:.4g} ({cost.wall:.4g})"


def as_json(report: Report) -> str:
    """The report for programs."""
    return json.dumps(asdict(report), indent=1) + "\n"
