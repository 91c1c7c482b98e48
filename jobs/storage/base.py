"""What a storage is: objects by key, behind one face, a folder or a bucket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

from contracts.outputs import OUTPUTS
from jobs.storage.keys import job_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

CHUNK = 256 * 1024
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
CONTENT_TYPES = {
    ".webm": "video/webm",  # also clips that browsers record
    ".bin": "application/octet-stream",
    ".json": "application/json",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".m4a": "audio/mp4",
    ".txt": "text/plain",
} | {output.suffix: output.content_type for output in OUTPUTS}


class StorageError(RuntimeError):
    """The storage did not do what it was asked to."""


class StorageFull(StorageError):
    """There is no room left for what was to be stored."""


class ObjectMissing(StorageError):
    """Nothing lies at this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"nothing is stored at {key}")
        self.key = key


class PartMissing(StorageError):
    """A part of an upload has not come, or not whole."""

    def __init__(self, number: int, *, expected: int, found: int) -> None:
        told = f"has {found} of {expected} bytes" if found else "is missing"
        super().__init__(f"part {number} {told}")
        self.number = number


@dataclass(frozen=True)
class ObjectInfo:
    """What is known of an object without reading it."""

    key: str
    bytes: int
    content_type: str


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing tells it."""

    key: str
    modified: datetime

    @property
    def job_id(self) -> str:
        """Whose it is."""
        return job_of(self.key)


class Storage(Protocol):
    """Objects by key: "jobs/<id>/attempt-1/take-1.mp4". An object is there whole or not at all."""

    def put(self, key: str, path: Path, content_type: str) -> None:
        """Store the file at `path`."""

    def get(self, key: str, path: Path) -> None:
        """Write the object to a file at `path`. ObjectMissing where there is none."""

    def copy(self, key: str, to: str) -> None:
        """Store the object once more. ObjectMissing where there is none."""

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object in chunks, from byte `start` on, `length` bytes of it or all."""

    def stat(self, key: str) -> ObjectInfo:
        """Size and type. ObjectMissing where there is none."""

    def delete(self, prefix: str) -> None:
        """Remove every object below the folder `prefix`; harmless when there is none."""

    def remove(self, keys: Sequence[str]) -> None:
        """Remove these objects, up to a page of them; harmless where there are none."""

    def page(self, folder: str, *, after: str | None, limit: int) -> list[StoredObject]:
        """Objects below `folder` in an order that stays, from the one after the key `after` on."""

    def link(self, key: str, *, filename: str, seconds: int) -> str:
        """A signed address that downloads the object as `filename` for so many seconds."""

    def begin_parts(self, key: str) -> str:
        """Prepare an object that callers send in parts; answers the name of this undertaking."""

    def part_link(self, key: str, session: str, number: int, *, bytes: int, seconds: int) -> str:
        """A signed address that takes a PUT of part `number` (from 1), of exactly so many bytes."""

    def join_parts(self, key: str, session: str, sizes: Sequence[int]) -> None:
        """Make the object of its parts; harmless when done already. PartMissing names one."""

    def abandon_parts(self, key: str, session: str) -> None:
        """Forget parts that were sent; harmless when there are none."""

    def check(self) -> None:
        """StorageError when nothing could be stored now."""

    def close(self) -> None:
        """Give back what is held open."""


def checked(key: str) -> str:
    """The key. StorageError where it is none: a key is never a path elsewhere."""
    if len(key) > 255 or KEY.fullmatch(key) is None:
        raise StorageError(f"{key!r} is no key: names of letters, digits, . _ -, split by slashes")
    return key


def content_type_of(key: str) -> str:
    """That of its ending."""
    return CONTENT_TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")


def part_key(key: str, number: int) -> str:
    """Where a part of an object lies that is still to be put together."""
    return f"{key}.part-{number}"
