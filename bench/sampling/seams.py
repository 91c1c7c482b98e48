"""Seams of long clips: `python -m bench seams --data DATASET`.

A clip longer than the networks take is sampled in windows. Two tables compare the motion at the
borders of windows with the motion elsewhere, sampled and finished. In every second take of a clip
the windows begin half a window later, so each place is a border in half of the takes and none in
the others: what is said there tells nothing. Jerk: area under the absolute third difference over 30
frames in whose middle the window changes, over the mean of all places that are far from borders.
AUC: of classifiers that are trained to tell 60 frames around borders from 60 frames elsewhere, on
held-out clips (five folds; all takes of a clip are in one fold), with a 95 % interval over clips.
"Between" are the same places in the takes whose windows change elsewhere; "anywhere" are places at
random. There are two controls, both of places between borders: of "two takes", the same places in
two halves of the takes, nothing may be found; of a "planted step", half of them are where a new
window was faked, which must be found.

A third table compares networks of the released sizes, with random weights, in windows with the same
networks over the whole clip, from the same noise and key poses: the mean difference at borders over
that elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from bench.motion import RELEASED, build
from bench.sampling.borders import (
    Groups,
    areas,
    log_differences,
    mean_differences,
    places,
    shifted,
    spans,
)
from bench.sampling.classifier import KINDS, Auc, Spans, held_out_scores, with_interval
from bench.sampling.cuts import cuts
from bench.sampling.whole import compare
from bench.timing import report_on, write_json
from contracts.errors import InputError
from contracts.files import write_atomically
from contracts.person import FINISHING, read_manifest
from contracts.quality import QUALITIES, sampling_options
from models.finishing.animator import load_finishing
from models.finishing.rig import load_rig
from models.finishing.voices import Voices
from models.motion.pipeline import (
    SAMPLES_PER_FRAME,
    Motion,
    Sampling,
    load_animator,
    take_seed,
)
from models.motion.sampling import joined
from models.motion.speech import FRAME_RATE
from models.motion.windows import WINDOWS, WindowConfig
from training.commands.options import (
    output_file,
    output_folder,
    positive_float,
    positive_int,
    whole_number,
)
from training.person_facts import AVATAR_FILES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from torch import Tensor

    from bench.sampling.classifier import Kind
    from bench.sampling.whole import Difference
    from contracts.person import PersonManifest
    from models.finishing.animator import Finishing
    from models.motion.pipeline import Animator

STAGES = ("sampled", "finished")
GROUPS = ("body", "head", "lips")
LEAST_TAKES = 4  # two with each position of the windows


@dataclass(frozen=True)
class Row:
    """Motion of one stage."""

    stage: str
    clips: int
    takes: int  # of each clip
    borders: int
    jerk: Mapping[str, float]  # of each group, at borders over elsewhere
    auc: Mapping[str, Auc]  # by classifier and places
    null: Auc  # of the same places between borders, in two halves of the takes
    planted: Auc


@dataclass(frozen=True)
class Plan:
    """Amount of work."""

    clips: int = 20
    seconds: float = 60.0
    seeds: int = 8
    networks: int = 2  # seeds of each classifier
    released_clips: int = 5
    released_seconds: float = 20.0
    released_steps: int = 11
    windows: WindowConfig = WINDOWS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m bench seams`."""
    parser.add_argument("--person", type=Path, default=Path("people/demo"))
    parser.add_argument("--data", type=Path, required=True, help="recordings in training's layout")
    parser.add_argument("--quality", choices=QUALITIES, default="standard")
    parser.add_argument("--clips", type=whole_number, default=Plan.clips, help="0: none")
    parser.add_argument("--seconds", type=positive_float, default=Plan.seconds, help="of each clip")
    parser.add_argument("--seeds", type=positive_int, default=Plan.seeds, help="takes of each clip")
    parser.add_argument("--networks", type=positive_int, default=Plan.networks)
    parser.add_argument(
        "--cache",
        type=output_folder,
        help="folder that keeps sampled motion; empty it when the code of sampling changes",
    )
    parser.add_argument(
        "--windows", type=_windows, default=WINDOWS, metavar="HOP:OVERLAP:MOVES:START"
    )
    parser.add_argument(
        "--released-clips", type=whole_number, default=Plan.released_clips, help="0: none"
    )
    parser.add_argument("--released-seconds", type=positive_float, default=Plan.released_seconds)
    parser.add_argument("--released-steps", type=positive_int, default=Plan.released_steps)
    parser.add_argument("--threads", type=positive_int, default=1)
    parser.add_argument(
        "--json", type=output_file, metavar="PATH", help="JSON report; - for stdout"
    )


