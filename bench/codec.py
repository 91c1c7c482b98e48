"""Benchmark of the codec avatar of released people: `python -m bench avatar --kind codec`.

It measures CPU seconds per frame and stage, for the renderer and for the plain implementation, in
the same run with the same weights, with one thread for the networks and one for pixels. Without
`--person` the weights are random and the body is a tube, at released sizes: the cost does not
depend on the appearance.
"""

from __future__ import annotations

import json
import math
import resource
import threading
import time
from dataclasses import asdict, dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch

from bench.performance.machine import this_machine
from models import checkpoint
from models.avatar.camera import looking_at, read_cameras
from models.avatar.codec.config import CodecConfig
from models.avatar.codec.model import NETWORKS, CodecModel, CodecNetworks, codec_config
from models.avatar.codec.plain import PlainCodec
from models.avatar.codec.precision import EXACT, Precision
from models.avatar.codec.renderer import CodecAvatar
from models.avatar.codec.texture.seams import seam_tables
from models.avatar.codec.texture.uv import lay_out

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from models.avatar.camera import Camera

Tensor = torch.Tensor

RINGS, SEGMENTS = 85, 86  # of the tube, with about as many vertices as a released body
RADIUS, HEIGHT = 250.0, 1800.0  # millimetres
VIEW_WIDTH, VIEW_HEIGHT = 1334, 2048
SEED = 3  # of the networks; movement has another
EYES = {"front": (400.0, 1250.0, 3000.0), "side": (-1900.0, 1100.0, 2500.0)}
MOST_FRAMES, PLAIN_FRAMES = 16, 2  # each frame takes seconds
RASTERISER, COLOURS = "rasteriser", "colours, display"
STAGES = {  # method: name of its stage in the table
    "body_codes": "body code",
    "face_codes": "face code",
    "decoded": "decoder",
    "decoded_full_size": "decoder",
    "pose_decoded": "skeleton, normals, shadow",
    "view_residual": "view network",
    "final_texture": "upscaler, texture",
    "colour_views": COLOURS,
}


