"""Benchmark of the motion networks against a plain implementation: `python -m bench motion`.

It measures CPU seconds of a denoising step, of a token of the guide and of a whole clip, for the
worker's code and for `bench/networks/plain.py`, with the same random weights of the released sizes
in the same run, and compares the numbers of both. Work that our code does once per clip has its own
column and counts in the total. The part `standard` is a whole clip with the 11 calls of that
quality, against the plain code with 100 steps.

Every choice favours the plain code: its cheapest step is compared with our mean step.

`--jobs 8` measures instead as many clips together against one after another, by the size of a
batch, with the networks of a person or with random ones of the released sizes.

Letters: n samples at 48 kHz, T frames, K key poses, S tokens, L rows of speech, A their width.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.networks import plain
from bench.networks.batches import BatchPlan, BatchRow, batch_table, measure_batches
from bench.timing import NO_COST, Cost, Report, Timed, report_on, timed, write_json
from contracts.person import read_manifest
from contracts.quality import REFERENCE, STANDARD
from models.motion.denoiser import BODY, FACE, KEY_FRAMES, BodyDenoiser, Denoiser
from models.motion.diffusion import guided, schedule_for
from models.motion.guide import Guide, GuideConfig, generate
from models.motion.lips import LipConfig, LipRegressor, lip_geometry, lip_rows
from models.motion.pipeline import Animator, Networks, Sampling, denoising, load_animator
from models.motion.speech import FRAME_RATE, SAMPLES_PER_FRAME, ConvSpeech, ConvSpeechConfig
from models.motion.statistics import LENGTHS, Statistics
from models.motion.tokenizer import Tokenizer, TokenizerConfig
from training.commands.options import device_name, output_file, positive_float, positive_int

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contracts.quality import Quality
    from models.motion.denoiser import Condition, DenoiserConfig
    from models.motion.diffusion import Denoise

PARTS = ("face", "body", "guide", "clip", "standard")
WHOLE_PARTS = {"clip", "standard"}  # they need the figures of the others
SHORTEST, LONGEST = 4.0, 20.0  # seconds of a clip that the released networks take unpadded
WHOLE_SECONDS = 4.0  # the cost of a longer clip is the sum of its parts
GUIDANCE_FACE, GUIDANCE_BODY = 10.0, 2.0
DIVERSITY = 0.97
GREEDY = 1e-6  # top-p that keeps only the best token
TOLERANCE = 1e-3  # of the standard deviation


@dataclass(frozen=True)
class Sizes:
    """Configs of the measured networks."""

    speech: ConvSpeechConfig
    lips: LipConfig
    face: DenoiserConfig
    body: DenoiserConfig
    guide: GuideConfig
    tokenizer: TokenizerConfig


RELEASED = Sizes(ConvSpeechConfig(), LipConfig(), FACE, BODY, GuideConfig(), TokenizerConfig())


@dataclass(frozen=True)
class Plan:
    """Amount of work to measure."""

    plain_steps: int = 2  # measured steps of the plain code, from which a clip is extrapolated
    our_repeats: int = 3  # of each of these steps
    clip_steps: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.plain_steps <= self.clip_steps:
            raise ValueError(f"plain_steps must be 1 to {self.clip_steps}, got {self.plain_steps}")


@dataclass(frozen=True)
class Clip:
    """A clip of random noise."""

    seconds: float
    frames: int  # T
    audio: Tensor  # [1, n, 2]
    features: Tensor  # [1, L, A]
    features_cost: Cost


@dataclass(frozen=True)
class Row:
    """Costs of one part at one clip length, for both implementations."""

    part: str
    seconds: float
    unit: str  # the work that `ours` and `plain` are the cost of
    ours: Cost
    plain: Cost
    times: float  # cost of one unit, plain / ours
    units: int  # per clip
    features: Cost  # ours, once per clip: speech features, shared by all parts
    once: Cost  # ours, once per clip: other preparation of this part before its loop
    times_in_all: float  # cost of a clip with all preparation, plain / ours
    plain_units: int  # measured units of the plain code
    agrees: bool
    agreement: str  # distance of the two results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m bench motion`."""
    parser.add_argument("--seconds", nargs="+", type=_clip_seconds, default=[4.0, 20.0])
    parser.add_argument(
        "--threads",
        type=positive_int,
        default=1,
        help="threads of torch; with more than one, waiting counts as CPU time unless "
        "OMP_WAIT_POLICY is passive",
    )
    parser.add_argument(
        "--steps", type=_count, default=Plan.plain_steps, help="measured steps of the plain code"
    )
    parser.add_argument(
        "--part",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        help="clip and standard measure and show face, body and guide, too",
    )
    parser.add_argument("--device", type=device_name, default="cpu")
    parser.add_argument(
        "--jobs", type=positive_int, help="measure so many clips of 10 s together instead"
    )
    parser.add_argument(
        "--person", type=Path, metavar="FOLDER", help="with --jobs: a person directory"
    )
    parser.add_argument(
        "--calls", type=_count, default=STANDARD.steps, help="with --jobs: calls of each denoiser"
    )
    parser.add_argument(
        "--repeats", type=positive_int, default=BatchPlan.repeats, help="with --jobs: of each size"
    )
    parser.add_argument(
        "--json", type=output_file, metavar="PATH", help="JSON report; - for stdout"
    )


