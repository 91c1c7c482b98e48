"""Table of samplers for a person: `python -m bench samplers --data DATASET`.

Each row is a sampler with a number of steps. Its motion is compared with that of 500 DDIM steps
from the same noise; the distance is a share of the distance between two seeds. Distances are root
mean squares in normalised units. Spread of the jaw while the person speaks, and speed of the body,
are ratios to the recorded motion, and lips are compared with it by the correlation of the jaw while
she speaks and by the mean distance of lip vertices; these need a blendshape person. FD is the
Frechet distance of all frames to the recorded ones, in normalised units. Jerk of the body, the mean
third difference of the pose, is a ratio to that of the 500 steps. The clips come from all scenes of
the dataset in turn, and the pairs of seeds alternate between the clips. With `--cache` each sampled
motion is kept, so that another run with the same clips samples only what is new.

CPU: seconds of both denoisers for a second of audio, without the rest of the work.

Letters: T frames.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import max_pool1d

from bench.sampling.cuts import cuts
from bench.timing import Report, report_on, timed, write_json
from contracts.errors import InputError
from contracts.files import write_atomically
from contracts.person import read_manifest
from contracts.samplers import SAMPLERS, STUDENT
from models.avatar.blendshape.model import load_blendshape
from models.motion.pipeline import (
    STUDENTS,
    Motion,
    Sampling,
    load_animator,
    take_generators,
    take_seed,
)
from training.commands.options import output_file, output_folder, positive_float, positive_int
from training.evaluation.lips import lip_reader
from training.evaluation.metrics import correlation, frechet_distance, lip_vertex_error
from training.person_facts import AVATAR_FILES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from models.avatar.blendshape.model import BlendshapeModel
    from models.motion.pipeline import Animator, ClipFeatures

    Floats = NDArray[np.float32]
    Flags = NDArray[np.bool_]

JAW = "jawOpen"
SPEAKS = 0.08  # opening of the jaw of a person who speaks
LONGEST_SYLLABLE = 13  # frames
DEFAULT_ROWS = (
    "ddim:100", "ddim:50", "dpm-solver:14", "dpm-solver:11", "dpm-solver:8", "dpm-solver:6",
    "dpm-solver:4", "unipc:11", "unipc:8", "unipc:6",
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """One way to sample: `sampler:steps` or `sampler:steps:guidance_until`."""

    sampler: str
    steps: int
    guidance_until: int = 0


REFERENCE = Choice("ddim", 500)
OTHER = Choice("dpm-solver", 20)  # of the second seed


@dataclass(frozen=True)
class Clip:
    """A cut of a scene with its recorded motion."""

    samples: Floats  # [1600 T, 2]
    codes: Floats  # [T, 256]
    pose: Floats  # [T, 104]


@dataclass
class Sums:
    """Measurements of one way to sample, added up over the clips."""

    cpu: float = 0.0
    face: float = 0.0  # squared distance from the reference
    body: float = 0.0
    speed: float = 0.0
    jerk: float = 0.0
    lips: float = 0.0  # sum over frames, mm
    jaw: list[Floats] = field(default_factory=list)  # while the person speaks
    motion: list[tuple[Floats, Floats]] = field(default_factory=list)  # face and pose, normalised

    def add(
        self, cpu: float, distance: tuple[float, float], pose: Tensor, jaw: Floats, lips: float
    ) -> None:
        """Add the measurements of a clip."""
        self.cpu += cpu
        self.face, self.body = self.face + distance[0], self.body + distance[1]
        self.speed += float(pose.diff(dim=0).abs().mean())
        self.jerk += float(pose.diff(dim=0, n=3).abs().mean())
        self.lips += lips
        self.jaw.append(jaw)

    @property
    def jaws(self) -> Floats:
        return np.concatenate(self.jaw)

    def frechet(self, other: Sums) -> tuple[float, float]:
        """Frechet distances of the frames of face and pose."""
        face, body = (
            frechet_distance(np.concatenate(one), np.concatenate(two))
            for one, two in zip(zip(*self.motion, strict=True), zip(*other.motion, strict=True),
                                strict=True)
        )  # fmt: skip
        return face, body


@dataclass(frozen=True)
class Row:
    """One way to sample."""

    sampler: str
    steps: int
    guidance_until: int
    cpu: float  # seconds of face and body, per second of audio
    face: float  # distance from the reference / distance between two seeds
    body: float
    jaw_correlation: float  # with the recorded jaw
    jaw_spread: float  # sampled / recorded
    body_speed: float
    jerk: float  # sampled / reference
    lips: float  # mean distance of lip vertices from the recorded ones, mm
    fd_face: float
    fd_body: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m bench samplers`."""
    parser.add_argument("--person", type=Path, default=Path("people/demo"))
    parser.add_argument("--data", type=Path, required=True, help="recordings in training's layout")
    parser.add_argument("--clips", type=positive_int, default=4)
    parser.add_argument("--seconds", type=positive_float, default=8.0, help="of each clip")
    parser.add_argument("--pairs", type=positive_int, default=3, help="of seeds")
    parser.add_argument(
        "--rows", type=_choice, nargs="+", default=[_choice(text) for text in DEFAULT_ROWS],
        metavar="SAMPLER:STEPS[:UNTIL]",
    )  # fmt: skip
    parser.add_argument("--cache", type=output_folder, help="folder that keeps sampled motion")
    parser.add_argument("--threads", type=positive_int, default=1)
    parser.add_argument(
        "--json", type=output_file, metavar="PATH", help="JSON report; - for stdout"
    )


