"""`python -m training distill`: a person's student, which samples in few calls without guidance."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from contracts.files import write_atomically
from contracts.person import read_manifest
from models import checkpoint
from models.formats.dataset import DatasetError
from models.motion.denoiser import load_student
from models.motion.pipeline import STUDENTS, Sampling, load_animator
from models.motion.speech import FRAME_RATE
from training.commands.console import print_line
from training.commands.options import output_folder, positive_float, positive_int
from training.data.scenes import open_scenes
from training.loop.checkpoints import CheckpointStore
from training.loop.distributed import DEVICES, choose_device
from training.loop.loop import LoopConfig, Progress, train
from training.loop.schedules import CosineSchedule
from training.networks.distillation import (
    NAMES,
    DistillConfig,
    Publish,
    Trajectories,
    distillation,
    fit_spread,
    sample_trajectories,
    teacher_files,
)
from training.person_directory import complete

if TYPE_CHECKING:
    import argparse

    from models.formats.dataset import SceneData
    from models.motion.pipeline import Animator

LENGTHS = DistillConfig.frames
HELD_OUT = 6  # last scenes, for validation and tests of the other networks
LOOP = LoopConfig(
    steps=2000, schedule=CosineSchedule(5e-4, warmup=20, final=0.02), clip=1.0, average=0.99,
    validate_steps=50, preview_minutes=0.0,
)  # fmt: skip


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `distill`."""
    distill = commands.add_parser(
        "distill", help="train networks that sample in few calls what a person's networks sample"
    )
    distill.add_argument("--person", type=Path, required=True, help="person directory")
    distill.add_argument("--data", type=Path, required=True, help="folder of scenes")
    distill.add_argument(
        "--work", type=output_folder, help="folder of the run; default: .training in --person"
    )
    distill.add_argument(
        "--calls", type=int, choices=range(1, 5), default=DistillConfig.calls,
        help=f"calls of the student; default: {DistillConfig.calls}",
    )  # fmt: skip
    distill.add_argument(
        "--clips", type=positive_int, default=DistillConfig.clips,
        help=f"clips that the person's networks sample; default: {DistillConfig.clips}",
    )  # fmt: skip
    length = distill.add_mutually_exclusive_group()
    length.add_argument(
        "--steps", type=positive_int, help=f"of each network's training; default: {LOOP.steps}"
    )
    length.add_argument("--minutes", type=positive_float, help="of each network's training")
    distill.add_argument("--batch", type=positive_int, default=DistillConfig.batch)
    distill.add_argument("--threads", type=positive_int, default=1, help="of torch on a CPU")
    distill.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")
    distill.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Sample trajectories, train both networks, and publish them with person.json.

    The same command continues a run that was stopped.
    Raises: InputError: before anything is written, when person or dataset do not fit.
    """
    torch.set_num_threads(arguments.threads)
    person: Path = arguments.person
    device = choose_device(arguments.device)
    defaults = read_manifest(person).defaults
    animator = load_animator(person, device=device)
    config = _config(arguments, animator)
    scenes = training_scenes(arguments.data, config)
    sampling = Sampling(
        (0,), 1, defaults["guidance_face"], defaults["guidance_body"], defaults["diversity"]
    )
    work = (arguments.work or person / ".training") / f"student-{config.calls}"
    guidance = {"face": sampling.guidance_face, "body": sampling.guidance_body}
    teachers = teacher_files(person)
    facts = {"teacher": teachers, "guidance": guidance, "diversity": sampling.diversity}
    trajectories = Trajectories(work / "trajectories", config, facts)
    sample_trajectories(animator, scenes, sampling, trajectories)
    options = {"steps": arguments.steps, "minutes": arguments.minutes}
    loop = replace(LOOP, **{name: value for name, value in options.items() if value is not None})
    lengths = {}
    for name in NAMES:
        teacher = getattr(animator.networks, name)
        write = Publish(
            teacher.config, config.calls, guidance[name], teachers[name],
            checkpoint.stored_dtype(person / f"{name}.safetensors"),
        )  # fmt: skip
        training = distillation(name, teacher, trajectories, write)
        weights = work / STUDENTS[name]

        def publish(averaged: dict[str, Any], _: Progress, path: Path = weights) -> None:
            write(averaged, path)  # noqa: B023 - called in this turn only

        progress = train(
            training, loop, checkpoints=CheckpointStore(work / name, loop.keep), publish=publish,
            device=device,
        )  # fmt: skip
        if progress.share(loop) < 1:
            return
        student = load_student(weights, type(teacher), device=device).network
        if name == "face":  # that of the body would scale its tremble, too
            spread = fit_spread(student, name, trajectories)
            print_line(f"face: predictions times {spread:.2f}")
        write(student.state_dict(), work / f"fitted-{STUDENTS[name]}")
        lengths[name] = f"{progress.step} steps, {progress.seconds / 60:.0f} min"
    for name in NAMES:
        with write_atomically(person / STUDENTS[name]) as draft:
            shutil.copyfile(work / f"fitted-{STUDENTS[name]}", draft)
    text = f"{config.calls} calls, {config.clips} clips; " + "; ".join(
        f"{name} {length}" for name, length in lengths.items()
    )
    complete(person, student=text)
    print_line(f"{person} has a student of {config.calls} calls: `sampler=student`")


def _config(arguments: argparse.Namespace, animator: Animator) -> DistillConfig:
    """Return the config with lengths of clips that the networks take."""
    frames = tuple(min(each, animator.max_frames) for each in LENGTHS)
    return DistillConfig(
        calls=arguments.calls, clips=arguments.clips, frames=frames, batch=arguments.batch
    )


def training_scenes(folder: Path, config: DistillConfig) -> list[SceneData]:
    """Return the scenes to sample: all but the last ones, which are for validation and tests.

    Raises: DatasetError: when none is as long as the longest clip.
    """
    scenes = open_scenes(folder)
    longest = max(config.frames)
    long = [scene for scene in scenes[: max(1, len(scenes) - HELD_OUT)] if scene.frames >= longest]
    if not long:
        raise DatasetError(
            f"{folder}: no training scene has {longest / FRAME_RATE:g} s; record longer scenes"
        )
    return long
