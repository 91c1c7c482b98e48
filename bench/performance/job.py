"""Benchmark of one job, stage by stage: `python -m bench job`.

The job of `make run` by default: its clip, person and size, in this process. First the whole job,
with its stages beside each other as in a worker, at several levels of quality in turns; then each
stage alone, and the plain code for the same work, in turns. CPU seconds include child processes.
The plain code of the motion is the sum of its parts, and that of the renderer is timed over a few
frames. Then come counted operations and bytes with what this machine can do, and the cost against
clip length, takes, steps and frames of a batch.
"""

from __future__ import annotations

import json
import resource
import tempfile
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.performance.counting import Counted, Rates, counted, rates_of
from bench.performance.machine import Machine, this_machine
from bench.performance.spread import Spread, measured
from bench.performance.stages import ENCODED_FRAMES, Stages
from training.commands.options import device_name, output_file, positive_float, positive_int

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from bench.timing import Cost
    from contracts.outputs import Output

REPOSITORY = Path(__file__).parents[2]
CLIP = REPOSITORY / "examples" / "conversation.wav"
PERSON = REPOSITORY / "people" / "demo"
SEED = 1
EARLIER = 50  # steps of DDIM of the demo person before there were levels of quality
BATCHES = (1, 2, 4, 8, 16)
KEY_BYTES = 8  # of the rasteriser, for each sample


@dataclass(frozen=True)
class Stage:
    """Costs of one stage of the job."""

    name: str
    ours: Spread
    plain: Spread  # empty where there is no plain code
    note: str = ""


@dataclass(frozen=True)
class Job:
    """Costs of the whole job at one setting."""

    name: str
    frames: int
    cost: Spread

    @property
    def frames_a_second(self) -> float:
        """Rate of frames, a second of wall-clock time."""
        return self.frames / self.cost.median.wall


@dataclass(frozen=True)
class Floor:
    """Counted work of a stage, with the least time that it takes here."""

    name: str
    counted: Counted
    floor_seconds: float  # all threads
    measured_seconds: float  # wall clock


@dataclass(frozen=True)
class Point:
    """Cost at one place of a curve."""

    x: float
    cost: Spread


@dataclass(frozen=True)
class Transfer:
    """A copy from the device to this process."""

    name: str
    megabytes: float
    milliseconds: float


