"""Storage interface: objects by key, in a local folder or an S3 bucket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

from contracts.outputs import OUTPUTS, SIDECAR_SUFFIX, SIDECAR_TYPE
from jobs.storage.errors import StorageError
from jobs.storage.keys import job_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

CHUNK = 256 * 1024
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
CONTENT_TYPES = {
    ".webm": "video/webm",  # also clips recorded by browsers
    ".bin": "application/octet-stream",
    ".json": "application/json",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".aiff": "audio/aiff",
    ".amr": "audio/amr",
    ".caf": "audio/x-caf",
    ".w64": "audio/x-w64",
    ".wma": "audio/x-ms-wma",
    ".txt": "text/plain",
    SIDECAR_SUFFIX: SIDECAR_TYPE,
} | {output.suffix: output.content_type for output in OUTPUTS}


@dataclass(frozen=True)
class ObjectInfo:
    """Size and type of an object."""

    key: str
    bytes: int
    content_type: str


@dataclass(frozen=True)
class PartSession:
    """An unfinished multipart upload, as the storage lists it."""

    key: str
    session: str
    begun: datetime


@dataclass(frozen=True)
class StoredObject:
    """An object in a listing."""

    key: str
    modified: datetime

    @property
    def job_id(self) -> str:
        """Id of the job that the object belongs to."""
        return job_of(self.key)


class Storage(Protocol):
    """Objects by key: "jobs/<id>/attempt-1/take-1.mp4". Writes are atomic.

    Every method raises `StorageError` when the storage is unavailable.
    """

    def put(self, key: str, path: Path, content_type: str) -> None:
        """Store the file at `path`."""

    def get(self, key: str, path: Path) -> None:
        """Write the object to `path`. Raises: ObjectMissing: when no object has the key."""

    def copy(self, key: str, to: str) -> None:
        """Copy the object. Raises: ObjectMissing: when no object has the key."""

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Return chunks of the object from byte `start` on, `length` bytes or the rest."""

    def stat(self, key: str) -> ObjectInfo:
        """Return size and type. Raises: ObjectMissing: when no object has the key."""

    def delete(self, prefix: str) -> None:
        """Remove every object below the folder `prefix`; missing ones are ignored."""

    def remove(self, keys: Sequence[str]) -> None:
        """Remove these objects, at most a page of them; missing ones are ignored."""

    def page(self, folder: str, *, after: str | None, limit: int) -> list[StoredObject]:
        """Return objects below `folder` in a stable order, starting after the key `after`."""

    def link(self, key: str, *, filename: str, seconds: int) -> str:
        """Return a signed URL that downloads the object as `filename`, valid for `seconds`."""

    def begin_parts(self, key: str) -> str:
        """Start a multipart upload of the object; return the id of its session."""

    def part_link(self, key: str, session: str, number: int, *, bytes: int, seconds: int) -> str:
        """Return a signed URL for a PUT of part `number` (from 1) with exactly `bytes` bytes."""

    def join_parts(self, key: str, session: str, sizes: Sequence[int]) -> None:
        """Join the parts to the object; safe to repeat.

        Raises: PartMissing: when a part is missing or incomplete.
        """

    def abandon_parts(self, key: str, session: str) -> None:
        """Remove the parts of an unfinished upload; missing ones are ignored."""

    def part_sessions(self, folder: str) -> list[PartSession]:
        """Return up to a page of unfinished multipart uploads below `folder`.

        A local folder has none: their parts are objects.
        """

    def owner(self) -> str | None:
        """Return the identity in the root of the storage, or None without a root."""

    def make_root(self, identity: str) -> None:
        """Make the root with this identity; every other write needs a root."""

    def check(self) -> None:
        """Check that objects can be stored; store none.

        Raises: StorageError: when they cannot, or when the root is missing.
        """

    def close(self) -> None:
        """Close the connections."""


def checked(key: str) -> str:
    """Return a valid key, which cannot lead to a path outside the storage.

    Raises: StorageError: when the key is invalid.
    """
    if len(key) > 255 or KEY.fullmatch(key) is None:
        raise StorageError(
            f"invalid key {key!r}; use names of letters, digits, . _ - separated by slashes"
        )
    return key


def content_type_of(key: str) -> str:
    """Return the content type of the key's suffix."""
    return CONTENT_TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")


def part_key(key: str, number: int) -> str:
    """Return the key of a part of an unfinished object."""
    return f"{key}.part-{number}"
