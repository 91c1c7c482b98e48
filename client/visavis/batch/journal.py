"""Journal of a batch: JSON lines that are on disk before the next action begins.

{"event": "batch", "version": 1}
{"event": "intention", "key": ..., "audio": ..., "partner": ..., "digest": ..., "name": ...,
 "fields": {...}}                                        before the request that carries `key`
{"event": "upload", "key": ..., "name": "audio", "upload": ...}   before the first of its parts
{"event": "submitted", "key": ..., "job": ...}           after its answer
{"event": "ended", "key": ..., "state": ..., ...}        after the files are complete
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from visavis.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VERSION = 1


@dataclass
class Entry:
    """An intention and what has come of it. key: idempotency key of its request."""

    key: str
    audio: str
    partner: str | None
    digest: str
    name: str
    fields: dict[str, Any]
    uploads: dict[str, str] = field(default_factory=dict)  # "audio" or "partner": id
    job: str | None = None
    ended: dict[str, Any] = field(default_factory=dict)


class Journal:
    """Journal on disk, locked for this process.

    Raises:
        BatchError: when another process uses it, or a line in the middle is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, Entry] = {}  # by key, oldest first
        self._newest: dict[tuple[str, str | None, str], Entry] = {}
        self._writing = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)
        try:
            _lock(self._file, path)
            self._read()
        except BaseException:
            self._file.close()
            raise

    def find(self, audio: str, partner: str | None, digest: str) -> Entry | None:
        """Return the newest intention for this content of these files."""
        return self._newest.get((audio, partner, digest))

    def names(self) -> dict[tuple[str, str | None], str]:
        """Return the names of output files, by the paths of the recording."""
        return {(entry.audio, entry.partner): entry.name for entry in self._entries.values()}

    def intend(self, entry: Entry) -> Entry:
        """Record an intention, before its request is sent."""
        later = ("uploads", "job", "ended")
        facts = {name: value for name, value in vars(entry).items() if name not in later}
        self._append({"event": "intention", **facts})
        self._add(entry)
        return entry

    def announced(self, entry: Entry, name: str, upload_id: str) -> None:
        """Record an upload of an intention, before its first part is sent."""
        self._append({"event": "upload", "key": entry.key, "name": name, "upload": upload_id})
        entry.uploads[name] = upload_id

    def submitted(self, entry: Entry, job_id: str) -> None:
        """Record the job of an intention."""
        self._append({"event": "submitted", "key": entry.key, "job": job_id})
        entry.job = job_id

    def ended(self, entry: Entry, outcome: Mapping[str, Any]) -> None:
        """Record the outcome of an intention."""
        self._append({"event": "ended", "key": entry.key, **outcome})
        entry.ended = dict(outcome)

    def close(self) -> None:
        """Unlock and close the file."""
        with self._writing:
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _add(self, entry: Entry) -> None:
        self._entries[entry.key] = entry
        self._newest[entry.audio, entry.partner, entry.digest] = entry

    def _append(self, line: Mapping[str, Any]) -> None:
        content = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        with self._writing:
            before = self._file.seek(0, os.SEEK_END)
            try:
                written = self._file.write(content)
                if written != len(content):
                    raise OSError(f"{self.path}: only {written} of {len(content)} bytes written")
            except OSError:
                self._file.truncate(before)  # the next line must not continue half of this one
                raise
            os.fsync(self._file.fileno())

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # the process was killed while it wrote the last line
            self._file.truncate(whole)
        lines = content[:whole].splitlines()
        for number, line in enumerate(lines, 1):
            try:
                self._apply(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                raise BatchError(
                    f"{self.path}, line {number}: damaged or of another version ({error!r}); "
                    "move the file away to start again"
                ) from error
        if not lines:
            self._append({"event": "batch", "version": VERSION})
            _sync_folder(self.path.parent)

    def _apply(self, line: dict[str, Any]) -> None:
        event = line.pop("event")
        if event == "intention":
            self._add(Entry(**line))
        elif event == "upload":
            self._entries[line["key"]].uploads[line["name"]] = line["upload"]
        elif event == "submitted":
            self._entries[line["key"]].job = line["job"]
        elif event == "ended":
            self._entries[line.pop("key")].ended = line
        elif event != "batch" or line["version"] != VERSION:
            raise ValueError(f"unknown event {event}")


def _lock(file: IO[bytes], path: Path) -> None:
    """Lock a file until it is closed, or the process ends in any way."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(2**40)  # a byte that is never written, so that others can read the file
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise BatchError(f"{path} is in use by another batch; wait for its end") from error


def _sync_folder(folder: Path) -> None:
    """Make the name of a new file durable, where folders can be opened."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