def _clip_seconds(text: str) -> float:
    seconds = positive_float(text)
    if not SHORTEST <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(
            f"must be {SHORTEST:g} to {LONGEST:g} s, the range of the released networks, got {text}"
        )
    return seconds


def _count(text: str) -> int:
    count = positive_int(text)
    if count > Plan.clip_steps:
        raise argparse.ArgumentTypeError(f"must be 1 to {Plan.clip_steps}, got {text}")
    return count


def run(arguments: argparse.Namespace) -> None:
    """Print the table. Raises: SystemExit: when the two implementations differ."""
    torch.set_num_threads(arguments.threads)
    if arguments.jobs:
        report = measure_batches_of(arguments)
        print(batch_table(report))
        write_json(report, arguments.json)
        return
    networks = build(RELEASED, torch.device(arguments.device))
    plan = Plan(plain_steps=arguments.steps)
    steps = measure(networks, arguments.seconds, arguments.part, plan)
    print(table(steps))
    write_json(steps, arguments.json)
    if different := differences(steps):
        raise SystemExit(f"the two implementations differ: {', '.join(different)}")


def measure_batches_of(arguments: argparse.Namespace) -> Report[BatchRow]:
    """Measure clips together, with the sampler of the quality `standard`."""
    device = torch.device(arguments.device)
    person = arguments.person
    animator = (
        load_animator(person, device=device)
        if person
        else Animator(build(RELEASED, device), device=device)
    )
    defaults = read_manifest(person).defaults if person else {}
    sampling = Sampling(
        seeds=(1,),
        steps=arguments.calls,
        guidance_face=defaults.get("guidance_face", GUIDANCE_FACE),
        guidance_body=defaults.get("guidance_body", GUIDANCE_BODY),
        diversity=defaults.get("diversity", DIVERSITY),
        sampler="unipc",
    )
    plan = BatchPlan(jobs=arguments.jobs, repeats=arguments.repeats)
    return measure_batches(animator, person.name if person else "released", sampling, plan)


def differences(report: Report[Row]) -> list[str]:
    """Return the part and clip length of each row whose two results differ."""
    return [f"{row.part} of {row.seconds:g} s" for row in report.rows if not row.agrees]


def build(sizes: Sizes, device: torch.device) -> Networks:
    """Return networks with fixed random weights and statistics that change nothing."""
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
) -> Report[Row]:
    """Measure each part at each clip length. Raises: ValueError: when a part is unknown."""
    selected = set(parts)
    if unknown := selected - set(PARTS):
        raise ValueError(f"unknown part {', '.join(sorted(unknown))}; known parts: {PARTS}")
    rows = [row for length in seconds for row in _measure_clip(networks, length, selected, plan)]
    return report_on(networks.statistics.code_mean.device, rows)


def _measure_clip(networks: Networks, seconds: float, parts: set[str], plan: Plan) -> list[Row]:
    clip = _clip(networks, seconds)
    measures = {"face": measure_face, "body": measure_body, "guide": measure_guide}
    rows = [
        work(networks, clip, plan)
        for part, work in measures.items()
        if part in parts or WHOLE_PARTS & parts
    ]
    whole = {"clip": measure_whole, "standard": measure_standard}
    return [
        *rows,
        *(work(networks, clip, rows, plan) for part, work in whole.items() if part in parts),
    ]


