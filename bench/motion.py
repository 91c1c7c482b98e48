"""Measures the motion networks against the plain order of work: `python -m bench motion`.

CPU seconds for a denoising step, a token of the guide and a whole clip, by the code that the
worker runs and by `bench/plain.py`, with the same random weights of the released sizes in the same
run; and whether both gave the same numbers. What ours does once a clip is told apart and counted.

Wherever there is a choice, it is for the plain path: its step is the cheapest of those measured,
ours the mean.

Letters: n samples at 48 kHz, T frames, K key poses, S tokens, L rows of speech, A their width.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor

from bench import plain
from models.motion.denoiser import BODY, FACE, KEY_FRAMES, BodyDenoiser, Denoiser
from models.motion.diffusion import guided, schedule_for
from models.motion.guide import Guide, GuideConfig, generate
from models.motion.lips import LipConfig, LipRegressor, lip_geometry, lip_rows
from models.motion.pipeline import Animator, Networks, Sampling, denoising
from models.motion.speech import FRAME_RATE, SAMPLES_PER_FRAME, ConvSpeech, ConvSpeechConfig
from models.motion.statistics import LENGTHS, Statistics
from models.motion.tokenizer import Tokenizer, TokenizerConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from models.motion.denoiser import Condition, DenoiserConfig
    from models.motion.diffusion import Denoise

Result = TypeVar("Result")

PARTS = ("face", "body", "guide", "clip")
SHORTEST, LONGEST = 4.0, 20.0  # seconds that the released networks take unpadded
WHOLE_SECONDS = 4.0  # longer clips of ours are added up from their parts
GUIDANCE_FACE, GUIDANCE_BODY = 10.0, 2.0
DIVERSITY = 0.97
GREEDY = 1e-6  # a top-p that leaves the best token only
TOLERANCE = 1e-3  # of the spread


@dataclass(frozen=True)
class Sizes:
    """The networks that are measured."""

    speech: ConvSpeechConfig
    lips: LipConfig
    face: DenoiserConfig
    body: DenoiserConfig
    guide: GuideConfig
    tokenizer: TokenizerConfig


RELEASED = Sizes(ConvSpeechConfig(), LipConfig(), FACE, BODY, GuideConfig(), TokenizerConfig())


@dataclass(frozen=True)
class Plan:
    """How much is run."""

    plain_steps: int = 2  # that the plain path is measured over; the rest of a clip is multiplied
    our_repeats: int = 3  # of each of those steps
    clip_steps: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.plain_steps <= self.clip_steps:
            raise ValueError(f"plain_steps must be 1 to {self.clip_steps}, got {self.plain_steps}")


@dataclass(frozen=True)
class Cost:
    """Seconds."""

    cpu: float  # of all threads of the process
    wall: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.wall + other.wall)

    def __mul__(self, times: float) -> Cost:
        return Cost(self.cpu * times, self.wall * times)


NOTHING = Cost(0.0, 0.0)


@dataclass(frozen=True)
class Timed(Generic[Result]):
    """What came of some work, and what one run of it took."""

    result: Result
    cost: Cost


@dataclass(frozen=True)
class Clip:
    """A recording of noise."""

    seconds: float
    frames: int  # T
    sound: Tensor  # [1, n, 2]
    features: Tensor  # [1, L, A]
    features_cost: Cost


@dataclass(frozen=True)
class Row:
    """One part at one length, both ways."""

    part: str
    seconds: float
    unit: str  # what `ours` and `plain` are the cost of
    ours: Cost
    plain: Cost
    times: float  # how much cheaper ours is, by the unit
    units: int  # in a clip
    features: Cost  # ours, once a clip: the speech features, which all parts share
    once: Cost  # ours, once a clip: what else this part makes before its loop
    times_in_all: float  # how much cheaper a clip is, with all of that counted
    plain_units: int  # that were measured
    agrees: bool
    agreement: str  # how near the two results are


@dataclass(frozen=True)
class Report:
    """Everything that was measured."""

    device: str
    threads: int
    torch: str
    rows: list[Row]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be chosen on the command line."""
    parser.add_argument("--seconds", nargs="+", type=_clip_seconds, default=[4.0, 20.0])
    parser.add_argument(
        "--threads",
        type=_count,
        default=1,
        help="of torch; with more, waiting counts as work unless OMP_WAIT_POLICY is passive",
    )
    parser.add_argument(
        "--steps", type=_count, default=Plan.plain_steps, help="steps of each plain denoiser run"
    )
    parser.add_argument(
        "--part", nargs="+", choices=PARTS, default=PARTS, help="clip needs and shows all others"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, metavar="PATH", help="the same figures, - prints them")