def _windows(text: str) -> WindowConfig:
    return WindowConfig(*(int(number) for number in text.split(":")))


def run(arguments: argparse.Namespace) -> None:
    """Print the tables."""
    torch.set_num_threads(arguments.threads)
    names = Plan.__dataclass_fields__
    plan = Plan(**{name: getattr(arguments, name) for name in names})
    rows: list[Row] = []
    if plan.clips:
        clips = list(cut_audio(arguments.data, plan.seconds, plan.clips))
        rows = measure(arguments.person, clips, plan, arguments.quality, cache=arguments.cache)
        print(table(rows))
    differences: list[Difference] = []
    if plan.released_clips:
        audio = list(cut_audio(arguments.data, plan.released_seconds, plan.released_clips))
        networks = build(RELEASED, torch.device("cpu"))
        differences = compare(networks, audio, plan.released_steps, windows=plan.windows)
        print(differences_table(differences))
    write_json(report_on(torch.device("cpu"), [*rows, *differences]), arguments.json)


def cut_audio(folder: Path, seconds: float, count: int) -> Iterator[Tensor]:
    """Yield clips [n, 2] from all scenes in turn. Raises: InputError: when there are too few."""
    for scene, start, stop in cuts(folder, seconds, count):
        yield torch.from_numpy(np.array(scene.samples(start, stop)))