def _choice(text: str) -> Choice:
    name, _, numbers = text.partition(":")
    if name not in SAMPLERS:
        raise ValueError(name)
    return Choice(name, *(int(number) for number in numbers.split(":")))


def run(arguments: argparse.Namespace) -> None:
    """Print the table."""
    torch.set_num_threads(arguments.threads)
    clips = list(cut_clips(arguments.data, arguments.seconds, arguments.clips))
    report = measure(
        arguments.person, clips, arguments.rows, arguments.pairs, cache=arguments.cache
    )
    print(table(report))
    write_json(report, arguments.json)


def cut_clips(folder: Path, seconds: float, count: int) -> Iterator[Clip]:
    """Yield clips from all scenes in turn. Raises: InputError: when there are too few."""
    for scene, *cut in cuts(folder, seconds, count):
        yield Clip(scene.samples(*cut), scene.codes(*cut), scene.poses(*cut))


@torch.inference_mode()
def measure(
    person: Path,
    clips: Sequence[Clip],
    choices: Sequence[Choice],
    pairs: int,
    *,
    reference: Choice = REFERENCE,
    cache: Path | None = None,
) -> Report[Row]:
    """Sample every clip in every way. Raises: InputError: for another kind of avatar."""
    manifest = read_manifest(person)
    if manifest.avatar_kind != "blendshape":
        raise InputError(f"{person}: must be a blendshape person ({manifest.avatar_kind})")
    cpu = torch.device("cpu")
    bench = Bench(
        load_animator(person, device=cpu),
        load_blendshape(person / "avatar.safetensors", device=cpu),
        manifest.defaults,
        Cache(cache, manifest.files) if cache else None,
        {choice: Sums() for choice in (reference, *choices)},
    )
    for number, clip in enumerate(clips):
        bench.add(clip, tuple(take_seed(100 + number % pairs, take) for take in (1, 2)))
    seconds = sum(len(clip.samples) for clip in clips) / 48_000
    return report_on(cpu, bench.rows(seconds))


@dataclass(frozen=True)
class Take:
    """Sampled motion, with the CPU seconds of both denoisers."""

    motion: Motion
    cpu: float


