"""Entry point of a service process with faults: `python tests/chaos/entry_point.py worker`.

The file CHAOS_FAULTS contains the active faults and is read before each operation: "storage" is the
mode of the local storage (modes as of the proxy before S3), "disk" is "full". CHAOS_SKEW_SECONDS is
the error of the wall clock of this process. CHAOS_BROKEN_DECODER makes a worker decode no clip.
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
    """Return the active fault of "storage" or "disk", "" without a fault."""
    try:
        return str(json.loads(FAULTS.read_text()).get(kind, ""))
    except (OSError, ValueError):  # the file is being replaced
        return ""


def with_faults(plain: Callable[..., Any], *, writes: bool) -> Callable[..., Any]:
    """Wrap a storage method so that it fails as CHAOS_FAULTS says."""
    from jobs.storage.factory import StorageError, StorageFull

    def method(storage: Any, *arguments: Any, **named: Any) -> Any:
        mode = fault("storage")
        began = time.monotonic()
        while mode == "stall" and time.monotonic() - began < STALL_SECONDS:
            time.sleep(0.1)
            mode = fault("storage")
        if mode == "full" and writes:
            raise StorageFull("chaos: no space left")
        if mode in ("error", "stall"):
            raise StorageError(f"chaos: {mode}")
        if mode == "truncate" and writes:
            _write_half(storage, *arguments)
        return plain(storage, *arguments, **named)

    return method


def _write_half(storage: Any, key: str, path: Path, content_type: str) -> None:
    """Fail in the middle of a `put` and leave half of its draft."""
    from jobs.storage.factory import StorageError

    target = storage.folder / key
    target.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes()
    (target.parent / f".draft-{os.getpid()}").write_bytes(content[: len(content) // 2])
    raise StorageError("chaos: truncated")


def inject_storage_faults() -> None:
    """Inject faults into the local storage; for S3 the proxy does."""
    from jobs.storage.factory import LocalStorage

    for name, writes in (("put", True), ("get", False), ("stat", False), ("check", False)):
        setattr(LocalStorage, name, with_faults(getattr(LocalStorage, name), writes=writes))


def inject_disk_faults() -> None:
    """Report a full scratch disk while the fault "disk" is "full"."""
    from worker.pipeline.media import encode as pipeline
    from worker.process.faults.health import HealthCheck, Obstacle

    encode, obstacle = pipeline.encode, HealthCheck.obstacle

    def faulty_encode(*arguments: Any, **named: Any) -> Any:
        if fault("disk") == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return encode(*arguments, **named)

    def faulty_obstacle(check: HealthCheck) -> Obstacle | None:
        full = fault("disk") == "full"
        return Obstacle("scratch", "chaos: disk full") if full else obstacle(check)

    pipeline.encode = faulty_encode
    HealthCheck.obstacle = faulty_obstacle  # type: ignore[method-assign]


def break_decoder() -> None:
    """Replace the child that decodes clips by a program that cannot be executed."""
    from worker.pipeline.media import decode

    decode.read_command = lambda *clip, **options: ["/dev/null"]  # type: ignore[assignment]


def skew_clock(seconds: float) -> None:
    """Shift the wall clock of job records."""
    from jobs import model as job

    class SkewedClock:
        @staticmethod
        def now(zone: Any) -> datetime:
            return datetime.now(UTC) + timedelta(seconds=seconds)

    job.datetime = SkewedClock  # type: ignore[assignment,misc]


def main() -> None:
    sys.path.insert(0, str(ROOT))
    faulthandler.register(signal.SIGUSR1)  # prints stack traces for the report
    inject_storage_faults()
    if sys.argv[1] == "worker":
        inject_disk_faults()
        if os.environ.get("CHAOS_BROKEN_DECODER"):
            break_decoder()
    if skew := float(os.environ.get("CHAOS_SKEW_SECONDS", "0")):
        skew_clock(skew)
    from cli.main import app

    app(sys.argv[1:])


if __name__ == "__main__":
    main()
