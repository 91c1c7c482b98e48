"""States of a run on disk: written whole, the last few kept, damaged ones passed over."""

from __future__ import annotations

import logging
import os
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

SUFFIX = ".state"


class StateError(ValueError):
    """A run that cannot go on from what is on disk."""


@dataclass(frozen=True)
class States:
    """The states of one run, `step-00001200.state` and so on, in a folder of their own."""

    folder: Path
    keep: int = 3

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Written beside its place, on the disk before it takes it; older ones go."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:08d}{SUFFIX}"
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with draft.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        _sync(self.folder)
        self._forget_old()
        return path

    def newest(self) -> dict[str, Any] | None:
        """The newest state that is whole; None where there is none at all.

        A damaged one is told and passed over. StateError where all are damaged.
        """
        paths = self.paths()
        for path in reversed(paths):
            if (damage := damage_of(path)) is None:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                return state
            logger.warning("%s is damaged (%s): going on from the state before it", path, damage)
        if paths:
            raise StateError(
                f"none of the {len(paths)} states in {self.folder} is whole; remove the folder to "
                "begin again"
            )
        return None

    def paths(self) -> list[Path]:
        """What is there, oldest first."""
        return sorted(self.folder.glob(f"step-*{SUFFIX}"))

    def _forget_old(self) -> None:
        for path in self.paths()[: -self.keep]:
            path.unlink(missing_ok=True)
        for draft in self.folder.glob(f".step-*{SUFFIX}.*"):  # of a run that was killed
            draft.unlink(missing_ok=True)


def damage_of(path: Path) -> str | None:
    """What is wrong with a file of torch.save: every part is read and its checksum compared."""
    try:
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        return str(error)
    return f"{part} has another checksum" if part else None


def _sync(folder: Path) -> None:
    """The new name is on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