@dataclass
class Report:
    """Every measurement."""

    machine: Machine
    device: str
    threads: int
    seed: int
    person: str
    size: str
    seconds: float  # of audio
    jobs: list[Job] = field(default_factory=list)
    peak_megabytes: int = 0  # of the process, after the whole jobs
    gpu_peak_megabytes: int = 0
    stages: list[Stage] = field(default_factory=list)
    rates: Rates | None = None
    floors: list[Floor] = field(default_factory=list)
    curves: dict[str, list[Point]] = field(default_factory=dict)
    transfers: list[Transfer] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m bench job`."""
    parser.add_argument("--clip", type=Path, default=CLIP, help="recording of two channels")
    parser.add_argument("--person", type=Path, default=PERSON, help="person directory")
    parser.add_argument("--size", default="512x512", metavar="WxH")
    parser.add_argument("--repeats", type=positive_int, default=3, help="of each measurement")
    parser.add_argument("--threads", type=positive_int, default=2)
    parser.add_argument("--device", type=device_name, default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--seconds", type=positive_float, nargs="+", default=[4.0, 12.0, 30.0, 60.0],
        help="clip lengths of the curve",
    )  # fmt: skip
    parser.add_argument("--takes", type=positive_int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--steps", type=positive_int, nargs="+", default=[4, 7, 11, 25, 50])
    parser.add_argument("--json", type=output_file, metavar="PATH", help="JSON report")


def run(arguments: argparse.Namespace) -> None:
    """Print the table, and write the report."""
    report = measure(arguments)
    print(table(report))
    if arguments.json:
        text = json.dumps(asdict(report), indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")


def measure(arguments: argparse.Namespace) -> Report:
    """Measure everything."""
    from jobs.request.model import GenerateRequest
    from jobs.settings import Settings
    from worker.pipeline.recording_outputs import Resources

    with tempfile.TemporaryDirectory(prefix="visavis-bench-") as name:
        folder = Path(name)
        settings = Settings(
            data=folder / "data",
            people=arguments.person.resolve().parent,
            device=arguments.device,
            threads=arguments.threads,
            broker_url="",
        )
        resources = Resources.open(settings)
        person = arguments.person.resolve().name
        request = GenerateRequest(person=person, size=arguments.size, seed=SEED)
        stages = Stages(arguments.clip, request, resources, folder)
        report = Report(
            machine=this_machine(),
            device=resources.device.type,
            threads=arguments.threads,
            seed=SEED,
            person=person,
            size=arguments.size,
            seconds=stages.audio.seconds,
        )
        _measure_jobs(stages, arguments.repeats, report)
        _measure_stages(stages, arguments.repeats, report)
        _count(stages, report)
        _measure_curves(stages, arguments, report)
        report.transfers = list(_transfers(stages, arguments.repeats))
    return report


def _measure_jobs(stages: Stages, repeats: int, report: Report) -> None:
    """Measure the whole job at several settings, in turns."""
    settings: dict[str, dict[str, Any]] = {
        "standard": {"quality": "standard"},
        "draft": {"quality": "draft"},
        f"{EARLIER} steps of DDIM": {"steps": EARLIER},
    }
    costs = {name: Spread() for name in settings}
    stages.person  # noqa: B018 -- loaded before anything is measured
    stages.load()
    for _ in range(repeats):
        for name, fields in settings.items():
            costs[name].add(measured(partial(_whole, stages, fields))[1])
    report.jobs = [Job(name, stages.count, cost) for name, cost in costs.items()]
    report.peak_megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if torch.cuda.is_available() and report.device == "cuda":
        report.gpu_peak_megabytes = torch.cuda.max_memory_allocated() >> 20


def _whole(stages: Stages, fields: dict[str, Any]) -> None:
    """Make the video of the clip."""
    from worker.pipeline.recording_outputs import Recording, make_outputs

    def path_of(output: Output, take: int, role: str) -> Path:
        return stages.folder / output.file_name(take, role)

    make_outputs(
        Recording(stages.clip),
        stages.request.model_copy(update=fields),
        stages.resources,
        path_of=path_of,
        progress=lambda stage, share: None,
    )


def _measure_stages(stages: Stages, repeats: int, report: Report) -> None:
    """Measure each stage and its plain code, in turns."""
    share = stages.count / min(ENCODED_FRAMES, stages.count)
    rgb = partial(stages.encode, planes=False)
    scaled = "" if share == 1 else f"{ENCODED_FRAMES} of {stages.count} frames, times {share:.2f}"
    works: dict[str, tuple[Callable[[], object], Callable[[], Cost | None] | None, str]] = {
        "start": (stages.start, None, "interpreter and imports"),
        "load": (stages.load, None, "files of the person, and kernels"),
        "decode": (stages.decode, None, "two child processes"),
        "motion": (stages.animate, stages.plain_motion, f"{stages.plan.sampling.steps} steps"),
        "render": (stages.render, stages.plain_render, f"plain: {min(3, stages.count)} frames"),
        "encode": (
            stages.encode,
            lambda: measured(rgb)[1] * share,
            f"plain: RGB frames, which ffmpeg converts; {scaled}".rstrip("; "),
        ),
        "publish": (stages.publish, None, "manifest, digest, storage"),
    }
    factor = {"encode": share}
    stages.frames  # noqa: B018 -- rendered before the encoder is measured
    for name, (work, plain, note) in works.items():
        stage = Stage(name, Spread(), Spread(), note)
        for _ in range(repeats):
            stage.ours.add(measured(work)[1] * factor.get(name, 1.0))
            if plain is not None and (cost := plain()) is not None:
                stage.plain.add(cost)
        report.stages.append(stage)


def _count(stages: Stages, report: Report) -> None:
    """Count the work of motion and renderer, beside the rates of this machine."""
    rates = report.rates = rates_of(stages.resources.device)
    cost = {stage.name: stage.ours.median.wall for stage in report.stages}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a second thread would not be counted
    try:
        motion = counted(stages.animate)
    finally:
        torch.set_num_threads(threads)
    width, height = stages.plan.width, stages.plan.height
    samples = (stages.plan.options.samples or 2) ** 2
    keys = width * height * samples * KEY_BYTES
    # Keys are written and read, and a pixel of three bytes is written.
    render = Counted(0.0, stages.count * (2 * keys + 3 * width * height) / 1e6, 0)
    pipe = Counted(0.0, stages.count * 1.5 * width * height / 1e6, 0)
    works = {"motion": motion, "render": render, "encode": pipe}
    report.floors = [
        Floor(name, work, rates.floor(work), cost[name]) for name, work in works.items()
    ]


def _measure_curves(stages: Stages, arguments: argparse.Namespace, report: Report) -> None:
    """Measure cost against clip length, takes, steps and frames of a batch."""
    shortest = min(arguments.seconds)
    seed = stages.plan.sampling.seeds[0]

    def takes(count: float) -> object:
        return stages.animate(shortest, seeds=tuple(range(seed, seed + int(count))))

    def steps(count: float) -> object:
        return stages.animate(shortest, sampler="unipc", steps=int(count))

    def batch(count: float) -> None:
        stages.render(2 * max(BATCHES), batch=int(count))

    works: dict[str, tuple[Callable[[float], object], list[float]]] = {
        "seconds": (stages.animate, arguments.seconds),
        "takes": (takes, arguments.takes),
        "steps": (steps, arguments.steps),
        "batch": (batch, list(BATCHES)),
    }
    for name, (work, places) in works.items():
        points = [Point(x, Spread()) for x in places]
        for _ in range(arguments.repeats):
            for point in points:
                point.cost.add(measured(partial(work, point.x))[1])
        report.curves[name] = points


def _transfers(stages: Stages, repeats: int) -> Iterator[Transfer]:
    """Measure copies of frames from a GPU, into pageable and into pinned memory."""
    device = stages.resources.device
    if device.type != "cuda":
        return
    shape = (8, stages.plan.height, stages.plan.width, 3)
    frames = torch.zeros(shape, dtype=torch.uint8, device=device)
    for name, pinned in (("pageable", False), ("pinned", True)):
        target = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        walls = Spread()
        for _ in range(repeats + 1):
            walls.add(measured(partial(target.copy_, frames))[1])
        best = min(walls.wall[1:])
        yield Transfer(f"8 frames, {name}", frames.nbytes / 1e6, best * 1e3)


def table(report: Report) -> str:
    """Return the report as text."""
    machine = report.machine
    lines = [
        f"job of {report.seconds:.1f} s, {report.person}, {report.size}, on {report.device}, "
        f"{report.threads} threads, torch {machine.packages.get('torch')}",
        f"{machine.cpu}, {machine.cores} cores, load {machine.load:.1f}, seed {report.seed}",
        "median of the repetitions, with the smallest and the largest",
        "",
        f"{'whole job':20} {'CPU s':>24} {'wall s':>24} {'frames/s':>9}",
    ]
    lines += [
        f"{job.name:20} {_range(job.cost.cpu):>24} {_range(job.cost.wall):>24} "
        f"{job.frames_a_second:9.1f}"
        for job in report.jobs
    ]
    lines += [f"peak memory {report.peak_megabytes} MB"]
    if report.gpu_peak_megabytes:
        lines += [f"peak memory of the GPU {report.gpu_peak_megabytes} MB"]
    lines += ["", f"{'stage':20} {'CPU s':>24} {'wall s':>24} {'plain CPU s':>12} {'ratio':>7}"]
    for stage in report.stages:
        cells = f"{stage.name:20} {_range(stage.ours.cpu):>24} {_range(stage.ours.wall):>24}"
        if stage.plain.cpu:
            cells += f" {stage.plain.median.cpu:12.2f} {ratio(stage):6.1f}x"
        lines.append(cells)
    if report.rates is not None:
        lines += [
            "",
            f"this machine: {report.rates.gflop_a_second:.0f} GFLOP/s, "
            f"{report.rates.gigabytes_a_second:.1f} GB/s",
        ]
    lines += [
        f"{floor.name:20} {floor.counted.gflop:9.1f} GFLOP {floor.counted.megabytes:9.0f} MB "
        f"floor {floor.floor_seconds:7.3f} s, measured {floor.measured_seconds:7.3f} s"
        for floor in report.floors
    ]
    for name, points in report.curves.items():
        costs = ", ".join(f"{each.x:g}: {each.cost.median.cpu:.2f}" for each in points)
        lines.append(f"CPU s against {name}: {costs}")
    lines += [
        f"{each.name}: {each.megabytes:.1f} MB in {each.milliseconds:.2f} ms"
        for each in report.transfers
    ]
    return "\n".join([*lines, ""])


def ratio(stage: Stage) -> float:
    """Return plain / ours by CPU seconds."""
    return stage.plain.median.cpu / stage.ours.median.cpu


def _range(values: list[float]) -> str:
    middle = Spread(values, values).median.cpu
    return f"{middle:.2f} ({min(values):.2f}-{max(values):.2f})"
