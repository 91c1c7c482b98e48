"""Checkpoints of a run: atomic writes, limited number, corrupt files are skipped."""

from __future__ import annotations

import io
import logging
import os
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from contracts.errors import InputError
from contracts.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from training.loop.distributed import Processes
    from training.loop.object_storage import ObjectStorage

logger = logging.getLogger(__name__)

SUFFIX = ".state"
NOTES = (".safetensors", ".txt")  # beside checkpoints: the best weights, the provenance


class ResumeError(InputError):
    """A run that cannot be resumed from its checkpoints."""


@dataclass(frozen=True)
class CheckpointStore:
    """Folder with the checkpoints of one run: `step-00001200.state` and so on."""

    folder: Path
    keep: int = 3

    def save(self, step: int, checkpoint: dict[str, Any]) -> Path:
        """Write a checkpoint atomically, synced to disk, and remove the oldest ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:08d}{SUFFIX}"
        with write_atomically(path) as draft, draft.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        _sync(self.folder)
        self._remove_old()
        return path

    def latest(self) -> dict[str, Any] | None:
        """Load the latest intact checkpoint; None when the folder has no checkpoints.

        Raises: ResumeError: when all are corrupt.
        """
        path = self.latest_path()
        return None if path is None else _load(path)

    def latest_for(self, processes: Processes) -> dict[str, Any] | None:
        """`latest` of the first process for all: file systems of others may lag behind."""
        if processes.count == 1:
            return self.latest()
        path = self.latest_path() if processes.is_main else None
        content = processes.broadcast_bytes(None if path is None else path.read_bytes())
        return None if content is None else _load(io.BytesIO(content))

    def latest_path(self) -> Path | None:
        """Path of the latest intact checkpoint; a corrupt one is skipped with a warning.

        Raises: ResumeError: when all are corrupt.
        """
        return _first_intact(reversed(self.paths()), str(self.folder))

    def paths(self) -> list[Path]:
        """Checkpoint files, oldest first."""
        return sorted(self.folder.glob(f"step-*{SUFFIX}"))

    def _remove_old(self) -> None:
        for path in self.paths()[: -self.keep]:
            path.unlink(missing_ok=True)
        for draft in self.folder.glob(f".step-*{SUFFIX}.*"):  # left by a killed run
            draft.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class StoredCheckpoints(CheckpointStore):
    """Checkpoints in a bucket, with the weights and notes beside them. The folder has copies."""

    storage: ObjectStorage
    place: str  # folder in the storage

    def save(self, step: int, checkpoint: dict[str, Any]) -> Path:
        """Save a checkpoint on this machine, then in the storage.

        Raises: InputError: when the storage does not take it.
        """
        path = super().save(step, checkpoint)
        self.store_notes()
        self.storage.put(path, f"{self.place}/{path.name}")
        for name in self._names()[: -self.keep]:
            self.storage.remove(name)
        return path

    def store_notes(self) -> None:
        """Store the best weights and the notes of the folder, if they are new."""
        for path in sorted(self.folder.iterdir()):
            if path.is_file() and path.suffix in NOTES:
                self.storage.put(path, f"{self.place}/{path.name}")

    def latest_path(self) -> Path | None:
        """Copy the latest intact checkpoint from the storage, and return its path.

        While the storage has none, the one of the folder is the latest: a run that began without.
        Raises: ResumeError: when all are corrupt.
        """
        names = self._names()
        if not names:
            return super().latest_path()
        self.storage.pull(self.place, self.folder, lambda name: not name.endswith(SUFFIX))
        return _first_intact(self._copies(reversed(names)), self.place)

    def _names(self) -> list[str]:
        """Names of the stored checkpoints, oldest first."""
        return [name for name in self.storage.names(self.place) if name.endswith(SUFFIX)]

    def _copies(self, names: Iterable[str]) -> Iterator[Path]:
        for name in names:
            path = self.folder / name.rpartition("/")[2]
            self.storage.get(name, path)
            yield path


def _first_intact(paths: Iterable[Path], place: str) -> Path | None:
    """Return the first intact file; None without files."""
    count = 0
    for count, path in enumerate(paths, start=1):  # noqa: B007 - counted to the end
        if (damage := damage_of(path)) is None:
            return path
        logger.warning("%s is corrupt (%s): trying the checkpoint before it", path, damage)
    if count:
        raise ResumeError(
            f"all {count} checkpoints in {place} are corrupt; remove the folder to start again"
        )
    return None


def _load(source: Path | io.BytesIO) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
    return content


def damage_of(path: Path) -> str | None:
    """Describe the damage of a file of torch.save by the checksum of every part; None if intact."""
    try:
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        return str(error)
    return f"checksum of {part} does not match" if part else None


def _sync(folder: Path) -> None:
    """Sync a folder, so that a new file name survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
