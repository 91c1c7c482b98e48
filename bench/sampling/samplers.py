"""Table of samplers for a person: `python -m bench samplers --data DATASET`.

Each row is a sampler with a number of steps. Its motion is compared with that of 500 DDIM steps
from the same noise; the distance is a share of the distance between two seeds. Distances are root
mean squares in normalised units. Spread of the jaw while the person speaks, and speed of the body,
are ratios to the recorded motion, and lips are compared with it by the correlation of the jaw while
she speaks and by the mean distance of lip vertices; these need a blendshape person. FD is the
Frechet distance of all frames to the recorded ones, in normalised units. Jerk of the body, the mean
third difference of the pose, is a ratio to that of the 500 steps. The second table has the measures
that finishing changes, of the motion that users see. The clips come from all scenes of the dataset
in turn, and the pairs of seeds alternate between the clips. With `--cache` each sampled motion is
kept, so that another run with the same clips samples only what is new.

CPU: seconds of both denoisers for a second of audio, without the rest of the work; of the run that
sampled the motion. To compare costs alone, `--reference ddim:100` needs no 500 steps.

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
from models.finishing.animator import load_finishing
from models.finishing.voices import Voices
from models.motion.pipeline import (
    LIPS,
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
from training.person_directory import FILES
from training.person_facts import AVATAR_FILES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from models.avatar.blendshape.model import BlendshapeModel
    from models.finishing.animator import Finishing
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
class Amplitudes:
    """Movement of jaw and body, added up over the clips."""

    speed: float = 0.0
    jerk: float = 0.0
    jaw: list[Floats] = field(default_factory=list)  # while the person speaks

    def add(self, pose: Tensor, jaw: Floats) -> None:
        """Add a clip."""
        self.speed += float(pose.diff(dim=0).abs().mean())
        self.jerk += float(pose.diff(dim=0, n=3).abs().mean())
        self.jaw.append(jaw)

    @property
    def jaws(self) -> Floats:
        return np.concatenate(self.jaw)

    def ratios(self, truth: Amplitudes, reference: Amplitudes) -> tuple[float, float, float]:
        """Spread of the jaw and speed as ratios to the truth, jerk to the reference."""
        spread = float(self.jaws.std() / truth.jaws.std())
        return spread, self.speed / truth.speed, self.jerk / reference.jerk


@dataclass
class Sums:
    """Measurements of one way to sample, added up over the clips."""

    cpu: float = 0.0
    face: float = 0.0  # squared distance from the reference
    body: float = 0.0
    lips: float = 0.0  # sum over frames, mm
    sampled: Amplitudes = field(default_factory=Amplitudes)
    finished: Amplitudes = field(default_factory=Amplitudes)
    motion: list[tuple[Floats, Floats]] = field(default_factory=list)  # face and pose, normalised

    def add(self, cpu: float, distance: tuple[float, float], lips: float) -> None:
        """Add the measurements of a clip."""
        self.cpu += cpu
        self.face, self.body = self.face + distance[0], self.body + distance[1]
        self.lips += lips

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
    finished_jaw_spread: float  # of the finished motion; the same without finishing
    finished_speed: float
    finished_jerk: float


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
    parser.add_argument(
        "--reference", type=_choice, default=REFERENCE, metavar="SAMPLER:STEPS[:UNTIL]",
        help="what the rows are compared with; default: ddim:500",
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
        arguments.person, clips, arguments.rows, arguments.pairs,
        reference=arguments.reference, cache=arguments.cache,
    )  # fmt: skip
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
        load_finishing(person),
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
class Recorded:
    """Parts that all takes of a clip share."""

    motion: Motion
    audio: Tensor  # [1600 T, 2]
    regressed: Tensor | None  # [T, U + 1] lips for finishing
    vertices: Floats  # lip vertices, mm
    speaks: Flags  # [T]


@dataclass(frozen=True)
class Cache:
    """Sampled motion in a folder, by person, clip, way to sample and seed."""

    folder: Path
    files: Mapping[str, str]  # of the person, with their digests

    def path(self, clip: Clip, sampling: Sampling) -> Path:
        """Return the file of a take."""
        read = {*FILES, LIPS, *(STUDENTS.values() if sampling.sampler == STUDENT else ())}
        names = sorted(read & self.files.keys() - set(AVATAR_FILES))
        files = {name: self.files[name] for name in names}
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
    finishing: Finishing | None
    cache: Cache | None
    sums: dict[Choice, Sums]  # the first is the reference
    apart: Sums = field(default_factory=Sums)  # two seeds
    truth: Sums = field(default_factory=Sums)

    def add(self, clip: Clip, seeds: tuple[int, ...]) -> None:
        """Sample a clip in every way with the first seed, and once with the second."""
        recorded = Motion(*(torch.from_numpy(np.array(x)).float() for x in (clip.codes, clip.pose)))
        audio = torch.from_numpy(np.array(clip.samples))
        features = self.animator.extract(audio)
        lips, speaks = self.lips(clip.codes), self._speaks(recorded)
        true = Recorded(recorded, audio, features.lips, lips, speaks)
        self._add(self.truth, Take(recorded, 0.0), recorded, true)
        reference: Motion | None = None
        for choice, sums in self.sums.items():
            take = self._sampled(clip, features, choice, seeds[0])
            reference = reference or take.motion
            self._add(sums, take, reference, true, seeds[0])
        assert reference is not None
        other = self._sampled(clip, features, OTHER, seeds[1])
        self._add(self.apart, other, reference, true)

    def rows(self, seconds: float) -> list[Row]:
        """Return the table for `seconds` of audio."""
        return [self._row(choice, sums, seconds) for choice, sums in self.sums.items()]

    def _row(self, choice: Choice, sums: Sums, seconds: float) -> Row:
        reference, *_ = self.sums.values()
        truth = self.truth.sampled
        jaw_spread, body_speed, jerk = sums.sampled.ratios(truth, reference.sampled)
        finished = sums.finished.ratios(truth, reference.finished)
        fd_face, fd_body = sums.frechet(self.truth)
        return Row(
            **asdict(choice),
            cpu=sums.cpu / seconds,
            face=math.sqrt(sums.face / self.apart.face),
            body=math.sqrt(sums.body / self.apart.body),
            jaw_correlation=correlation(sums.sampled.jaws, truth.jaws),
            jaw_spread=jaw_spread,
            body_speed=body_speed,
            jerk=jerk,
            lips=sums.lips / (30 * seconds),
            fd_face=fd_face,
            fd_body=fd_body,
            finished_jaw_spread=finished[0],
            finished_speed=finished[1],
            finished_jerk=finished[2],
        )

    @cached_property
    def lips(self) -> Callable[[Floats], Floats]:
        """Lip vertices of face codes, in mm."""
        read, _ = lip_reader(self.avatar)
        return read

    def _add(
        self, sums: Sums, take: Take, other: Motion, true: Recorded, seed: int | None = None
    ) -> None:
        """Add a take; seed: of its finishing, which motion of a row has."""
        motion = take.motion
        statistics = self.animator.networks.statistics
        face = (motion.face - other.face) / statistics.code_std
        body = (motion.pose - other.pose) / statistics.pose_std
        distance = (float(face.square().sum()), float(body.square().sum()))
        apart = lip_vertex_error(self.lips(motion.face.numpy()), true.vertices)
        sums.add(take.cpu, distance, float(apart.sum()))
        sums.sampled.add(motion.pose, self._jaw(motion)[true.speaks])
        if seed is not None:
            finished = self._finished(motion, true, seed)
            sums.finished.add(finished.pose, self._jaw(finished)[true.speaks])
        sums.motion.append(
            (
                ((motion.face - statistics.code_mean) / statistics.code_std).numpy(),
                ((motion.pose - statistics.pose_mean) / statistics.pose_std).numpy(),
            )
        )

    def _finished(self, motion: Motion, true: Recorded, seed: int) -> Motion:
        """Finish a motion as `FinishedAnimator.animate` does."""
        if self.finishing is None:
            return motion
        heard = Voices()
        list(heard.listen([true.audio]))
        voices = heard.take(len(motion.face))
        sampled = Motion(motion.face, motion.pose, true.regressed)
        return self.finishing.take(seed, {}).push(sampled, voices, last=True)

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
        f"|{'---|' * 13}",
        *(
            f"| {row.sampler} | {row.steps} | {row.guidance_until} | {row.cpu:.3f} "
            f"| {row.face:.3f} | {row.body:.3f} "
            f"| {row.jaw_correlation:.3f} | {row.jaw_spread:.2f} | {row.body_speed:.2f} "
            f"| {row.jerk:.2f} | {row.lips:.2f} | {row.fd_face:.2f} | {row.fd_body:.2f} |"
            for row in report.rows
        ),
        "",
        "| finished | calls | guidance until | jaw spread | speed | jerk |",
        f"|{'---|' * 6}",
        *(
            f"| {row.sampler} | {row.steps} | {row.guidance_until} | {row.finished_jaw_spread:.2f} "
            f"| {row.finished_speed:.2f} | {row.finished_jerk:.2f} |"
            for row in report.rows
        ),
    ]
    return "\n".join([report.title("samplers"), "", *lines])
