"""`python tests/chaos/entry_point.py worker`: the real command, on a machine that has bad days.

What goes wrong is read from the file CHAOS_FAULTS, again and again: "storage" is the mode of a
faulty folder (as of the proxy before an S3), "disk" is "full". CHAOS_SKEW_SECONDS is how wrong the
wall clock of this process is.
"""

import errno
import faulthandler
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FAULTS = Path(os.environ["CHAOS_FAULTS"])
STALL_SECONDS = 60.0


def fault(kind: str) -> str:
    """What is wrong with "storage" or "disk" just now; "" for nothing."""
    try:
        return str(json.loads(FAULTS.read_text()).get(kind, ""))
    except (OSError, ValueError):  # just being written
        return ""


def faulty(plain: Callable[..., Any], *, stores: bool) -> Callable[..., Any]:
    """A method of a storage that fails as the file says."""
    from jobs.storage.factory import StorageError, StorageFull

    def method(storage: Any, *arguments: Any, **named: Any) -> Any:
        mode = fault("storage")
        began = time.monotonic()
        while mode == "stall" and time.monotonic() - began < STALL_SECONDS:
            time.sleep(0.1)
            mode = fault("storage")
        if mode == "full" and stores:
            raise StorageFull("chaos: no room")
        if mode in ("error", "stall"):
            raise StorageError(f"chaos: {mode}")
        if mode == "truncate" and stores:
            _leave_half(storage, *arguments)
        return plain(storage, *arguments, **named)

    return method


def _leave_half(storage: Any, key: str, path: Path, content_type: str) -> None:
    """What a kill or a broken disk leaves of a `put`: half a draft, and an error."""
    from jobs.storage.factory import StorageError

    place = storage.folder / key
    place.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes()
    (place.parent / f".draft-{os.getpid()}").write_bytes(content[: len(content) // 2])
    raise StorageError("chaos: truncated")


def spoil_storage() -> None:
    """Make the folder faulty; an S3 has a proxy for that."""
    from jobs.storage.factory import LocalStorage

    for name, stores in (("put", True), ("get", False), ("stat", False), ("check", False)):
        setattr(LocalStorage, name, faulty(getattr(LocalStorage, name), stores=stores))


def spoil_disk() -> None:
    """A scratch folder that has no room while the file says so."""
    from worker.process import celery_worker as app
    from worker.process import job as run

    encode, obstacle = run.encode, app.obstacle

    def full(*arguments: Any, **named: Any) -> Any:
        if fault("disk") == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return encode(*arguments, **named)

    def seen(*arguments: Any) -> str | None:
        return "chaos: disk full" if fault("disk") == "full" else obstacle(*arguments)

    run.encode, app.obstacle = full, seen  # type: ignore[assignment]


def skew_clock(seconds: float) -> None:
    """A wall clock that is wrong."""
    from jobs import model as job

    class Wrong:
        @staticmethod
        def now(zone: Any) -> datetime:
            return datetime.now(UTC) + timedelta(seconds=seconds)

    job.datetime = Wrong  # type: ignore[assignment,misc]


def main() -> None:
    sys.path.insert(0, str(ROOT))
    faulthandler.register(signal.SIGUSR1)  # where it hangs, for the report
    spoil_storage()
    if sys.argv[1] == "worker":
        spoil_disk()
    if skew := float(os.environ.get("CHAOS_SKEW_SECONDS", "0")):
        skew_clock(skew)
    from cli.main import app

    app(sys.argv[1:])


if __name__ == "__main__":
    main()
