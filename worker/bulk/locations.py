"""Places of recordings and results: paths of this machine, or objects of S3 buckets."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from contracts.files import write_atomically
from contracts.s3_url import is_s3_url, read_s3_url
from jobs.storage.base import CONTENT_TYPES
from jobs.storage.errors import ObjectMissing
from jobs.storage.s3 import as_storage_error, s3_client

if TYPE_CHECKING:
    from collections.abc import Iterable

BINARY = "application/octet-stream"


def fetch(place: str, folder: Path) -> Path:
    """Return the file of a path, or a copy of an object in `folder`.

    Raises: ObjectMissing; StorageError; InputError: for an invalid URL.
    """
    if not is_s3_url(place):
        path = Path(place)
        if not path.is_file():
            raise ObjectMissing(place)
        return path
    bucket, key, client = _object(place)
    copy = Path(tempfile.mkdtemp(dir=folder)) / f"object{PurePosixPath(key).suffix}"
    with as_storage_error(place):
        client.download_file(bucket, key, str(copy))
    return copy


def stamp(place: str) -> list[str] | None:
    """Return size and time, or ETag, of a file, which change with it; None if it is missing."""
    if not is_s3_url(place):
        try:
            found = Path(place).stat()
        except OSError:
            return None
        return [str(found.st_size), str(found.st_mtime_ns)]
    bucket, key, client = _object(place)
    try:
        with as_storage_error(place):
            head = client.head_object(Bucket=bucket, Key=key)
    except ObjectMissing:
        return None
    return [str(head["ContentLength"]), str(head["ETag"])]


class Destination(Protocol):
    """Files of results by name, such as `items/call-1/result.json`. Every write is atomic."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if it is missing."""

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""

    def folder(self, name: str, scratch: Path) -> Path:
        """Return the folder in which the files of an item are made."""

    def put(self, name: str, path: Path) -> None:
        """Store a file that was made in `folder`."""

    def size(self, name: str) -> int | None:
        """Return the number of bytes of a file, None if it is missing."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; missing ones are ignored."""


class Folder:
    """Destination in a folder, which several machines may share."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as draft:
            draft.write_bytes(content)

    def folder(self, name: str, scratch: Path) -> Path:
        """Return the item's own folder; parts that a killed process left there are removed."""
        path = self._root / name
        path.mkdir(parents=True, exist_ok=True)
        for part in path.glob(".*.part"):
            part.unlink(missing_ok=True)
        return path

    def put(self, name: str, path: Path) -> None:
        place = self._root / name
        if path == place:  # it was made there
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(place) as draft, path.open("rb") as source, draft.open("wb") as file:
            while chunk := source.read(1 << 20):
                file.write(chunk)

    def size(self, name: str) -> int | None:
        try:
            return (self._root / name).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self._root / name).unlink(missing_ok=True)


class Bucket:
    """Destination in a bucket, or in a folder of one."""

    def __init__(self, url: str) -> None:
        self._bucket, prefix, self._client = _object(url.rstrip("/"), folder=True)
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def read(self, name: str) -> bytes | None:
        try:
            with as_storage_error(name):
                response = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
                return bytes(response["Body"].read())
        except ObjectMissing:
            return None

    def write(self, name: str, content: bytes) -> None:
        with as_storage_error(name):
            self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + name, Body=content, ContentType=_type(name)
            )

    def folder(self, name: str, scratch: Path) -> Path:
        return scratch

    def put(self, name: str, path: Path) -> None:
        with as_storage_error(name):
            self._client.upload_file(
                str(path),
                self._bucket,
                self._prefix + name,
                ExtraArgs={"ContentType": _type(name)},
            )

    def size(self, name: str) -> int | None:
        try:
            with as_storage_error(name):
                head = self._client.head_object(Bucket=self._bucket, Key=self._prefix + name)
        except ObjectMissing:
            return None
        return int(head["ContentLength"])

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            with as_storage_error(name):
                self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)


def open_destination(place: str) -> Destination:
    """Open a folder, or a bucket by its s3 URL. Raises: InputError: for an invalid URL."""
    return Bucket(place) if is_s3_url(place) else Folder(Path(place).absolute())


def _object(url: str, *, folder: bool = False) -> tuple[str, str, Any]:
    """Return bucket, key and client of an s3 URL."""
    bucket, key, endpoint, region = read_s3_url(url, folder=folder)
    return bucket, key, _client(endpoint, region)


@cache
def _client(endpoint: str | None, region: str | None) -> Any:
    return s3_client(endpoint, region)


def _type(name: str) -> str:
    return CONTENT_TYPES.get(PurePosixPath(name).suffix, BINARY)
