"""Health check of a worker, after an outage or a resource failure and before its next claim.

With a full disk or an unavailable storage every job fails. The check limits the damage to one
attempt of one job; the other jobs stay in the queue for healthy workers.
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
    """Write a file to scratch and store it; return the reason of a failure, or None."""
    folder_key = job_folder(
        new_job_id()
    )  # after a crash, the sweep removes it like an orphaned job
    try:
        with tempfile.TemporaryDirectory(prefix="probe-", dir=scratch) as folder:
            probe = Path(folder) / "probe"
            probe.write_bytes(bytes(PROBE_BYTES))
            storage.put(f"{folder_key}/probe", probe, "application/octet-stream")
            storage.delete(folder_key)
    except OSError as error:
        return f"cannot write to {scratch}: {error.strerror}"
    except StorageError as error:
        return str(error)
    return None