def _clip_seconds(text: str) -> float:
    seconds = float(text)
    if not SHORTEST <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(
            f"the released networks take {SHORTEST:g} to {LONGEST:g} s, got {text}"
        )
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= Plan.clip_steps:
        raise argparse.ArgumentTypeError(f"must be 1 to {Plan.clip_steps}, got {text}")
    return count


def run(arguments: argparse.Namespace) -> None:
    """Prints the table; SystemExit says where the two paths gave different numbers."""
    torch.set_num_threads(arguments.threads)
    networks = build(RELEASED, torch.device(arguments.device))
    plan = Plan(plain_steps=arguments.steps)
    report = measure(networks, arguments.seconds, arguments.part, plan)
    print(table(report))
    if arguments.json == Path("-"):
        print(as_json(report))
    elif arguments.json:
        arguments.json.write_text(as_json(report), encoding="utf-8")
    if differing := apart(report):
        raise SystemExit(f"the two paths gave different numbers: {', '.join(differing)}")


def apart(report: Report) -> list[str]:
    """Where the two paths did not agree."""
    return [f"{row.part} of {row.seconds:g} s" for row in report.rows if not row.agrees]


def build(sizes: Sizes, device: torch.device) -> Networks:
    """Networks with random weights, the same each time; statistics change nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Networks(
            speech=ConvSpeech(sizes.speech).eval().to(device),
            lips=LipRegressor(sizes.lips).eval().to(device),
            face=Denoiser(sizes.face).eval().to(device),
            body=BodyDenoiser(sizes.body).eval().to(device),
            guide=Guide(sizes.guide).eval().to(device),
            tokenizer=Tokenizer(sizes.tokenizer).eval().to(device),
            statistics=_no_statistics(device),
        )


def _no_statistics(device: torch.device) -> Statistics:
    tensors = {
        name: torch.full((length,), float(name.endswith("std")), device=device)
        for name, length in LENGTHS.items()
    }
    return Statistics(**tensors, audio_std=1.0)


@torch.inference_mode()
def measure(
    networks: Networks, seconds: Iterable[float], parts: Iterable[str], plan: Plan
) -> Report:
    """Each part at each length. ValueError for a part that is not known."""
    wanted = set(parts)
    if unknown := wanted - set(PARTS):
        raise ValueError(f"no part is called {', '.join(sorted(unknown))}; known: {PARTS}")
    rows = [row for length in seconds for row in _measure_clip(networks, length, wanted, plan)]
    device = networks.statistics.code_mean.device.type
    return Report(device, torch.get_num_threads(), torch.__version__, rows)


def _measure_clip(networks: Networks, seconds: float, wanted: set[str], plan: Plan) -> list[Row]:
    clip = _clip(networks, seconds)
    measures = {"face": measure_face, "body": measure_body, "guide": measure_guide}
    rows = [
        work(networks, clip, plan)
        for part, work in measures.items()
        if part in wanted or "clip" in wanted
    ]
    return [*rows, measure_whole(networks, clip, rows, plan)] if "clip" in wanted else rows


def timed(work: Callable[[], Result], *, repeats: int = 1) -> Timed[Result]:
    """The last result, and the mean cost of the runs."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # nothing was left undone before: all work is timed by this
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Timed(result, Cost(cpu, wall) * (1 / repeats))


def _clip(networks: Networks, seconds: float) -> Clip:
    frames = round(seconds * FRAME_RATE)
    generator = torch.Generator().manual_seed(1)
    sound = torch.randn(1, frames * SAMPLES_PER_FRAME, 2, generator=generator)
    sound = sound.to(networks.statistics.code_mean.device)
    features = timed(lambda: networks.speech(sound))
    return Clip(seconds, frames, sound, features.result, features.cost)


