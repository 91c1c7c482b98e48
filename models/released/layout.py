"""Where everything lies in a folder of the released layout.

    checkpoints/diffusion/c1_face/   args.json, model000155000.pt
    checkpoints/diffusion/c1_pose/   the same
    checkpoints/guide/c1_pose/       args.json, checkpoints/iter-0100000.pt
    checkpoints/vq/c1_pose/          args.json, net_iter300000.pth
    checkpoints/ca_body/data/PERSON/ config.yml, static_assets.pt, body_dec.ckpt
    assets/                          vq-wav2vec.pt, wav2vec_large.pt, iter-0200000.pt,
                                     render_defaults_PERSON.pth
    dataset/PERSON/                  data_stats.pth

Of several checkpoints the one with the most iterations is taken; a folder above, or one less, makes
no difference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.released.reader import ReleasedError, read_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PEOPLE = ("PXB184", "RLW104", "TXB805", "GQS883")
SETTINGS = "args.json"
NEEDED = (".pt", ".pth", ".ckpt", SETTINGS, "config.yml")  # of archives; the rest is recordings
OPTIMISER = re.compile(r"opt\d+\.pt")
PLACES = {  # what lies where, in words
    "face": "checkpoints/diffusion/*_face/model*.pt",
    "body": "checkpoints/diffusion/*_pose/model*.pt",
    "guide": "checkpoints/guide/*_pose/checkpoints/iter-*.pt",
    "tokenizer": "checkpoints/vq/*_pose/net_*.pth",
    "statistics": "dataset/{person}/data_stats.pth",
    "speech": "assets/vq-wav2vec.pt",
    "lips": "assets/iter-*.pt",
    "lip speech": "assets/wav2vec_large.pt",
    "cameras": "assets/render_defaults_{person}.pth",
    "avatar config": "checkpoints/ca_body/data/{person}/config.yml",
    "avatar assets": "checkpoints/ca_body/data/{person}/static_assets.pt",
    "avatar weights": "checkpoints/ca_body/data/{person}/body_dec.ckpt",
}


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and the settings that they were trained with."""

    weights: Path
    settings: Path


def is_needed(name: str) -> bool:
    """Whether a file in an archive is one of those above."""
    last = name.rpartition("/")[2]
    return last.endswith(NEEDED) and not last.startswith("._") and not OPTIMISER.fullmatch(last)


class Layout:
    """The files of one person below some folders; looked for when they are asked for.

    Every method raises ReleasedError for a file that is needed and is not there.
    """

    def __init__(self, folders: Sequence[Path], person: str) -> None:
        self.folders, self.person = folders, person
        self._files = sorted(
            path
            for folder in folders
            for path in folder.rglob("*")
            if is_needed(path.name) and path.is_file()
        )

    def diffusion(self, kind: str) -> Checkpoint:
        """The checkpoint of the "face" or of the "body"."""
        form = "face" if kind == "face" else "pose"
        found = self._checkpoints(r".*/diffusion/[^/]+/model\d+\.pt", up=1)
        right = [each for each in found if _form(each) == form]
        return self._chosen(kind, right)

    def guide(self) -> Checkpoint:
        """The checkpoint of the guide."""
        found = self._checkpoints(r".*/guide/[^/]+/checkpoints/iter-\d+\.pt", up=2)
        return self._chosen("guide", found)

    def tokenizer(self, named: str | None = None) -> Checkpoint:
        """The checkpoint of the tokenizer: the one named by the guide, else the latest."""
        pattern = r".*/vq/[^/]+/net_(iter\d+|last|best)\.pth"
        if named is not None:
            last = re.split(r"[\\/]", named)[-1]
            exact = self._checkpoints(rf".*/vq/[^/]+/{re.escape(last)}", up=1)
            if exact:
                return self._chosen("tokenizer", exact)
        return self._chosen("tokenizer", self._checkpoints(pattern, up=1))

    def file(self, what: str) -> Path:
        """One of the other files of PLACES."""
        found = self.optional(what)
        if found is None:
            raise self._missing(what)
        return found

    def optional(self, what: str) -> Path | None:
        """The same, None where it is not there."""
        pattern = {
            "statistics": r"(?:.*/{person}/data_stats|.*/data_stats_{person})\.pth",
            "speech": r".*/vq-wav2vec\.pt",
            "lips": r".*/(?!checkpoints/)[^/]+/iter-\d+\.pt",
            "lip speech": r".*/wav2vec_large\.pt",
            "cameras": r".*/render_defaults_{person}\.pth",
            "avatar config": r".*/{person}/config\.yml",
            "avatar assets": r".*/{person}/static_assets\.pt",
            "avatar weights": r".*/{person}/body_dec\.ckpt",
        }[what].format(person=re.escape(self.person))
        found = [path for path in self._files if re.fullmatch(pattern, path.as_posix())]
        return found[-1] if found else None

    def _checkpoints(self, pattern: str, *, up: int) -> list[Checkpoint]:
        """One of each folder: that with the most iterations; args.json lies `up` folders above."""
        latest: dict[Path, Path] = {}
        for path in self._files:
            if re.fullmatch(pattern, path.as_posix()):
                latest[path.parent] = max(latest.get(path.parent, path), path, key=_iterations)
        return [Checkpoint(path, path.parents[up - 1] / SETTINGS) for path in latest.values()]

    def _chosen(self, what: str, found: list[Checkpoint]) -> Checkpoint:
        """The only one, or the only one that was trained on this person's recordings."""
        if not found:
            raise self._missing(what)
        mine = [each for each in found if self.person in _trained_on(each)]
        if len(mine) == 1:
            return mine[0]
        if len(found) > 1:
            listed = ", ".join(str(each.weights) for each in found)
            raise ReleasedError(
                f"there are several for the {what}: {listed}; leave that of {self.person} only"
            )
        (only,) = found
        if others := [name for name in PEOPLE if name in _trained_on(only)]:
            raise ReleasedError(
                f"{only.weights} was trained on {others[0]}, as {only.settings} says, and not on "
                f"{self.person}"
            )
        return only

    def _missing(self, what: str) -> ReleasedError:
        place = PLACES[what].format(person=self.person)
        looked = " or ".join(map(str, self.folders))
        return ReleasedError(f"there is no {place} in {looked}")


def _iterations(path: Path) -> tuple[int, str]:
    """How long it was trained; "last" and "best" do not say, and come first."""
    numbers = re.findall(r"\d+", path.stem)
    return (int(numbers[-1]) if numbers else -1, path.name)


def _settings(checkpoint: Checkpoint) -> dict[str, Any]:
    return read_json(checkpoint.settings) if checkpoint.settings.is_file() else {}


def _form(checkpoint: Checkpoint) -> str:
    """Whether it draws faces or poses: as its settings say, else as its folder is called."""
    by_name = checkpoint.weights.parent.name.rpartition("_")[2]
    return str(_settings(checkpoint).get("data_format") or by_name)


def _trained_on(checkpoint: Checkpoint) -> str:
    return str(_settings(checkpoint).get("data_root") or "")
