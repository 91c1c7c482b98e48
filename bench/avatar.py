"""Benchmark of the demo person's renderer: `python -m bench avatar`.

It measures frames per second at each size on one core and on several, with and without
anti-aliasing, and the plain torch renderer in the same run; then the shadings `fast` and `full`,
frame by frame in turns, CPU milliseconds of each stage on one core, and peak memory.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench import codec
from bench.performance.machine import this_machine
from contracts.avatar_kinds import FAST, FULL, SHADINGS
from training.commands.options import device_name, output_file, positive_int

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.avatar.blendshape.renderer import BlendshapeAvatar

BATCH = 8  # frames, as avatars render by default
PERSON = Path(__file__).parents[1] / "people" / "demo"
PLAIN_FRAMES = 3  # the plain renderer takes a second per frame
SEED = 3  # of the movement


@dataclass(frozen=True)
class Cost:
    """Time of one frame."""

    frames: int
    milliseconds: float  # wall clock
    cpu_milliseconds: float  # of all cores together


@dataclass(frozen=True)
class Method:
    """Cost of one rendering method, compared with the plain renderer."""

    name: str
    frames: int
    milliseconds: float
    cpu_milliseconds: float
    frames_per_second: float
    times_plain: float  # time of the plain renderer / time of this one


@dataclass(frozen=True)
class Report:
    """Every measurement at one size."""

    size: str
    device: str
    methods: list[Method]
    shadings_cpu_milliseconds: dict[str, float]  # per frame on one thread, in turns
    full_to_fast: float  # their ratio
    stages_cpu_milliseconds: dict[str, float]  # per frame on one thread; empty on a GPU
    peak_megabytes: int  # of the process with the kernels, at this size and earlier ones


@dataclass(frozen=True)
class Movement:
    """Smooth movement of face and body."""

    face: torch.Tensor  # [T, 256]
    pose: torch.Tensor  # [T, P]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m bench avatar`."""
    parser.add_argument("--kind", choices=("blendshape", "codec"), default="blendshape")
    parser.add_argument(
        "--sizes", nargs="+", type=_size, default=["512x512", "1280x720"], metavar="WxH"
    )
    parser.add_argument("--frames", type=positive_int, default=120, help="measured frames")
    parser.add_argument("--threads", type=positive_int, default=2, help="largest number of threads")
    parser.add_argument("--device", type=device_name, default="cpu", help="cpu or cuda")
    parser.add_argument("--person", type=Path, help="person directory with an avatar of that kind")
    parser.add_argument(
        "--precision", choices=("exact", "tf32", "bfloat16"), default="exact", help="codec only"
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile; codec only")
    parser.add_argument(
        "--channels-first",
        action="store_true",
        help="default memory layout; codec only",
    )
    parser.add_argument("--json", type=output_file, metavar="PATH", help="JSON report")


def run(arguments: argparse.Namespace) -> None:
    """Print a table for each size."""
    if arguments.kind == "codec":
        codec.run(arguments)
        return
    torch.set_num_threads(1)  # the renderer parallelises over frames, not inside tensors
    fast = {size: measure_kernels(arguments, _sides(size)) for size in arguments.sizes}
    reports = []
    for size, measured in fast.items():  # last, because peak memory must exclude the plain renderer
        report = compare(arguments, size, measured)
        reports.append(report)
        print(table(report))
    if arguments.json:
        facts = {"machine": asdict(this_machine()), "seed": SEED}
        facts["sizes"] = [asdict(report) for report in reports]
        text = json.dumps(facts, indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")


def _size(text: str) -> str:
    """Check that a size is WxH, each side 16 to 8192 pixels."""
    if not re.fullmatch(r"\d{2,4}x\d{2,4}", text) or not all(
        16 <= side <= 8192 for side in _sides(text)
    ):
        raise argparse.ArgumentTypeError(f"must be WxH, such as 512x512, got {text!r}")
    return text


def _sides(size: str) -> tuple[int, int]:
    width, height = (int(side) for side in size.split("x"))
    return width, height


@dataclass(frozen=True)
class Kernels:
    """Costs of the kernels at one size."""

    methods: dict[str, Cost]
    shadings: dict[str, float]
    stages: dict[str, float]
    peak_megabytes: int


def measure_kernels(arguments: argparse.Namespace, size: tuple[int, int]) -> Kernels:
    """Measure the kernels with and without anti-aliasing, on one thread and on several."""
    on_cpu, methods = arguments.device == "cpu", {}
    for samples, name in ((2, "2x2 at edges"), (1, "no anti-aliasing")):
        for threads in sorted({1, arguments.threads}) if on_cpu else (1,):
            avatar = _load(arguments, samples=samples, threads=threads)
            method = f"kernels, {threads} thread{'s' * (threads > 1)}, {name}"
            methods[method] = measure(avatar, size, arguments.frames)
    shadings = measure_shadings(_load(arguments, threads=1), size, arguments.frames)
    stages = {}
    if on_cpu:
        stages = measure_stages(arguments, *size) | {
            f"full: {stage}": cost
            for stage, cost in measure_stages(arguments, *size, shading=FULL).items()
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Kernels(methods, shadings, stages, peak)


def compare(arguments: argparse.Namespace, size: str, fast: Kernels) -> Report:
    """Measure the plain renderer in the same process and compare the kernels with it."""
    avatar = _load(arguments, plain=True, threads=arguments.threads)
    plain = measure(avatar, _sides(size), min(arguments.frames, PLAIN_FRAMES))
    costs = {f"plain torch, {avatar.threads} threads": plain} | fast.methods
    methods = [
        Method(
            name,
            cost.frames,
            cost.milliseconds,
            cost.cpu_milliseconds,
            1e3 / cost.milliseconds,
            plain.milliseconds / cost.milliseconds,
        )
        for name, cost in costs.items()
    ]
    ratio = fast.shadings[FULL] / fast.shadings[FAST]
    return Report(
        size, arguments.device, methods, fast.shadings, ratio, fast.stages, fast.peak_megabytes
    )


def _load(
    arguments: argparse.Namespace, *, threads: int, samples: int = 2, plain: bool = False
) -> BlendshapeAvatar:
    from models.avatar.blendshape.kind import load_blendshape_avatar

    device = torch.device(arguments.device)
    return load_blendshape_avatar(
        arguments.person or PERSON, device=device, samples=samples, threads=threads, plain=plain
    )


def sample_motion(avatar: BlendshapeAvatar, frames: int) -> Movement:
    """Return smooth random motion from a fixed seed."""
    generator = torch.Generator().manual_seed(SEED)
    seconds = torch.linspace(0, frames / 30, frames)[:, None]
    units, parameters = len(avatar.unit_names), len(avatar.parameter_names)
    phase = 6.28 * torch.rand(1, units + parameters, generator=generator)
    wave = torch.sin(3 * seconds + phase)
    face = (0.3 + 0.3 * wave[:, :units]) @ avatar.face_basis.T.cpu()
    return Movement(face, 0.15 * wave[:, units:])


def measure(avatar: BlendshapeAvatar, size: tuple[int, int], frames: int) -> Cost:
    """Measure a run of frames, after two frames of warm-up."""
    motion = sample_motion(avatar, frames)
    camera = avatar.camera().resized(*size)
    for _ in avatar.render(motion.face[:2], motion.pose[:2], [camera]):
        pass
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in avatar.render(motion.face, motion.pose, [camera]):
        pass
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Cost(frames, wall * 1e3 / frames, cpu * 1e3 / frames)


def measure_shadings(
    avatar: BlendshapeAvatar, size: tuple[int, int], frames: int
) -> dict[str, float]:
    """Return CPU milliseconds per frame of each shading; frames alternate, after a warm-up."""
    from models.avatar.appearance import RenderOptions

    motion, camera = sample_motion(avatar, frames + 1), avatar.camera().resized(*size)
    spent = dict.fromkeys(SHADINGS, 0.0)
    for frame in range(frames + 1):
        face, pose = motion.face[frame : frame + 1], motion.pose[frame : frame + 1]
        for shading in SHADINGS:
            start = time.process_time()
            for _ in avatar.render(face, pose, [camera], options=RenderOptions(shading=shading)):
                pass
            spent[shading] += (time.process_time() - start) * (frame > 0)
    return {shading: seconds * 1e3 / frames for shading, seconds in spent.items()}


def measure_stages(
    arguments: argparse.Namespace, width: int, height: int, *, shading: str = FAST
) -> dict[str, float]:
    """Return CPU milliseconds per frame and stage; launches on one thread are synchronous."""
    from models.avatar.appearance import RenderOptions
    from models.avatar.blendshape.surface import deformed
    from models.avatar.blendshape.warp_painter import KernelPainter, PersonOnDevice
    from models.avatar.mesh.skinning import joint_matrices

    spent: dict[str, float] = {}

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        start = time.process_time()
        yield
        spent[stage] = spent.get(stage, 0.0) + time.process_time() - start

    class TimedPainter(KernelPainter):
        def _launch(self, kernel: Any, shape: tuple[int, ...], inputs: list[Any]) -> None:
            with timed(kernel.key):
                super()._launch(kernel, shape, inputs)

    avatar = _load(arguments, threads=1)
    painter = TimedPainter(PersonOnDevice(avatar.model))
    frames = min(arguments.frames, 60) + 1
    motion, camera = sample_motion(avatar, frames), avatar.camera().resized(width, height)
    picture = torch.empty(1, height, width, 3, dtype=torch.uint8)
    for frame in range(frames):
        if frame == 1:
            spent.clear()  # the first frame is warm-up
        with timed("face and skeleton"):
            at = max(frame - 1, 0) % BATCH  # the skeleton of a batch is computed at once
            if at == 0 or frame == 0:
                skeleton = joint_matrices(
                    avatar.model.skeleton, motion.pose[frame:][:BATCH], by_frame=True
                )
            face, matrices = motion.face[frame : frame + 1], skeleton[at : at + 1]
            posed = deformed(avatar.model, face, matrices)
        painter.render(posed, [camera], picture, RenderOptions(shading=shading))
    return {stage: seconds * 1e3 / (frames - 1) for stage, seconds in spent.items()}


def table(report: Report) -> str:
    """Return the report as text."""
    title = f"{report.size} on {report.device}"
    lines = [f"{title:38} {'ms':>8} {'CPU ms':>8} {'frames/s':>9} {'x plain':>8}"]
    lines += [
        f"{method.name:38} {method.milliseconds:8.1f} {method.cpu_milliseconds:8.1f} "
        f"{method.frames_per_second:9.1f} {method.times_plain:8.1f}"
        for method in report.methods
    ]
    for name, cost in report.shadings_cpu_milliseconds.items():
        lines.append(f"  shading {name:28} {'':8} {cost:8.2f}")
    lines.append(f"  shading full / fast {report.full_to_fast:26.2f}")
    stages = report.stages_cpu_milliseconds
    lines += [f"  {stage:36} {'':8} {ms:8.2f}" for stage, ms in stages.items()]
    return "\n".join([*lines, f"  peak memory {report.peak_megabytes} MB", ""])
