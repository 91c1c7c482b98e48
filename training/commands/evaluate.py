"""`python -m training sample` and `evaluate`: sample a dataset, and measure the samples."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.errors import InputError
from training.commands.console import print_line
from training.commands.options import device_name, output_file, output_folder, positive_int

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.formats.results import Results
    from training.data.cuts import Cut
    from training.evaluation.sampling import SamplingSettings

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

PARTNER = Path("the partner's folder beside --data")  # value of --flip-person without a folder
LONGEST = 600  # frames of a cut, as in the reference


def add_commands(commands: Commands) -> None:
    """Add `sample` and `evaluate`, with option names of the reference if they mean the same."""
    sample = commands.add_parser("sample", help="sample motion for a dataset into results.npz")
    _add_sampling_options(sample, samples=10, repetitions=3)
    sample.add_argument("--out", type=output_folder, required=True, help="folder for the results")
    sample.add_argument(
        "--released-format", action="store_true", help="also write results.npy of the reference"
    )
    sample.set_defaults(run=sample_dataset)
    measure = commands.add_parser("evaluate", help="measure samples of a person and the truth")
    measure.add_argument("--results", type=Path, help="results.npz to measure, instead of sampling")
    _add_sampling_options(measure, samples=None, repetitions=5)
    measure.add_argument("--json", type=output_file, help="also write the figures to this file")
    measure.add_argument("--plots", type=output_folder, help="folder for plots; needs matplotlib")
    measure.set_defaults(run=evaluate_person)


def _add_sampling_options(
    command: argparse.ArgumentParser, *, samples: int | None, repetitions: int
) -> None:
    add = command.add_argument
    add("--person", type=Path, required=True, help="person directory")
    add("--data", type=Path, required=samples is not None, help="folder of scenes")
    add("--split", choices=("train", "val", "test", "all"), default="test", help="default: test")
    add("--num-samples", type=positive_int, default=samples,
        help=f"number of cuts; default: {'all' if samples is None else samples}")  # fmt: skip
    add("--num-repetitions", type=positive_int, default=repetitions, help="takes of each cut")
    add("--max-seq-length", type=positive_int, default=LONGEST, help="frames of a cut")
    add("--network", choices=("face", "body", "both"), default="both", help="default: both")
    add("--steps", type=_steps, help="diffusion steps, 100 or ddim100; default: the person's")
    add("--guidance", type=float, help="guidance scale; default: the person's")
    add("--diversity", type=float, help="top-p of the guide; default: the person's")
    add("--seed", type=int, default=10)
    add("--device", type=device_name, default="cpu", help="cpu, cuda or cuda:1")
    add("--flip-person", type=Path, nargs="?", const=PARTNER, metavar="DIR",
        help="use the partner's recordings, with swapped audio channels")  # fmt: skip
    source = command.add_mutually_exclusive_group()
    source.add_argument("--guide", dest="key_poses", action="store_const", const="guide",
                        help="use key poses of the guide (default)")  # fmt: skip
    source.add_argument("--true-keys", dest="key_poses", action="store_const", const="true",
                        help="use key poses of the truth")  # fmt: skip
    command.set_defaults(key_poses="guide")


def _steps(text: str) -> int:
    match = re.fullmatch(r"(?:ddim)?(\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"must be a number or ddim and a number, got {text!r}")
    return int(match[1])


def sample_dataset(arguments: argparse.Namespace) -> None:
    """Sample, and write results.npz and optionally the released format."""
    from models.formats.results import RESULTS, write_results

    results = sample_results(arguments)
    written = [arguments.out / RESULTS]
    write_results(written[0], results)
    if arguments.released_format:
        written += _write_released(arguments, results)
    for path in written:
        print_line(path)


def evaluate_person(arguments: argparse.Namespace) -> None:
    """Sample or read results, and print their figures."""
    from contracts.person import read_manifest
    from models.formats.results import read_results
    from training.evaluation.evaluate import evaluate, table

    if (arguments.results is None) == (arguments.data is None):
        raise InputError("evaluate needs either --data to sample, or --results to read")
    read_manifest(arguments.person)
    results = read_results(arguments.results) if arguments.results else sample_results(arguments)
    evaluation = evaluate(results, arguments.person)
    for line in table(evaluation):
        print_line(line)
    if arguments.json:
        content = {"options": dict(results.options), **evaluation.plain()}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    if arguments.plots:
        from training.evaluation.plots import write_plots

        for path in write_plots(results, arguments.person, arguments.plots):
            print_line(path)


def sample_results(arguments: argparse.Namespace) -> Results:
    """Sample with the options, and print a summary first."""
    import torch

    from models.motion.pipeline import load_animator
    from training.data.cuts import find_cuts, partner_folder, read_clips, shuffled
    from training.evaluation.sampling import sample_clips

    settings = _settings(arguments)
    flipped = arguments.flip_person is not None
    folder: Path = arguments.data
    if flipped:
        flip = arguments.flip_person
        folder = partner_folder(folder) if flip is PARTNER else flip
    frames = arguments.max_seq_length
    cuts = find_cuts(folder, arguments.split, frames)
    chosen = shuffled(cuts, arguments.num_samples or len(cuts), arguments.seed)
    for line in _summary(arguments, folder, cuts, chosen):
        print_line(line)
    animator = load_animator(arguments.person, device=torch.device(arguments.device))
    clips = list(read_clips(chosen, frames, flipped=flipped))
    options = {
        "person": arguments.person.resolve().name,
        "data": folder.resolve().name,
        "split": arguments.split,
        "flipped": flipped,
        "max_seq_length": frames,
        **vars(settings),
    }
    return sample_clips(animator, clips, settings, options=options)


def _summary(
    arguments: argparse.Namespace, folder: Path, cuts: Sequence[Cut], chosen: Sequence[Cut]
) -> list[str]:
    scenes = sorted({cut.scene.name for cut in cuts})
    lines = [
        f"{arguments.split} split of {folder}: {len(scenes)} scenes with cuts, {scenes[0]} to "
        f"{scenes[-1]}; {len(cuts)} cuts of {arguments.max_seq_length} frames, {len(chosen)} chosen"
    ]
    if arguments.num_samples and len(chosen) < arguments.num_samples:
        lines.append(f"--num-samples is {arguments.num_samples}, but only {len(chosen)} exist")
    return lines


def _settings(arguments: argparse.Namespace) -> SamplingSettings:
    from contracts.person import GUIDANCE, read_manifest
    from contracts.quality import sampling_options
    from training.evaluation.sampling import SamplingSettings

    manifest = read_manifest(arguments.person)
    defaults = manifest.defaults

    def option(name: str, default: str) -> Any:
        value = getattr(arguments, name)
        return defaults[default] if value is None else value

    guidance = {name: option("guidance", name) for name in GUIDANCE}
    return SamplingSettings(
        repetitions=arguments.num_repetitions,
        seed=arguments.seed,
        **sampling_options({**defaults, **guidance}, arguments.steps, student=manifest.student),
        **guidance,
        diversity=option("diversity", "diversity"),
        network=arguments.network,
        key_poses=arguments.key_poses,
    )


def _write_released(arguments: argparse.Namespace, results: Results) -> list[Path]:
    import torch

    from models.motion.statistics import load_statistics
    from models.released.results import (
        RELEASED_RESULTS,
        released_results,
        write_released_results,
    )

    statistics = load_statistics(arguments.person / "stats.json", device=torch.device("cpu"))
    written = []
    for kind in ("face", "pose"):
        if getattr(results, kind) is not None:
            written.append(arguments.out / kind / RELEASED_RESULTS)
            write_released_results(written[-1], released_results(results, kind, statistics))
    return written