@dataclass(frozen=True)
class Cache:
    """Sampled motion in a folder, by person, clip, way to sample and seed."""

    folder: Path
    files: Mapping[str, str]  # of the person, with their digests

    def path(self, clip: Clip, sampling: Sampling) -> Path:
        """Return the file of a take."""
        others = {*AVATAR_FILES, *(STUDENTS.values() if sampling.sampler != STUDENT else ())}
        files = {name: digest for name, digest in self.files.items() if name not in others}
        facts = {"files": files, "sampling": asdict(sampling)}
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        key.update(np.ascontiguousarray(clip.samples).tobytes())
        return self.folder / f"{key.hexdigest()[:32]}.npz"

    @staticmethod
    def read(path: Path) -> Take | None:
        """Return a take that is kept."""
        if not path.is_file():
            return None
        with np.load(path) as arrays:
            motion = Motion(torch.from_numpy(arrays["face"]), torch.from_numpy(arrays["pose"]))
            return Take(motion, float(arrays["cpu"]))

    @staticmethod
    def write(path: Path, take: Take) -> None:
        """Keep a take."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as draft, draft.open("wb") as file:
            motion = take.motion
            np.savez(file, face=motion.face.numpy(), pose=motion.pose.numpy(), cpu=take.cpu)


@dataclass
class Bench:
    """A person and the measurements so far."""

    animator: Animator
    avatar: BlendshapeModel
    defaults: Mapping[str, Any]
    cache: Cache | None
    sums: dict[Choice, Sums]  # the first is the reference
    apart: Sums = field(default_factory=Sums)  # two seeds
    truth: Sums = field(default_factory=Sums)

    def add(self, clip: Clip, seeds: tuple[int, ...]) -> None:
        """Sample a clip in every way with the first seed, and once with the second."""
        recorded = Motion(*(torch.from_numpy(np.array(x)).float() for x in (clip.codes, clip.pose)))
        features = self.animator.extract(torch.from_numpy(np.array(clip.samples)))
        lips = self.lips(clip.codes)
        speaks = self._speaks(recorded)
        self._add(self.truth, Take(recorded, 0.0), recorded, speaks, lips)
        reference: Motion | None = None
        for choice, sums in self.sums.items():
            take = self._sampled(clip, features, choice, seeds[0])
            reference = reference or take.motion
            self._add(sums, take, reference, speaks, lips)
        assert reference is not None
        other = self._sampled(clip, features, OTHER, seeds[1])
        self._add(self.apart, other, reference, speaks, lips)

    def rows(self, seconds: float) -> list[Row]:
        """Return the table for `seconds` of audio."""
        reference, *_ = self.sums.values()
        return [
            Row(
                **asdict(choice),
                cpu=sums.cpu / seconds,
                face=math.sqrt(sums.face / self.apart.face),
                body=math.sqrt(sums.body / self.apart.body),
                jaw_correlation=correlation(sums.jaws, self.truth.jaws),
                jaw_spread=float(sums.jaws.std() / self.truth.jaws.std()),
                body_speed=sums.speed / self.truth.speed,
                jerk=sums.jerk / reference.jerk,
                lips=sums.lips / (30 * seconds),
                fd_face=(frechet := sums.frechet(self.truth))[0],
                fd_body=frechet[1],
            )
            for choice, sums in self.sums.items()
        ]

    @cached_property
    def lips(self) -> Callable[[Floats], Floats]:
        """Lip vertices of face codes, in mm."""
        read, _ = lip_reader(self.avatar)
        return read

    def _add(self, sums: Sums, take: Take, other: Motion, speaks: Flags, lips: Floats) -> None:
        motion = take.motion
        statistics = self.animator.networks.statistics
        face = (motion.face - other.face) / statistics.code_std
        body = (motion.pose - other.pose) / statistics.pose_std
        distance = (float(face.square().sum()), float(body.square().sum()))
        apart = lip_vertex_error(self.lips(motion.face.numpy()), lips)
        sums.add(take.cpu, distance, motion.pose, self._jaw(motion)[speaks], float(apart.sum()))
        sums.motion.append(
            (
                ((motion.face - statistics.code_mean) / statistics.code_std).numpy(),
                ((motion.pose - statistics.pose_mean) / statistics.pose_std).numpy(),
            )
        )

    def _jaw(self, motion: Motion) -> Floats:
        unit = self.avatar.unit_names.index(JAW)
        jaw: Floats = self.avatar.unit_weights(motion.face)[:, unit].numpy()
        return jaw

    def _speaks(self, motion: Motion) -> Flags:
        """Find the frames [T] of speech: the jaw opens at most half a syllable away."""
        jaw = torch.from_numpy(self._jaw(motion))[None]
        widest = max_pool1d(jaw, LONGEST_SYLLABLE, 1, LONGEST_SYLLABLE // 2)[0]
        speaks: Flags = (widest > SPEAKS).numpy()
        return speaks

    def _sampled(self, clip: Clip, features: ClipFeatures, choice: Choice, seed: int) -> Take:
        sampling = Sampling(
            (seed,), choice.steps, self.defaults["guidance_face"], self.defaults["guidance_body"],
            self.defaults["diversity"], choice.sampler, choice.guidance_until,
        )  # fmt: skip
        if self.cache is None:
            return self._take(features, sampling)
        path = self.cache.path(clip, sampling)
        take = self.cache.read(path)
        if take is None:
            take = self._take(features, sampling)
            self.cache.write(path, take)
        return take

    def _take(self, features: ClipFeatures, sampling: Sampling) -> Take:
        """Sample as `animate` does, in parts whose time is measured."""
        generators = take_generators(sampling)
        face = timed(lambda: self.animator.faces(features, sampling, generators))
        keys = self.animator.keys(features, sampling.diversity, generators)
        pose = timed(lambda: self.animator.poses(features, keys, sampling, generators))
        motion = Motion(face.result[0].cpu(), pose.result[0].cpu())
        return Take(motion, face.cost.cpu + pose.cost.cpu)


def table(report: Report[Row]) -> str:
    """Format the report as Markdown."""
    lines = [
        "| sampler | calls | guidance until | CPU | face | pose | jaw r | jaw spread | speed "
        "| jerk | lips, mm | FD face | FD pose |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {row.sampler} | {row.steps} | {row.guidance_until} | {row.cpu:.3f} "
            f"| {row.face:.3f} | {row.body:.3f} "
            f"| {row.jaw_correlation:.3f} | {row.jaw_spread:.2f} | {row.body_speed:.2f} "
            f"| {row.jerk:.2f} | {row.lips:.2f} | {row.fd_face:.2f} | {row.fd_body:.2f} |"
            for row in report.rows
        ),
    ]
    return "\n".join([report.title("samplers"), "", *lines])