def measure_face(networks: Networks, clip: Clip, plan: Plan) -> Row:
    """A guided step of the face, after lips, tokens, and keys and values of the clip."""
    assert networks.lips is not None
    network, lips = networks.face, networks.lips

    def prepare() -> Condition:
        rows = lip_rows(lip_geometry(lips, clip.sound), clip.features.shape[1])
        tokens = network.tokens(torch.cat([clip.features, rows], dim=-1))
        return network.guided_condition(tokens, clip.frames)

    once = timed(prepare)
    ours = guided(denoising(network, once.result), GUIDANCE_FACE)
    other = partial(plain.face_step, networks, clip.sound, scale=GUIDANCE_FACE)
    x = _noise(clip, network.config.channels)
    return _step_row("face", clip, once.cost, _measure_steps(ours, other, x, plan), plan)


def measure_body(networks: Networks, clip: Clip, plan: Plan) -> Row:
    """A guided step of the body, after tokens, and keys and values of clip and key poses."""
    network = networks.body
    keys = _noise(clip, network.config.channels)[:, ::KEY_FRAMES]

    def prepare() -> Condition:
        condition = network.guided_condition(network.tokens(clip.features), clip.frames)
        return network.with_keys(condition, network.guided_key_tokens(keys))

    once = timed(prepare)
    ours = guided(denoising(network, once.result), GUIDANCE_BODY)
    other = partial(plain.body_step, networks, clip.sound, keys, scale=GUIDANCE_BODY)
    x = _noise(clip, network.config.channels)
    return _step_row("body", clip, once.cost, _measure_steps(ours, other, x, plan), plan)


