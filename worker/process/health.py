"""Whether a worker can work just now: looked at after trouble, before it claims again.

A full disk or a storage that is away fails every job that is tried there. So the one job that met
it pays with an attempt at the most, and the others stay in the queue for workers that can.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.model import new_job_id
from jobs.storage.factory import StorageError
from jobs.storage.keys import job_folder

if TYPE_CHECKING:
    from jobs.storage.factory import Storage

PROBE_BYTES = 1 << 20


def obstacle(scratch: Path, storage: Storage) -> str | None:
    """Why a job would fail here now; None where a file can be written to scratch and stored."""
    place = job_folder(new_job_id())  # what is left of it by a crash is swept like any job's
    try:
        with tempfile.TemporaryDirectory(prefix="probe-", dir=scratch) as folder:
            probe = Path(folder) / "probe"
            probe.write_bytes(bytes(PROBE_BYTES))
            storage.put(f"{place}/probe", probe, "application/octet-stream")
            storage.delete(place)
    except OSError as error:
        return f"cannot write to {scratch}: {error.strerror}"
    except StorageError as error:
        return str(error)
    return None