@dataclass
class Stages:
    """CPU seconds of each stage, by thread."""

    spent: dict[str, float] = field(default_factory=dict)
    thread: threading.local = field(default_factory=threading.local)

    def timed(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return `work` with a timer; nested stages do not count in the outer one."""

        @wraps(work)
        def run(*arguments: Any, **options: Any) -> Any:
            outer, start = getattr(self.thread, "inner", 0.0), time.thread_time()
            self.thread.inner = 0.0
            result = work(*arguments, **options)
            took = time.thread_time() - start
            self.spent[stage] = self.spent.get(stage, 0.0) + took - self.thread.inner
            self.thread.inner = outer + took
            return result

        return run

    def watch(self, model: CodecModel) -> None:
        """Add a timer to each stage of a model."""
        for name, stage in STAGES.items():
            if hasattr(model, name):
                setattr(model, name, self.timed(stage, getattr(model, name)))
        surface = model.surface
        for name, stage in (("raster", RASTERISER), ("render", COLOURS)):
            object.__setattr__(surface, name, self.timed(stage, getattr(surface, name)))


@dataclass(frozen=True)
class Method:
    """Cost of a frame with one implementation."""

    frames: int
    seconds: float  # wall clock
    cpu_seconds: float  # of all cores together
    stages: dict[str, float]  # CPU seconds by stage
    peak_megabytes: int  # of the process so far


@dataclass(frozen=True)
class Report:
    """Costs of both implementations."""

    size: str
    device: str
    fast: Method
    plain: Method
    times_cheaper: float
    times_cheaper_without_rasteriser: float  # leaves out only the plain rasteriser


@dataclass(frozen=True)
class Person:
    """Avatar that both implementations render."""

    config: CodecConfig
    weights: dict[str, Tensor]
    cameras: list[Camera]


def run(arguments: argparse.Namespace) -> None:
    """Print one table."""
    torch.set_num_threads(1)  # the timers do not count other threads
    device = torch.device(arguments.device)
    person = read_person(arguments.person, device) if arguments.person else random_person(device)
    precision = Precision(
        half=arguments.precision == "bfloat16",
        tf32=arguments.precision == "tf32",
        channels_last=not arguments.channels_first,
        compiler="inductor" if arguments.compile else None,
    )
    report = compare(person, min(arguments.frames, MOST_FRAMES), precision)
    print(table(report))
    if arguments.json:
        facts = {"machine": asdict(this_machine()), "seed": SEED, "sizes": [asdict(report)]}
        text = json.dumps(facts, indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")


def compare(person: Person, frames: int, precision: Precision = EXACT) -> Report:
    """Measure the renderer, then the plain implementation, which needs more memory."""
    fast = measure_fast(person, frames, precision)
    plain = measure_plain(person, min(frames, PLAIN_FRAMES))
    camera = person.cameras[0]
    whole = plain.cpu_seconds / fast.cpu_seconds
    rest = (plain.cpu_seconds - plain.stages[RASTERISER]) / fast.cpu_seconds
    size = f"{len(person.cameras)} views of {camera.width}x{camera.height}"
    return Report(size, str(person.weights["template"].device), fast, plain, whole, rest)


def measure_fast(person: Person, frames: int, precision: Precision) -> Method:
    """Measure `render`, as the worker calls it."""
    model, stages = CodecModel(person.config, person.weights, precision=precision), Stages()
    avatar = CodecAvatar(model, {camera.name: camera for camera in person.cameras})
    face, pose = sample_motion(person.config, frames + 1)

    def work(some: slice) -> None:
        for _ in avatar.render(face[some], pose[some], person.cameras):
            pass

    return clock(model, stages, work, frames)


def measure_plain(person: Person, frames: int) -> Method:
    """Measure the plain implementation frame by frame, with both views in a batch."""
    model, stages = PlainCodec(person.config, person.weights), Stages()
    device = model.device
    face, pose = (x.to(device) for x in sample_motion(person.config, frames + 1))

    def work(some: slice) -> None:
        for one, other in zip(face[some], pose[some], strict=True):
            model.picture(one, other, person.cameras).cpu()

    return clock(model, stages, work, frames)


def clock(model: CodecModel, stages: Stages, work: Callable[[slice], None], frames: int) -> Method:
    """Measure all frames except the first, which is warm-up."""
    stages.watch(model)
    work(slice(1))
    stages.spent.clear()
    wall, cpu = time.perf_counter(), time.process_time()
    work(slice(1, frames + 1))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    spent = {stage: seconds / frames for stage, seconds in stages.spent.items()}
    return Method(frames, wall / frames, cpu / frames, spent, peak)


def sample_motion(config: CodecConfig, frames: int) -> tuple[Tensor, Tensor]:
    """Return random face codes [frames, 256] and pose [frames, 104]."""
    generator = torch.Generator().manual_seed(SEED)
    face = torch.randn(frames, config.face_code, generator=generator)
    return face, 0.1 * torch.randn(frames, config.pose, generator=generator)


def read_person(folder: Path, device: torch.device) -> Person:
    """Read the avatar of a person directory and two of its cameras."""
    path = folder / "avatar.safetensors"
    values, weights = checkpoint.read(path, device=device)
    config = checkpoint.config_of(lambda **sizes: codec_config(sizes), values, path)
    cameras = list(read_cameras(folder / "cameras.json").values())[:2]
    return Person(config, weights, cameras)


def random_person(device: torch.device) -> Person:
    """Return random weights at released sizes, on a tube with one joint."""
    generator = torch.Generator().manual_seed(5)
    config = CodecConfig(parents=(-1,))
    with torch.device("meta"):
        shapes = CodecNetworks(config).state_dict()
    weights = {NETWORKS + name: _random(like.shape, generator) for name, like in shapes.items()}
    weights |= _tube() | _seams(config)
    cameras = [
        looking_at(
            name,
            eye=eye,
            target=(0.0, HEIGHT / 2, 0.0),
            focal=1.35,
            width=VIEW_WIDTH,
            height=VIEW_HEIGHT,
        )
        for name, eye in EYES.items()
    ]
    weights["texture_mean"] = torch.full((1, 3, config.texture_size, config.texture_size), 120.0)
    weights["texture_spread"] = torch.tensor(20.0)
    return Person(config, {name: table.to(device) for name, table in weights.items()}, cameras)


def _random(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return random weights that keep activations near one through many layers."""
    inputs = math.prod(shape[1:]) if len(shape) in (2, 4) else 400
    return torch.randn(shape, generator=generator) / math.sqrt(inputs)


def _tube() -> dict[str, Tensor]:
    """Return mesh, UV chart and skeleton of the tube."""
    at = torch.linspace(0, 1, RINGS)[:, None].expand(-1, SEGMENTS)
    around = torch.linspace(0, 1, SEGMENTS).expand(RINGS, -1)
    turn = 2 * math.pi * around
    template = torch.stack([RADIUS * turn.cos(), HEIGHT * (1 - at), RADIUS * turn.sin()], dim=-1)
    uv = 0.02 + 0.96 * torch.stack([around, at], dim=-1).view(-1, 2)
    first = (torch.arange(RINGS - 1)[:, None] * SEGMENTS + torch.arange(SEGMENTS - 1)).flatten()
    below = first + SEGMENTS
    triangles = [[first, below, first + 1], [first + 1, below, below + 1]]
    faces = torch.cat([torch.stack(corners, dim=1) for corners in triangles])
    charts = lay_out(faces, uv, faces, CodecConfig.uv_size)
    vertices = len(uv)
    return {
        "joint_offsets": torch.zeros(1, 3),
        "joint_rotations": torch.tensor([[0.0, 0, 0, 1]]),
        "transform": 0.01 * torch.eye(7, CodecConfig.pose),
        "transform_offsets": torch.zeros(7),
        "template": template.reshape(-1, 3),
        "scale": torch.zeros(0),
        "scaling": torch.ones(3),
        "skin_weights": torch.eye(1, 8).repeat(vertices, 1),
        "skin_joints": torch.zeros(vertices, 8, dtype=torch.int32),
        "faces": faces,
        "uv_faces": faces,
        "uv": uv,
        "coordinates": torch.arange(vertices)[:, None].repeat(1, 4),
        "uv_corners": charts.corners,
        "uv_weights": charts.weights,
    }


def _seams(config: CodecConfig) -> dict[str, Tensor]:
    """Return seam tables of six charts, with about as many seam texels as a released body."""
    tables: dict[str, Tensor] = {}
    for prefix, size in (("seams.", config.uv_size), ("fine_seams.", config.texture_size)):
        wide = size * 6 // 1024  # texels on either side
        weight, uv = torch.zeros(size, size), torch.rand(size, size, 2)
        for chart in range(6):
            start = size * chart // 6
            weight[:, start : start + 2 * wide] = 0.5
        rows = torch.arange(size).repeat_interleave(15 * wide)
        target = torch.stack([rows, torch.arange(15 * wide).repeat(size)], dim=1)
        made = seam_tables(target, target.flip(0), uv, weight)
        tables |= {prefix + name: table for name, table in made.items()}
    return tables


def table(report: Report) -> str:
    """Return the report as text."""
    fast, plain = report.fast, report.plain
    lines = [f"{report.size} on {report.device:22} {'plain CPU s':>12} {'fast CPU s':>12}"]
    for stage in dict.fromkeys([*plain.stages, *fast.stages]):
        slow, quick = plain.stages.get(stage, 0.0), fast.stages.get(stage, 0.0)
        lines.append(f"  {stage:44} {slow:12.2f} {quick:12.2f}")
    lines.append(f"  {'a frame':44} {plain.cpu_seconds:12.2f} {fast.cpu_seconds:12.2f}")
    lines.append(f"  {'wall clock':44} {plain.seconds:12.2f} {fast.seconds:12.2f}")
    lines.append(f"  {'peak memory, MB':44} {plain.peak_megabytes:12} {fast.peak_megabytes:12}")
    lines.append(
        f"  {report.times_cheaper:.1f} times cheaper, "
        f"{report.times_cheaper_without_rasteriser:.1f} without the rasteriser, "
        f"{1 / fast.seconds:.2f} frames/s"
    )
    return "\n".join(lines) + "\n"
