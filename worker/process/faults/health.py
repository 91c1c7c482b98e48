"""Health check of a worker: does everything work that every job needs?

It runs after each failure, before the failure is judged and before the next claim. On a worker that
is sick every job fails, so the check limits the damage to one job, which another worker takes.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.model import new_job_id
from jobs.persons import PeopleMissing, require_people
from jobs.storage.factory import StorageError
from jobs.storage.keys import job_folder
from worker.pipeline.device import works
from worker.pipeline.media.decode import decoder_fault
from worker.pipeline.media.encode import encoder_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from jobs.storage.factory import Storage
    from worker.pipeline.media.container import Encoder
    from worker.process.scratch import ScratchFolder

PROBE_BYTES = 1 << 20


@dataclass(frozen=True)
class Obstacle:
    """The reason why every job would fail on this worker now."""

    part: str  # scratch, storage, people, decoder, encoder or device
    reason: str

    def __str__(self) -> str:
        return f"{self.part}: {self.reason}"


@dataclass(frozen=True)
class HealthCheck:
    """Checks of one worker; `obstacle` runs all of them.

    check_owner: raises StorageError when the storage is not that of the database.
    """

    scratch: ScratchFolder
    storage: Storage
    check_owner: Callable[[Storage], None]
    people: Path
    device: torch.device
    encoder: Encoder

    def obstacle(self) -> Obstacle | None:
        """Return the first reason why a job would fail now, or None."""
        try:
            if self.scratch.restore():
                return Obstacle("scratch", f"{self.scratch.path} was removed; it is made again")
            with tempfile.TemporaryDirectory(prefix="probe-", dir=self.scratch.path) as folder:
                return self._obstacle(Path(folder))
        except OSError as error:
            return Obstacle("scratch", f"cannot write to {self.scratch.path}: {error.strerror}")

    def _obstacle(self, folder: Path) -> Obstacle | None:
        probe = folder / "probe"
        probe.write_bytes(bytes(PROBE_BYTES))
        try:
            self._store(probe)
        except StorageError as error:
            return Obstacle("storage", str(error))
        try:
            require_people(self.people)
        except PeopleMissing as error:
            return Obstacle("people", str(error))
        if not works(self.device):
            return Obstacle("device", "the device computes no more")
        if (fault := decoder_fault(folder)) is not None:
            return Obstacle("decoder", fault)
        if (fault := encoder_fault(self.encoder)) is not None:
            return Obstacle("encoder", fault)
        return None

    def _store(self, probe: Path) -> None:
        self.check_owner(self.storage)
        folder_key = job_folder(new_job_id())  # after a crash, the sweep removes it
        self.storage.put(f"{folder_key}/probe", probe, "application/octet-stream")
        self.storage.delete(folder_key)


def is_shared(obstacle: Obstacle) -> bool:
    """Return whether other workers probably have the same obstacle."""
    return obstacle.part in ("storage", "people")