def _clip(networks: Networks, seconds: float) -> Clip:
    frames = round(seconds * FRAME_RATE)
    generator = torch.Generator().manual_seed(1)
    audio = torch.randn(1, frames * SAMPLES_PER_FRAME, 2, generator=generator)
    audio = audio.to(networks.statistics.code_mean.device)
    features = timed(lambda: networks.speech(audio))
    return Clip(seconds, frames, audio, features.result, features.cost)


def measure_face(networks: Networks, clip: Clip, plan: Plan) -> Row:
    """Measure a guided step of the face; lips, tokens, keys and values are computed once."""
    assert networks.lips is not None
    network, lips = networks.face, networks.lips

    def prepare() -> Condition:
        rows = lip_rows(lip_geometry(lips, clip.audio), clip.features.shape[1])
        tokens = network.tokens(torch.cat([clip.features, rows], dim=-1))
        return network.guided_condition(tokens, clip.frames)

    once = timed(prepare)
    ours = guided(denoising(network, once.result), GUIDANCE_FACE)
    other = partial(plain.face_step, networks, clip.audio, scale=GUIDANCE_FACE)
    x = _noise(clip, network.config.channels)
    return _step_row("face", clip, once.cost, _measure_steps(ours, other, x, plan), plan)


def measure_body(networks: Networks, clip: Clip, plan: Plan) -> Row:
    """Measure a guided step of the body; tokens, keys and values are computed once."""
    network = networks.body
    keys = _noise(clip, network.config.channels)[:, ::KEY_FRAMES]

    def prepare() -> Condition:
        condition = network.guided_condition(network.tokens(clip.features), clip.frames)
        return network.with_keys(condition, network.guided_key_tokens(keys))

    once = timed(prepare)
    ours = guided(denoising(network, once.result), GUIDANCE_BODY)
    other = partial(plain.body_step, networks, clip.audio, keys, scale=GUIDANCE_BODY)
    x = _noise(clip, network.config.channels)
    return _step_row("body", clip, once.cost, _measure_steps(ours, other, x, plan), plan)