def _noise(clip: Clip, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(1, clip.frames, channels, generator=generator).to(clip.sound.device)


@dataclass(frozen=True)
class _Steps:
    ours: Cost
    plain: Cost
    difference: float  # the largest
    spread: float  # standard deviation of the answers


def _measure_steps(ours: Denoise, other: Denoise, x: Tensor, plan: Plan) -> _Steps:
    """The same steps by both, spread over the process, each from the same noisy motion."""
    every = schedule_for(plan.clip_steps).timesteps
    chosen = every[:: -(len(every) // plan.plain_steps)][: plan.plain_steps]
    ours(x, every[-1])  # the first of a hundred steps also fills caches
    mine = [timed(partial(ours, x, t), repeats=plan.our_repeats) for t in chosen]
    theirs = [timed(partial(other, x, t)) for t in chosen]
    a, b = (torch.cat([one.result for one in side]) for side in (mine, theirs))
    mean = sum((one.cost for one in mine), NOTHING) * (1 / len(mine))
    cheapest = min((one.cost for one in theirs), key=lambda cost: cost.cpu)
    return _Steps(mean, cheapest, (a - b).abs().max().item(), b.std().item())


def _step_row(part: str, clip: Clip, once: Cost, steps: _Steps, plan: Plan) -> Row:
    share = steps.difference / steps.spread
    count = plan.clip_steps
    return Row(
        part=part,
        seconds=clip.seconds,
        unit="step",
        ours=steps.ours,
        plain=steps.plain,
        times=_times(clip, steps.plain, steps.ours),
        units=count,
        features=clip.features_cost,
        once=once,
        times_in_all=_times(
            clip, steps.plain * count, clip.features_cost + once + steps.ours * count
        ),
        plain_units=plan.plain_steps,
        agrees=share < TOLERANCE,
        agreement=f"largest difference {steps.difference:.1e}, {share:.1e} of the spread",
    )


def _times(clip: Clip, other: Cost, ours: Cost) -> float:
    """On a GPU the CPU only waits, so there it is the wall clock that counts."""
    return other.wall / ours.wall if clip.sound.is_cuda else other.cpu / ours.cpu


def measure_guide(networks: Networks, clip: Clip, plan: Plan) -> Row:
    """A token of the guide, all of them drawn by ours, and three by the plain path.

    The plain token costs more the more there are before it: the first, the middle and the last are
    weighed by Simpson's rule, which is exact for a cost that grows with the square.
    """
    guide, depth = networks.guide, networks.tokenizer.config.depth
    once = timed(lambda: guide.condition(clip.features))
    keys = -(-clip.frames // KEY_FRAMES)
    draw = partial(generate, guide, once.result, keys=keys, depth=depth, top_p=GREEDY)
    draw(generators=[torch.Generator()])
    drawn = timed(lambda: draw(generators=[torch.Generator()]))
    tokens = drawn.result.flatten(1)  # [1, S]
    count = tokens.shape[1]
    places = (0, count // 2, count - 1)
    theirs = [_plain_token(networks, clip, tokens[:, :place]) for place in places]
    first, middle, last = (one.cost for one in theirs)
    other = (first + middle * 4 + last) * (1 / 6)
    equal = sum(
        int(one.result.item() == tokens[0, place].item())
        for one, place in zip(theirs, places, strict=True)
    )
    ours = drawn.cost * (1 / count)
    return Row(
        part="guide",
        seconds=clip.seconds,
        unit="token",
        ours=ours,
        plain=other,
        times=_times(clip, other, ours),
        units=count,
        features=clip.features_cost,
        once=once.cost,
        times_in_all=_times(clip, other * count, clip.features_cost + once.cost + ours * count),
        plain_units=len(places),
        agrees=equal == len(places),
        agreement=f"{equal} of {len(places)} tokens equal",
    )


def _plain_token(networks: Networks, clip: Clip, before: Tensor) -> Timed[Tensor]:
    start = torch.full((1, 1), networks.guide.start, device=before.device)
    sequence = torch.cat([start, before], dim=1)
    generator = torch.Generator()
    return timed(
        lambda: plain.next_token(networks, clip.sound, sequence, top_p=GREEDY, generator=generator)
    )


def measure_whole(networks: Networks, clip: Clip, rows: list[Row], plan: Plan) -> Row:
    """Sound in, face and pose out, everything counted; `rows` are the three parts of the clip."""
    face, body, guide = rows
    tokens = torch.zeros(
        1,
        guide.units // networks.tokenizer.config.depth,
        networks.tokenizer.config.depth,
        dtype=torch.long,
        device=clip.sound.device,
    )
    decoding = timed(lambda: networks.tokenizer.decode(tokens)).cost
    other = sum((row.plain * row.units for row in rows), decoding)
    once = sum((row.once for row in rows), NOTHING)
    if clip.seconds <= WHOLE_SECONDS:
        ours, how = _animate(networks, clip, plan), "run whole"
    else:
        loops = sum((row.ours * row.units for row in rows), decoding)
        ours, how = clip.features_cost + once + loops, "the sum of its parts"
    times = _times(clip, other, ours)
    return Row(
        part="clip",
        seconds=clip.seconds,
        unit="clip",
        ours=ours,
        plain=other,
        times=times,
        units=1,
        features=clip.features_cost,
        once=once,
        times_in_all=times,
        plain_units=0,
        agrees=all(row.agrees for row in rows),
        agreement=(
            f"ours {how}; plain: measured {face.plain_units} of {face.units} steps of the face, "
            f"{body.plain_units} of {body.units} of the body, {guide.plain_units} of {guide.units} "
            "tokens"
        ),
    )


def _animate(networks: Networks, clip: Clip, plan: Plan) -> Cost:
    """As the worker calls it."""
    animator = Animator(networks, device=clip.sound.device)
    sampling = Sampling(
        seeds=(1,),
        steps=plan.clip_steps,
        guidance_face=GUIDANCE_FACE,
        guidance_body=GUIDANCE_BODY,
        diversity=DIVERSITY,
    )
    audio = clip.sound[0].cpu()
    return timed(lambda: animator.animate(audio, sampling)).cost


def table(report: Report) -> str:
    """The report for people."""
    threads = f"{report.threads} thread{'s' * (report.threads > 1)}"
    title = f"motion on {report.device}, {threads}, torch {report.torch}"
    columns = ("ours", "plain", "plain / ours", "once a clip", "in all")
    head = f"{'':13} {'unit':6}" + "".join(f"{name:>20}" for name in columns)
    notes = [
        "Seconds of CPU (wall in brackets). Once a clip: what ours makes before the loop, with the",
        "speech features that all parts share. In all: plain / ours for a clip with that counted.",
    ]
    return "\n".join([title, *notes, "", head, *(_line(row) for row in report.rows), ""])


def _line(row: Row) -> str:
    costs = [_seconds(cost) for cost in (row.ours, row.plain, row.features + row.once)]
    cells = [*costs[:2], f"{row.times:.1f} x", costs[2], f"{row.times_in_all:.1f} x"]
    name = f"{row.part} {row.seconds:g} s"
    figures = f"{name:13} {row.unit:6}" + "".join(f"{cell:>20}" for cell in cells)
    return f"{figures}\n{'':14}{row.agreement}"


def _seconds(cost: Cost) -> str:
    return f"{cost.cpu:.4g} ({cost.wall:.4g})"


def as_json(report: Report) -> str:
    """The report for programs."""
    return json.dumps(asdict(report), indent=1) + "\n"
