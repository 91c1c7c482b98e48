"""`python -m training judge`: compare a person's motion with the truth of a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from training.commands.console import print_line
from training.commands.options import output_file, positive_float, positive_int, whole_number
from training.person_facts import DEMO_PERSON

if TYPE_CHECKING:
    import argparse


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `judge`."""
    judge = commands.add_parser("judge", help="compare a person's motion with a dataset")
    judge.add_argument("--data", type=Path, required=True, help="folder of scenes not trained on")
    judge.add_argument("--person", type=Path, default=DEMO_PERSON, help="person directory")
    judge.add_argument("--clips", type=positive_int, default=6, help="number of clips")
    judge.add_argument("--seconds", type=positive_float, default=20.0, help="length of a clip")
    judge.add_argument(
        "--takes", type=positive_int, default=1, help="of each clip; nods and arms need several"
    )
    judge.add_argument(
        "--steps", type=positive_int, help="diffusion steps; default: those of the person"
    )
    judge.add_argument(
        "--lips-alone",
        action="store_true",
        help="measure the lips only, as regressed and finished; no motion is sampled",
    )
    judge.add_argument(
        "--noisy-clips",
        type=whole_number,
        default=0,
        help="number of clips sampled again with white, pink, babble and music noise",
    )
    judge.add_argument(
        "--recordings", type=Path, help="also judge the lips on WAV files of real voices"
    )
    judge.add_argument(
        "--english",
        action="store_true",
        help="the recordings are English: judge lips by phone, with pocketsphinx; NAME.txt beside "
        "NAME.wav may have the words",
    )
    judge.add_argument("--json", type=output_file, help="also write the figures to this file")
    judge.set_defaults(run=judge_person)


def judge_person(arguments: argparse.Namespace) -> None:
    """Print the figures of `training.demo.judge`, and write them as JSON."""
    from training.demo.judge import judge, judge_lips_alone

    cut = {
        "clips": arguments.clips,
        "seconds": arguments.seconds,
        "noisy_clips": arguments.noisy_clips,
    }
    if arguments.lips_alone:
        figures = judge_lips_alone(arguments.person, arguments.data, **cut)
    else:
        figures = judge(
            arguments.person, arguments.data, steps=arguments.steps, takes=arguments.takes, **cut
        )
    if arguments.recordings is not None:
        from training.demo.judge import judged_avatar
        from training.demo.recordings import judge_recordings

        figures |= judge_recordings(
            arguments.person,
            arguments.recordings,
            judged_avatar(arguments.person),
            english=arguments.english,
            lips_alone=arguments.lips_alone,
        )
    for name, value in figures.items():
        if name.removesuffix("_truth") in figures and name.endswith("_truth"):
            continue
        true = figures.get(f"{name}_truth")
        beside = "" if true is None else f"   truth {true:9.4g}"
        print_line(f"{name:32} {value:9.4g}{beside}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