def _noise(clip: Clip, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(1, clip.frames, channels, generator=generator).to(clip.audio.device)


@dataclass(frozen=True)
class _Steps:
    ours: Cost
    plain: Cost
    difference: float  # the largest
    spread: float  # standard deviation of the predictions


def _measure_steps(ours: Denoise, other: Denoise, x: Tensor, plan: Plan) -> _Steps:
    """Run the same steps, spread over the schedule, with both, from the same noisy motion."""
    every = schedule_for(plan.clip_steps).timesteps
    chosen = every[:: -(len(every) // plan.plain_steps)][: plan.plain_steps]
    ours(x, every[-1])  # the first of a hundred steps also fills caches
    mine = [timed(partial(ours, x, t), repeats=plan.our_repeats) for t in chosen]
    theirs = [timed(partial(other, x, t)) for t in chosen]
    a, b = (torch.cat([one.result for one in side]) for side in (mine, theirs))
    mean = sum((one.cost for one in mine), NO_COST) * (1 / len(mine))
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
    """Return the ratio of CPU time, or of wall-clock time on a GPU, where the CPU only waits."""
    return other.wall / ours.wall if clip.audio.is_cuda else other.cpu / ours.cpu


def measure_guide(networks: Networks, clip: Clip, plan: Plan) -> Row:
    """Measure a token of the guide: all tokens with our code, three with the plain code.

    The cost of a plain token grows with the number of tokens before it. Simpson's rule over the
    first, the middle and the last one gives the mean; it is exact for quadratic growth.
    """
    guide, depth = networks.guide, networks.tokenizer.config.depth
    once = timed(lambda: guide.condition(clip.features))
    keys = -(-clip.frames // KEY_FRAMES)
    sample = partial(generate, guide, once.result, keys=keys, depth=depth, top_p=GREEDY)
    sample(generators=[torch.Generator()])
    sampled = timed(lambda: sample(generators=[torch.Generator()]))
    tokens = sampled.result.flatten(1)  # [1, S]
    count = tokens.shape[1]
    places = (0, count // 2, count - 1)
    theirs = [_plain_token(networks, clip, tokens[:, :place]) for place in places]
    first, middle, last = (one.cost for one in theirs)
    other = (first + middle * 4 + last) * (1 / 6)
    equal = sum(
        int(one.result.item() == tokens[0, place].item())
        for one, place in zip(theirs, places, strict=True)
    )
    ours = sampled.cost * (1 / count)
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
        lambda: plain.next_token(networks, clip.audio, sequence, top_p=GREEDY, generator=generator)
    )


def measure_whole(networks: Networks, clip: Clip, rows: list[Row], plan: Plan) -> Row:
    """Measure a whole clip, from audio to face and pose; `rows` are its three parts."""
    if clip.seconds <= WHOLE_SECONDS:
        sampling = _sampling(REFERENCE, plan.clip_steps)
        return _whole_row("clip", networks, clip, rows, _animate(networks, clip, sampling))
    loops = sum((row.ours * row.units for row in rows), _decoding(networks, clip, rows))
    ours = clip.features_cost + sum((row.once for row in rows), NO_COST) + loops
    return _whole_row("clip", networks, clip, rows, ours, "the sum of its parts")


def measure_standard(networks: Networks, clip: Clip, rows: list[Row], _plan: Plan) -> Row:
    """Measure a whole clip of the quality `standard`, against the plain code with 100 steps."""
    ours = _animate(networks, clip, _sampling(STANDARD, STANDARD.steps))
    row = _whole_row("standard", networks, clip, rows, ours)
    return replace(row, unit=f"{STANDARD.steps} calls")


def _whole_row(
    part: str,
    networks: Networks,
    clip: Clip,
    rows: list[Row],
    ours: Cost,
    how: str = "run whole",
) -> Row:
    face, body, guide = rows
    other = sum((row.plain * row.units for row in rows), _decoding(networks, clip, rows))
    times = _times(clip, other, ours)
    return Row(
        part=part,
        seconds=clip.seconds,
        unit="clip",
        ours=ours,
        plain=other,
        times=times,
        units=1,
        features=clip.features_cost,
        once=sum((row.once for row in rows), NO_COST),
        times_in_all=times,
        plain_units=0,
        agrees=all(row.agrees for row in rows),
        agreement=(
            f"ours {how}; plain: measured {face.plain_units} of {face.units} steps of the face, "
            f"{body.plain_units} of {body.units} of the body, {guide.plain_units} of {guide.units} "
            "tokens"
        ),
    )


def _decoding(networks: Networks, clip: Clip, rows: list[Row]) -> Cost:
    """Measure the decoding of as many tokens as the guide samples."""
    *_, guide = rows
    depth = networks.tokenizer.config.depth
    tokens = torch.zeros(1, guide.units // depth, depth, dtype=torch.long, device=clip.audio.device)
    return timed(lambda: networks.tokenizer.decode(tokens)).cost


def _sampling(quality: Quality, steps: int) -> Sampling:
    return Sampling(
        (1,), steps, GUIDANCE_FACE, GUIDANCE_BODY, DIVERSITY, quality.sampler,
        quality.guidance_until,
    )  # fmt: skip


def _animate(networks: Networks, clip: Clip, sampling: Sampling) -> Cost:
    """Measure the animation of a clip as the worker runs it."""
    animator = Animator(networks, device=clip.audio.device)
    audio = clip.audio[0].cpu()
    return timed(lambda: animator.animate(audio, sampling)).cost


def table(report: Report[Row]) -> str:
    """Return the report as text."""
    columns = ("ours", "plain", "plain / ours", "once a clip", "in all")
    head = f"{'':13} {'unit':9}" + "".join(f"{name:>20}" for name in columns)
    notes = [
        "CPU seconds (wall clock in brackets). Once a clip: preparation of our code before the",
        "loop, with the shared speech features. In all: plain / ours for a clip, with preparation.",
    ]
    lines = [_line(row) for row in report.rows]
    return "\n".join([report.title("motion"), *notes, "", head, *lines, ""])


def _line(row: Row) -> str:
    costs = [str(cost) for cost in (row.ours, row.plain, row.features + row.once)]
    cells = [*costs[:2], f"{row.times:.1f} x", costs[2], f"{row.times_in_all:.1f} x"]
    name = f"{row.part} {row.seconds:g} s"
    figures = f"{name:13} {row.unit:9}" + "".join(f"{cell:>20}" for cell in cells)
    return f"{figures}\n{'':14}{row.agreement}"
