"""`python -m training data ...`: looks at datasets, measures, hears and fetches them."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from models.motion.speech import FRAME_RATE
from models.released.export import write_data_stats
from training.data.checks import ERROR, NOTE, WARNING, check
from training.data.features import FOLDER, LIPS, SPEECH, Pieces, keep, load_ears, shelf
from training.data.scenes import open_scenes
from training.data.statistics import measure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

TELL_BYTES = 50_000_000  # between two lines about the same file


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """The commands about data that is there, beside the one that makes some."""
    look = commands.add_parser("check", help="what is wrong with a dataset, by file and frame")
    look.add_argument("folder", type=Path)
    look.add_argument("--json", action="store_true", help="findings as JSON")
    look.set_defaults(run=check_data)

    stats = commands.add_parser("stats", help="write what motion and sound are normalised with")
    stats.add_argument("folder", type=Path)
    stats.add_argument("--out", type=Path, help="default: stats.json in the folder")
    stats.add_argument(
        "--released", action="store_true", help="data_stats.pth, the form of released recordings"
    )
    stats.set_defaults(run=write_statistics)

    extract = commands.add_parser("features", help="run a person's frozen networks over a dataset")
    extract.add_argument("folder", type=Path)
    extract.add_argument("--person", type=Path, required=True, help="person directory")
    extract.add_argument("--out", type=Path, help=f"default: {FOLDER} in the folder")
    extract.add_argument("--piece-seconds", type=float, help="how long a clip is heard as one")
    extract.add_argument("--hop-seconds", type=float, help="from the start of one to the next")
    extract.add_argument("--dtype", choices=["float16", "float32"])
    extract.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    extract.set_defaults(run=make_features)

    get = commands.add_parser("download", help="released recordings of a person, CC BY-NC 4.0")
    get.add_argument("person")
    get.add_argument("--to", type=Path, default=Path("dataset"), help="folder of datasets")
    get.add_argument("--from", dest="origin", help="a mirror, or a folder that has the archive")
    get.add_argument("--accept-licence", action="store_true", help="do not ask")
    get.add_argument("--keep-archive", action="store_true", help="after it was unpacked")
    get.set_defaults(run=download)


def check_data(arguments: argparse.Namespace) -> None:
    """A line for each finding; exit status 1 where one is an error."""
    with told():
        found = check(arguments.folder)
    if arguments.json:
        facts = {"scenes": found.scenes, "frames": found.frames}
        findings = [asdict(each) for each in found.findings]
        say(json.dumps({**facts, "findings": findings}, indent=2))
    else:
        for each in found.findings:
            say(str(each))
        counts = ", ".join(f"{found.count(level)} {level}s" for level in (ERROR, WARNING, NOTE))
        say(f"{found.scenes} scenes, {found.frames / FRAME_RATE / 60:.1f} min: {counts}")
    if found.count(ERROR):
        raise SystemExit(1)


def write_statistics(arguments: argparse.Namespace) -> None:
    """Measure, and write one of the two forms."""
    form = "data_stats.pth" if arguments.released else "stats.json"
    path = arguments.out or arguments.folder / form
    with told():
        values = measure(arguments.folder)
        draft = path.with_name(f".{path.name}.new")
        if arguments.released:
            write_data_stats(draft, values)
        else:
            draft.write_text(json.dumps(values) + "\n", encoding="utf-8")
        draft.replace(path)
    say(str(path))


def make_features(arguments: argparse.Namespace) -> None:
    """Speech features of all scenes, and lips where the person has them."""
    device = torch.device(arguments.device)
    with told():
        ears = load_ears(arguments.person, device=device)
        scenes = open_scenes(arguments.folder)
        place = arguments.out or arguments.folder / FOLDER
        for part in (SPEECH, LIPS) if ears.lips is not None else (SPEECH,):
            kept = shelf(ears, part, place, asked_pieces(arguments, ears.pieces))
            made = keep(ears, kept, scenes, progress=tell_scene)
            size = sum(path.stat().st_size for path in kept.folder.glob("*.npy"))
            words = f"{len(scenes)} scenes, {made} heard now, {size / 1e9:.2f} GB"
            say(f"{part}: {words} in {kept.folder}")


def asked_pieces(arguments: argparse.Namespace, usual: Pieces) -> Pieces | None:
    """None where nothing was said: then those that are there are kept to."""
    asked = (arguments.piece_seconds, arguments.hop_seconds, arguments.dtype)
    if asked == (None, None, None):
        return None
    frames = (
        round(arguments.piece_seconds * FRAME_RATE) if arguments.piece_seconds else usual.frames
    )
    hop = round(arguments.hop_seconds * FRAME_RATE) if arguments.hop_seconds else usual.hop
    return Pieces(frames, min(hop, frames), arguments.dtype or usual.dtype)


def download(arguments: argparse.Namespace) -> None:
    """Show the licence, ask, fetch and unpack."""
    from models.released.download import LICENCE, DownloadError
    from training.data.download import get_recordings

    say(LICENCE.format(person=arguments.person))
    if not arguments.accept_licence:
        if not sys.stdin.isatty():
            raise SystemExit("nobody is there to be asked; say --accept-licence if you accept it")
        if input("Do you accept this licence? [y/N] ").strip().lower() not in ("y", "yes"):
            raise SystemExit("nothing was fetched")
    try:
        with told():
            scenes = get_recordings(
                arguments.person,
                arguments.to,
                origin=arguments.origin,
                progress=Telling(),
                tell=say,
                keep_archive=arguments.keep_archive,
            )
    except DownloadError as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit("stopped; what came is kept and continued the next time") from None
    say(f"{len(scenes)} scenes in {arguments.to / arguments.person}")


class Telling:
    """Tells how far a file is, now and then."""

    def __init__(self) -> None:
        self.told = 0

    def __call__(self, name: str, done: int, total: int | None) -> None:
        if done - self.told >= TELL_BYTES or done == total:
            self.told = done
            of = f" of {total / 1e6:.0f}" if total is not None else ""
            say(f"  {name}  {done / 1e6:.0f}{of} MB")


def tell_scene(name: str, done: int, count: int) -> None:
    """One line a scene."""
    say(f"  {name}  {done} of {count}")


def say(words: str) -> None:
    """An answer of a command."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


@contextmanager
def told() -> Iterator[None]:
    """What is wrong with files is one sentence on stderr and exit status 1."""
    try:
        yield
    except (ValueError, OSError) as error:  # DatasetError, CheckpointError and the like
        raise SystemExit(str(error)) from error
