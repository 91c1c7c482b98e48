"""Names of the files that a command writes, and which of them it may replace."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visavis.command.console import CommandError
from visavis.command.options import OUTPUTS, OutputKind
from visavis.files.downloads import file_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from visavis import Job, Output

VIDEO = "video"


@dataclass(frozen=True)
class Target:
    """Place of the files of one job.

    path: a file, whose suffix is that of the first output; others have their own suffix, and
    several takes add -take-N. In a folder, files have the name of the recording.
    """

    path: Path
    folder: bool
    stem: str

    def of(self, name: str, takes: int) -> Path:
        """Return the path of an output of the service, such as take-2.mp4."""
        if self.folder:
            return self.path / file_name(self.stem, name, takes=takes)
        return self.path.with_name(file_name(self.path.stem, name, takes=takes))


def target_of(out: str | None, stem: str, fields: dict[str, Any]) -> Target:
    """Return the place of the files, and complete the fields by what the suffix of a file selects.

    out: a file, or a folder: an existing one, or a name that ends in a slash; default: a file of
    the name of the recording in the current folder.

    Raises:
        CommandError: when the suffix is unknown or contradicts the fields, or a folder is missing.
    """
    if out is None:
        return Target(Path(), folder=True, stem=stem)
    path = Path(out)
    folder = path.is_dir() or out.endswith(("/", os.sep))
    parent = path if folder else path.parent
    if not folder and not parent.is_dir():
        raise CommandError(f"--out: no folder {parent} for {path.name}; create it first")
    if parent.exists() and not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise CommandError(f"--out: no file can be written to {parent}; name another folder")
    if folder:
        return Target(path, folder=True, stem=stem)
    selected = _selected_by(path)
    if selected.kind == VIDEO:
        fields.setdefault("format", selected.name)
    elif "format" not in fields:
        fields.setdefault("outputs", [selected.kind])
    written = outputs_of(fields)
    if selected not in written:
        names = " and ".join(each.suffix for each in written)
        raise CommandError(
            f"--out: {path} contradicts --format or --outputs, which select {names}; change the "
            "suffix, or leave out these options"
        )
    return Target(path, folder=False, stem=stem)


def outputs_of(fields: Mapping[str, Any]) -> list[OutputKind]:
    """Return the outputs that a request selects."""
    kinds: Sequence[str] = fields.get("outputs") or [VIDEO]
    video = fields.get("format") or next(each.name for each in OUTPUTS if each.kind == VIDEO)
    return [
        each
        for each in OUTPUTS
        if each.kind in kinds and (each.kind != VIDEO or each.name == video)
    ]


def check_free(target: Target, fields: Mapping[str, Any], *, overwrite: bool) -> None:
    """Check the paths of a request before it is sent.

    Raises: CommandError: when one exists that may not be replaced.
    """
    takes = int(fields.get("takes") or 1)
    names = [
        f"x-{number}{each.suffix}" for number in range(1, takes + 1) for each in outputs_of(fields)
    ]
    _refuse_existing([target.of(name, takes) for name in names], overwrite=overwrite)


def download(job: Job, target: Target, *, overwrite: bool) -> Iterator[Path]:
    """Write the files of a job that has succeeded, and yield their paths."""
    takes = len(job.takes)
    outputs: list[Output] = list(job.outputs)
    paths = [target.of(output.name, takes) for output in outputs]
    _refuse_existing(paths, overwrite=overwrite)
    if target.folder:
        target.path.mkdir(parents=True, exist_ok=True)
    for output, path in zip(outputs, paths, strict=True):
        yield output.download(path)


def _refuse_existing(paths: Sequence[Path], *, overwrite: bool) -> None:
    for path in paths:
        if path.is_dir():
            raise CommandError(f"{path} is a folder; name another file")
        if path.exists() and not overwrite:
            raise CommandError(f"{path} exists; name another file, or add --overwrite")


def _selected_by(path: Path) -> OutputKind:
    for each in OUTPUTS:
        if each.suffix == path.suffix.lower():
            return each
    problem = f"has the unknown suffix {path.suffix!r}" if path.suffix else "has no suffix"
    known = ", ".join(dict.fromkeys(each.suffix for each in OUTPUTS))
    raise CommandError(f"--out: {path} {problem}; write one of {known}, or a folder with a slash")