@torch.inference_mode()
def measure(
    person: Path,
    clips: Sequence[Tensor],
    plan: Plan,
    quality: str,
    *,
    cache: Path | None = None,
) -> list[Row]:
    """Sample every clip and measure each stage. Raises: InputError: for another kind of avatar."""
    manifest = read_manifest(person)
    if manifest.avatar_kind != "blendshape":
        raise InputError(f"{person}: must be a blendshape person ({manifest.avatar_kind})")
    if plan.seeds < LEAST_TAKES:
        raise InputError(f"--seeds: must be at least {LEAST_TAKES} ({plan.seeds})")
    animator = load_animator(person, device=torch.device("cpu"))
    if (frames := min(len(clip) for clip in clips) // SAMPLES_PER_FRAME) <= animator.max_frames:
        raise InputError(
            f"--seconds: clips of {frames / FRAME_RATE:g} s are sampled whole; "
            f"take more than {animator.max_frames / FRAME_RATE:g}"
        )
    sampler = Sampler(
        animator,
        dict(manifest.defaults) | {"quality": quality},
        cache,
        {name: digest for name, digest in manifest.files.items() if sampling_reads(name, manifest)},
        plan.windows,
    )
    sampled = [sampler.takes(clip, number, plan.seeds) for number, clip in enumerate(clips)]
    stages = {"sampled": sampled}
    if (finishing := load_finishing(person)) is not None:
        stages["finished"] = [
            finished(takes, clip, finishing, number)
            for number, (takes, clip) in enumerate(zip(sampled, clips, strict=True))
        ]
    groups = Groups.of(load_rig(person / "avatar.safetensors"))
    return [
        row_of(
            stage,
            [[groups.values(take) for take in takes] for takes in motions],
            groups,
            plan,
            sampler.options["steps"],
        )
        for stage, motions in stages.items()
    ]


@dataclass(frozen=True)
class Sampler:
    """Takes of clips, which a folder may keep by person, clip, way to sample and windows."""

    animator: Animator
    defaults: Mapping[str, Any]
    folder: Path | None
    files: Mapping[str, str]  # that sampling reads, with their digests
    windows: WindowConfig

    @property
    def options(self) -> dict[str, Any]:
        """Sampler, steps and guidance of the quality."""
        return sampling_options(self.defaults)

    def takes(self, clip: Tensor, number: int, seeds: int) -> list[Motion]:
        """Return the takes of a clip."""
        sampling = Sampling(
            take_seeds(number, seeds),
            guidance_face=self.defaults["guidance_face"],
            guidance_body=self.defaults["guidance_body"],
            diversity=self.defaults["diversity"],
            **self.options,
        )
        paths = {seed: self._path(clip, sampling, seed) for seed in sampling.seeds}
        missing = [seed for seed, path in paths.items() if not (path and path.is_file())]
        made: dict[int, Motion] = {}
        for windows in dict.fromkeys(self._windows(sampling.seeds, seed) for seed in missing):
            together = tuple(
                seed for seed in missing if self._windows(sampling.seeds, seed) == windows
            )
            parts = list(
                self.animator.stream([clip], replace(sampling, seeds=together), windows=windows)
            )
            motions = (joined(list(take)) for take in zip(*parts, strict=True))
            made.update(zip(together, motions, strict=True))
        for seed, path in paths.items():
            if path is None:
                continue
            if seed in made:
                write_motion(path, made[seed])
            else:
                made[seed] = read_motion(path)
        return [made[seed] for seed in sampling.seeds]

    def _windows(self, seeds: Sequence[int], seed: int) -> WindowConfig:
        return windows_of(self.windows, seeds.index(seed))

    def _path(self, clip: Tensor, sampling: Sampling, seed: int) -> Path | None:
        if self.folder is None:
            return None
        facts = {
            "files": dict(self.files),
            "sampling": asdict(replace(sampling, seeds=(seed,))),
            "windows": asdict(self._windows(sampling.seeds, seed)),
        }
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        key.update(clip.numpy().tobytes())
        return self.folder / f"{key.hexdigest()[:32]}.npz"


def sampling_reads(name: str, manifest: PersonManifest) -> bool:
    """True unless a file of a person is only read after sampling."""
    return name not in {*AVATAR_FILES, FINISHING, *manifest.media.values()}


def windows_of(windows: WindowConfig, take: int) -> WindowConfig:
    """Return the windows of a take, counted from 0."""
    return shifted(windows) if take % 2 else windows


def take_seeds(number: int, seeds: int) -> tuple[int, ...]:
    """Return the seeds of the takes of a clip."""
    return tuple(take_seed(900 + number, take) for take in range(1, seeds + 1))


def write_motion(path: Path, motion: Motion) -> None:
    """Keep a take."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as draft, draft.open("wb") as file:
        np.savez(
            file, **{name: each.numpy() for name, each in vars(motion).items() if each is not None}
        )


def read_motion(path: Path) -> Motion:
    """Read a take that is kept."""
    with np.load(path) as arrays:
        return Motion(**{name: torch.from_numpy(arrays[name]) for name in arrays})


def finished(
    takes: Sequence[Motion], clip: Tensor, finishing: Finishing, number: int
) -> list[Motion]:
    """Return the takes of a clip as they are rendered."""
    heard = Voices()
    for _ in heard.listen([clip]):
        pass
    voices = heard.take(len(takes[0].pose))
    seeds = take_seeds(number, len(takes))
    return [
        finishing.take(seed, {}).push(take, voices, last=True)
        for seed, take in zip(seeds, takes, strict=True)
    ]


def row_of(
    stage: str, clips: Sequence[Sequence[Tensor]], groups: Groups, plan: Plan, calls: int
) -> Row:
    """Measure the takes [T, U + P] of each clip; calls: of a network in a window."""
    frames = len(clips[0][0])
    of_take = [places(frames, calls, windows_of(plan.windows, take)) for take in range(plan.seeds)]
    ratios = {}
    for group in GROUPS:
        at_borders, elsewhere = [], []
        for takes in clips:
            for at, take in zip(of_take, takes, strict=True):
                curve = areas(take[:, groups.columns[group]])
                at_borders.append(curve[at.borders].mean())
                elsewhere.append(curve[at.far].mean())
        ratios[group] = float(torch.stack(at_borders).mean() / torch.stack(elsewhere).mean())
    rng = np.random.default_rng(1)
    found: dict[str, list[tuple[Tensor, int]]] = defaultdict(list)  # with the number of the clip
    means = mean_differences([take for clip in clips for take in clip])
    for clip, takes in enumerate(clips):
        for number, (at, take) in enumerate(zip(of_take, takes, strict=True)):
            features = log_differences(take, means, groups)
            found["border"].append((spans(features, at.borders), clip))
            between = spans(features, at.between)
            found["between"].append((between, clip))
            found["later" if number // 2 % 2 else "earlier"].append((between, clip))
            anywhere = rng.choice(at.far, len(at.borders)).tolist()
            found["anywhere"].append((spans(features, anywhere), clip))
            stepped = log_differences(step_at(take, at.between, rng), means, groups)
            found["planted"].append((spans(stepped, at.between), clip))
    pairs = {"between": ("border", "between"), "anywhere": ("border", "anywhere")}
    aucs = {
        f"{kind}, {name}": judged(found[one], found[other], KINDS[kind], plan)
        for name, (one, other) in pairs.items()
        for kind in KINDS
    }
    null, planted = (
        judged(found[one], found[other], KINDS["logistic"], plan)
        for one, other in (("earlier", "later"), ("planted", "between"))
    )
    borders = sum(len(part) for part, _ in found["border"])
    return Row(stage, len(clips), plan.seeds, borders, ratios, aucs, null, planted)


def step_at(take: Tensor, frames: Sequence[int], rng: np.random.Generator) -> Tensor:
    """Return the motion [T, C] with a step at some frames: the mean movement between two frames."""
    speed = take.diff(dim=0).abs().mean(0)
    result = take.clone()
    for frame in frames:
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], take.shape[1])).float()
        result[frame:] += signs * speed
    return result


def judged(
    one: Sequence[tuple[Tensor, int]],
    other: Sequence[tuple[Tensor, int]],
    kind: Kind,
    plan: Plan,
) -> Auc:
    """Return how well a kind of classifier tells two kinds of places apart.

    one, other: spans [B, F, S] of each take, with the number of its clip.
    """
    parts = [*one, *other]
    features = torch.cat([part for part, _ in parts])
    clips = torch.cat([torch.full((len(part),), clip) for part, clip in parts])
    labels = torch.zeros(len(features))
    labels[: sum(len(part) for part, _ in one)] = 1
    both = Spans(features, labels, clips)
    with torch.inference_mode(mode=False):
        scores = held_out_scores(both, kind, range(plan.networks))
    return with_interval(scores, both)


def table(rows: Sequence[Row]) -> str:
    """Format the tables of windows as Markdown."""
    first = rows[0]
    lines = [
        f"{first.clips} clips, {first.takes} takes of each, {first.borders} borders",
        "",
        "| jerk at borders / elsewhere | " + " | ".join(first.jerk) + " |",
        "|---" * (1 + len(first.jerk)) + "|",
        *(
            f"| {row.stage} | " + " | ".join(f"{value:.2f}" for value in row.jerk.values()) + " |"
            for row in rows
        ),
        "",
        "| AUC (95 % interval) | " + " | ".join(first.auc) + " | two takes | planted step |",
        "|---" * (3 + len(first.auc)) + "|",
        *(
            f"| {row.stage} | "
            + " | ".join(
                f"{auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})"
                for auc in (*row.auc.values(), row.null, row.planted)
            )
            + " |"
            for row in rows
        ),
    ]
    return "\n".join([*lines, ""])


def differences_table(rows: Sequence[Difference]) -> str:
    """Format the comparison with whole clips as Markdown."""
    return "\n".join(
        [
            "| released size | clips | s | steps | at borders | elsewhere | ratio |",
            "|---|---|---|---|---|---|---|",
            *(
                f"| {row.network} | {row.clips} | {row.seconds:g} | {row.steps} "
                f"| {row.at_borders:.4f} | {row.elsewhere:.4f} | {row.ratio:.2f} |"
                for row in rows
            ),
            "",
        ]
    )
