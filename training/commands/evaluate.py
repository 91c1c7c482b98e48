"""`python -m training sample` and `evaluate`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.formats.results import Results
    from training.data.cuts import Cut
    from training.evaluation.sampling import Drawing

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

PARTNER = Path("the partner's folder beside --data")  # of --flip-person without a folder
LONGEST = 600  # frames, as the reference cuts scenes


def add_commands(commands: Commands) -> None:
    """Both commands, with the reference's names for what is the same."""
    sample = commands.add_parser("sample", help="sample a dataset's sound into results.npz")
    _add_drawing(sample, samples=10, repetitions=3)
    sample.add_argument("--out", type=Path, required=True, help="folder for the results")
    sample.add_argument(
        "--released-format", action="store_true", help="also write results.npy as the reference"
    )
    sample.set_defaults(run=sample_dataset)
    judged = commands.add_parser("evaluate", help="figures of a person's samples and the truth's")
    judged.add_argument("--results", type=Path, help="results.npz to measure, instead of sampling")
    _add_drawing(judged, samples=None, repetitions=5)
    judged.add_argument("--json", type=Path, help="where to write the figures, too")
    judged.add_argument("--plots", type=Path, help="folder for pictures; needs matplotlib")
    judged.set_defaults(run=evaluate_person)


def _add_drawing(
    command: argparse.ArgumentParser, *, samples: int | None, repetitions: int
) -> None:
    add = command.add_argument
    add("--person", type=Path, required=True, help="person directory")
    add("--data", type=Path, required=samples is not None, help="folder of scenes")
    add("--split", choices=("train", "val", "test", "all"), default="test")
    add("--num-samples", type=_count, default=samples, help="cuts of scenes; all without it"
        if samples is None else f"cuts of scenes, {samples} without it")  # fmt: skip
    add("--num-repetitions", type=_count, default=repetitions, help="takes of each")
    add("--max-seq-length", type=_count, default=LONGEST, help="frames of a cut")
    add("--network", choices=("face", "body", "both"), default="both")
    add("--steps", type=_steps, help="of diffusion: 100 or ddim100; the person's own without it")
    add("--guidance", type=float, help="of what is drawn; the person's own without it")
    add("--diversity", type=float, help="top-p of the guide; the person's own without it")
    add("--seed", type=int, default=10)
    add("--device", default="cpu", help="cpu, cuda or cuda:1")
    add("--flip-person", type=Path, nargs="?", const=PARTNER, metavar="DIR",
        help="the partner's recordings, with the channels of sound swapped")  # fmt: skip
    led = command.add_mutually_exclusive_group()
    led.add_argument("--guide", dest="key_poses", action="store_const", const="guide",
                     help="the guide draws the key poses (so without it, too)")  # fmt: skip
    led.add_argument("--true-keys", dest="key_poses", action="store_const", const="true",
                     help="the truth's key poses lead the body")  # fmt: skip
    command.set_defaults(key_poses="guide")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _steps(text: str) -> int:
    found = re.fullmatch(r"(?:ddim)?(\d+)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be a number or ddim and a number, got {text!r}")
    return int(found[1])


def sample_dataset(arguments: argparse.Namespace) -> None:
    """Draw, and write results.npz and the released form."""
    from models.formats.results import RESULTS, write_results

    results = drawn_results(arguments)
    written = [arguments.out / RESULTS]
    write_results(written[0], results)
    if arguments.released_format:
        written += _write_released(arguments, results)
    for path in written:
        sys.stdout.write(f"{path}\n")


def evaluate_person(arguments: argparse.Namespace) -> None:
    """Draw or read results, and print their figures."""
    from models.formats.results import read_results
    from training.evaluation.evaluate import evaluate, table

    if (arguments.results is None) == (arguments.data is None):
        raise SystemExit("evaluate needs --data to sample, or --results to read; one of the two")
    results = read_results(arguments.results) if arguments.results else drawn_results(arguments)
    evaluation = evaluate(results, arguments.person)
    for line in table(evaluation):
        sys.stdout.write(f"{line}\n")
    if arguments.json:
        content = {"options": dict(results.options), **evaluation.plain()}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    if arguments.plots:
        from training.evaluation.plots import write_plots

        for path in write_plots(results, arguments.person, arguments.plots):
            sys.stdout.write(f"{path}\n")


def drawn_results(arguments: argparse.Namespace) -> Results:
    """Sample as the arguments say, and say what is sampled."""
    import torch

    from models.motion.pipeline import load_animator
    from training.data.cuts import find_cuts, partner_folder, read_clips, shuffled
    from training.evaluation.sampling import draw

    drawing = _drawing(arguments)
    flipped = arguments.flip_person is not None
    folder: Path = arguments.data
    if flipped:
        given = arguments.flip_person
        folder = partner_folder(folder) if given is PARTNER else given
    frames = arguments.max_seq_length
    cuts = find_cuts(folder, arguments.split, frames)
    chosen = shuffled(cuts, arguments.num_samples or len(cuts), arguments.seed)
    for line in _said(arguments, folder, cuts, chosen):
        sys.stdout.write(f"{line}\n")
    animator = load_animator(arguments.person, device=torch.device(arguments.device))
    clips = list(read_clips(chosen, frames, flipped=flipped))
    options = {
        "person": arguments.person.resolve().name,
        "data": folder.resolve().name,
        "split": arguments.split,
        "flipped": flipped,
        "max_seq_length": frames,
        **vars(drawing),
    }
    return draw(animator, clips, drawing, options=options)


def _said(
    arguments: argparse.Namespace, folder: Path, cuts: Sequence[Cut], chosen: Sequence[Cut]
) -> list[str]:
    scenes = sorted({cut.scene.name for cut in cuts})
    lines = [
        f"{arguments.split} split of {folder}: {len(scenes)} scenes with cuts, {scenes[0]} to "
        f"{scenes[-1]}; {len(cuts)} cuts of {arguments.max_seq_length} frames, {len(chosen)} drawn"
    ]
    if arguments.num_samples and len(chosen) < arguments.num_samples:
        lines.append(f"{arguments.num_samples} samples were asked for; there are no more")
    return lines


def _drawing(arguments: argparse.Namespace) -> Drawing:
    from training.evaluation.sampling import Drawing

    own = _defaults(arguments.person)

    def asked(option: str, default: str) -> Any:
        value = getattr(arguments, option)
        return own[default] if value is None else value

    return Drawing(
        repetitions=arguments.num_repetitions,
        seed=arguments.seed,
        steps=asked("steps", "steps"),
        guidance_face=asked("guidance", "guidance_face"),
        guidance_body=asked("guidance", "guidance_body"),
        diversity=asked("diversity", "diversity"),
        network=arguments.network,
        key_poses=arguments.key_poses,
    )


def _defaults(person: Path) -> dict[str, Any]:
    """How the person is sampled where nothing is asked for."""
    from contracts.person import MANIFEST, read_manifest

    path = person / MANIFEST
    if not path.is_file():
        raise SystemExit(f"no {MANIFEST} in {person}; is this a whole person directory?")
    return dict(read_manifest(person).defaults)


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
