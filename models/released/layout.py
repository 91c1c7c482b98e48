"""Paths of the files in a folder of the released layout.

    checkpoints/diffusion/c1_face/   args.json, model000155000.pt
    checkpoints/diffusion/c1_pose/   the same
    checkpoints/guide/c1_pose/       args.json, checkpoints/iter-0100000.pt
    checkpoints/vq/c1_pose/          args.json, net_iter300000.pth
    checkpoints/ca_body/data/PERSON/ config.yml, static_assets.pt, body_dec.ckpt
    assets/                          vq-wav2vec.pt, wav2vec_large.pt, iter-0200000.pt,
                                     render_defaults_PERSON.pth
    dataset/PERSON/                  data_stats.pth

Of several checkpoints, the one with the most iterations is used. The search also works from a
parent folder or a subfolder.
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
NEEDED = (".pt", ".pth", ".ckpt", SETTINGS, "config.yml")  # in archives; the rest is recordings
OPTIMISER = re.compile(r"opt\d+\.pt")
PATTERNS = {  # for error messages and copies
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
    """Paths of weights and of the settings they were trained with."""

    weights: Path
    settings: Path


def is_needed(name: str) -> bool:
    """Return whether the importer needs a file of an archive."""
    last = name.rpartition("/")[2]
    return last.endswith(NEEDED) and not last.startswith("._") and not OPTIMISER.fullmatch(last)


class Layout:
    """Files of one person below some folders.

    The methods search for one file each and raise ReleasedError if it is not found.
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
        """Find the checkpoint of the "face" or "body" denoiser.

        Raises: ReleasedError: when it is not found, ambiguous or of another person.
        """
        data_format = "face" if kind == "face" else "pose"
        checkpoints = self._checkpoints(r".*/diffusion/[^/]+/model\d+\.pt", up=1)
        return self._select(kind, [each for each in checkpoints if _format(each) == data_format])

    def guide(self) -> Checkpoint:
        """Find the checkpoint of the guide.

        Raises: ReleasedError: when it is not found, ambiguous or of another person.
        """
        checkpoints = self._checkpoints(r".*/guide/[^/]+/checkpoints/iter-\d+\.pt", up=2)
        return self._select("guide", checkpoints)

    def tokenizer(self, named: str | None = None) -> Checkpoint:
        """Find the checkpoint of the tokenizer: the one that the guide names, else the latest.

        Raises: ReleasedError: when it is not found, ambiguous or of another person.
        """
        pattern = r".*/vq/[^/]+/net_(iter\d+|last|best)\.pth"
        if named is not None:
            last = re.split(r"[\\/]", named)[-1]
            exact = self._checkpoints(rf".*/vq/[^/]+/{re.escape(last)}", up=1)
            if exact:
                return self._select("tokenizer", exact)
        return self._select("tokenizer", self._checkpoints(pattern, up=1))

    def file(self, what: str) -> Path:
        """Find one of the other files of PATTERNS.

        Raises: ReleasedError: when it is not found.
        """
        path = self.optional(what)
        if path is None:
            raise self._not_found(what)
        return path

    def optional(self, what: str) -> Path | None:
        """Find one of the other files of PATTERNS, None if it does not exist."""
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
        matches = [path for path in self._files if re.fullmatch(pattern, path.as_posix())]
        return matches[-1] if matches else None

    def _checkpoints(self, pattern: str, *, up: int) -> list[Checkpoint]:
        """Checkpoint with the most iterations of each folder; args.json is `up` folders above."""
        latest: dict[Path, Path] = {}
        for path in self._files:
            if re.fullmatch(pattern, path.as_posix()):
                latest[path.parent] = max(latest.get(path.parent, path), path, key=_iterations)
        return [Checkpoint(path, path.parents[up - 1] / SETTINGS) for path in latest.values()]

    def _select(self, what: str, checkpoints: list[Checkpoint]) -> Checkpoint:
        """Select the only checkpoint, or the only one trained on recordings of this person."""
        if not checkpoints:
            raise self._not_found(what)
        matching = [each for each in checkpoints if self.person in _trained_on(each)]
        if len(matching) == 1:
            return matching[0]
        if len(checkpoints) > 1:
            listed = ", ".join(str(each.weights) for each in checkpoints)
            raise ReleasedError(
                f"{what}: several checkpoints found: {listed}; keep only that of {self.person}"
            )
        (only,) = checkpoints
        if others := [name for name in PEOPLE if name in _trained_on(only)]:
            raise ReleasedError(
                f"{only.weights}: trained on {others[0]} instead of {self.person}, according to "
                f"{only.settings}"
            )
        return only

    def _not_found(self, what: str) -> ReleasedError:
        path = PATTERNS[what].format(person=self.person)
        folders = " or ".join(map(str, self.folders))
        return ReleasedError(f"{path}: not found in {folders}")


def _iterations(path: Path) -> tuple[int, str]:
    """Sort key by number of iterations; "last" and "best" have no number and come first."""
    numbers = re.findall(r"\d+", path.stem)
    return (int(numbers[-1]) if numbers else -1, path.name)


def _settings(checkpoint: Checkpoint) -> dict[str, Any]:
    return read_json(checkpoint.settings) if checkpoint.settings.is_file() else {}


def _format(checkpoint: Checkpoint) -> str:
    """Data format, "face" or "pose", from the settings, else from the name of the folder."""
    by_name = checkpoint.weights.parent.name.rpartition("_")[2]
    return str(_settings(checkpoint).get("data_format") or by_name)


def _trained_on(checkpoint: Checkpoint) -> str:
    return str(_settings(checkpoint).get("data_root") or "")
