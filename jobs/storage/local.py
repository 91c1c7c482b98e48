"""Local storage: objects in a folder of this machine, or of a shared disk."""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from contracts.files import private_folder
from jobs.storage.base import (
    CHUNK,
    ObjectInfo,
    PartSession,
    StoredObject,
    checked,
    content_type_of,
    part_key,
)
from jobs.storage.disk_full import is_full
from jobs.storage.errors import ObjectMissing, PartMissing, StorageError, StorageFull
from jobs.storage.keys import IDENTITY_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

DRAFT = ".draft-"
DRAFT_SECONDS = 86_400  # no process writes to a file for a day


class LocalStorage:
    """A folder. Links lead to `/files/{key}` of the API and are signed with HMAC-SHA256."""

    def __init__(
        self,
        folder: Path,
        *,
        address: str,
        signing_key: bytes,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self._address = address
        self._signing_key = signing_key
        self._now = now

    def put(self, key: str, path: Path, content_type: str) -> None:
        """Store the file at `path`: copy it to a draft, then rename the draft.

        The content type has to be that of the key's suffix: see CONTENT_TYPES.
        """
        place = self._path(key)
        if content_type != content_type_of(key):
            raise StorageError(
                f"{key}: content type {content_type}, expected {content_type_of(key)}"
            )
        with self._storing(key):
            place.parent.mkdir(parents=True, exist_ok=True)
            with _replacing(place) as draft, path.open("rb") as source, draft.open("wb") as target:
                shutil.copyfileobj(source, target, CHUNK)
                target.flush()
                os.fsync(target.fileno())

    def get(self, key: str, path: Path) -> None:
        with self._existing(key).open("rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK)

    def copy(self, key: str, to: str) -> None:
        self.put(to, self._existing(key), content_type_of(to))

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        place = self._existing(key)
        return _chunks(place, start, length)

    def stat(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, self._existing(key).stat().st_size, content_type_of(key))

    def delete(self, prefix: str) -> None:
        place = self._path(prefix)
        try:
            shutil.rmtree(place)
        except FileNotFoundError:  # it does not exist, or another process removes it
            self._require_root()
        except OSError as error:
            raise StorageError(f"cannot remove {prefix}: {error.strerror}") from error

    def remove(self, keys: Sequence[str]) -> None:
        self._require_root()
        for key in keys:
            place = self._path(key)
            try:
                place.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"cannot remove {key}: {error.strerror}") from error
            _remove_empty(place.parent, below=self.folder)

    def page(self, folder: str, *, after: str | None, limit: int) -> list[StoredObject]:
        """Return objects below `folder`; remove old drafts that a crash has left."""
        self._require_root()
        root = self._path(folder)
        start = () if after is None else PurePosixPath(after).relative_to(folder).parts
        found: list[StoredObject] = []
        for path in _files_after(root, start):
            try:
                modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            except FileNotFoundError:  # removed in the meantime
                continue
            if path.name.startswith(DRAFT):
                _remove_old_draft(path, self._now())
                continue
            found.append(StoredObject(path.relative_to(self.folder).as_posix(), modified))
            if len(found) == limit:
                break
        return found

    def link(self, key: str, *, filename: str, seconds: int) -> str:
        expires = str(int(self._now()) + seconds)
        signature = self._signature("GET", key, filename, expires)
        query = urlencode({"name": filename, "expires": expires, "signature": signature})
        return f"{self._address}/files/{quote(key)}?{query}"

    def allows(self, key: str, *, filename: str, expires: str, signature: str) -> bool:
        """Return whether `link` has issued this URL and it has not expired."""
        return self._valid(signature, expires, "GET", key, filename, expires)

    def begin_parts(self, key: str) -> str:
        checked(key)
        return ""

    def part_link(self, key: str, session: str, number: int, *, bytes: int, seconds: int) -> str:
        part, expires = part_key(key, number), str(int(self._now()) + seconds)
        signature = self._signature("PUT", part, str(bytes), expires)
        query = urlencode({"bytes": bytes, "expires": expires, "signature": signature})
        return f"{self._address}/files/{quote(part)}?{query}"

    def allows_part(self, part: str, *, bytes: int, expires: str, signature: str) -> bool:
        """Return whether `part_link` has issued this URL and it has not expired."""
        return self._valid(signature, expires, "PUT", part, str(bytes), expires)

    @contextmanager
    def receiving(self, part: str) -> Iterator[BinaryIO]:
        """Open a file for a part; it is stored if the block ends without an error."""
        place = self._path(part)
        with self._storing(part):
            place.parent.mkdir(parents=True, exist_ok=True)
            with _replacing(place) as draft, draft.open("wb") as file:
                yield file

    def join_parts(self, key: str, session: str, sizes: Sequence[int]) -> None:
        place = self._path(key)
        if place.is_file():
            return
        parts = [self._path(part_key(key, number)) for number in range(1, len(sizes) + 1)]
        for number, (part, size) in enumerate(zip(parts, sizes, strict=True), 1):
            found = part.stat().st_size if part.is_file() else 0
            if found != size:
                raise PartMissing(number, expected=size, found=found)
        with (
            self._storing(key),
            _replacing(place) as draft,
            draft.open("wb") as target,
        ):
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, target, CHUNK)
            target.flush()
            os.fsync(target.fileno())
        for part in parts:
            part.unlink(missing_ok=True)

    def abandon_parts(self, key: str, session: str) -> None:
        for part in self._path(key).parent.glob(f"{PurePosixPath(key).name}.part-*"):
            part.unlink(missing_ok=True)

    def part_sessions(self, folder: str) -> list[PartSession]:
        return []

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def path(self, key: str) -> Path:
        """Return the path of the object. Raises: ObjectMissing: when no object has the key."""
        return self._existing(key)

    def owner(self) -> str | None:
        try:
            return (self.folder / IDENTITY_KEY).read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {self.folder}: {error.strerror}") from error

    def make_root(self, identity: str) -> None:
        try:
            private_folder(self.folder)
            with _replacing(self.folder / IDENTITY_KEY) as draft:
                draft.write_text(identity)
        except OSError as error:
            raise StorageError(f"cannot make {self.folder}: {error.strerror}") from error

    def check(self) -> None:
        self._require_root()
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(b"x")
        except OSError as error:
            raise StorageError(f"cannot write to {self.folder}: {error.strerror}") from error

    def _path(self, key: str) -> Path:
        return self.folder.joinpath(*PurePosixPath(checked(key)).parts)

    def _existing(self, key: str) -> Path:
        place = self._path(key)
        if not place.is_file():
            self._require_root()
            raise ObjectMissing(key)
        return place

    def _require_root(self) -> None:
        """Raises: StorageError: when the root is missing, as on an unmounted disk."""
        if not (self.folder / IDENTITY_KEY).is_file():
            raise StorageError(f"no {IDENTITY_KEY} in {self.folder}; mount the storage")

    @contextmanager
    def _storing(self, key: str) -> Iterator[None]:
        self._require_root()
        with _storing(key, self.folder):
            yield

    def _valid(self, signature: str, expires: str, *facts: str) -> bool:
        matches = hmac.compare_digest(self._signature(*facts).encode(), signature.encode())
        return matches and expires.isdecimal() and int(expires) >= self._now()

    def _signature(self, *facts: str) -> str:
        message = "\n".join(facts).encode()
        return hmac.new(self._signing_key, message, hashlib.sha256).hexdigest()


@contextmanager
def _storing(key: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = StorageFull if is_full(error) else StorageError
        raise kind(f"cannot store {key} in {folder}: {error.strerror}") from error


@contextmanager
def _replacing(place: Path) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=DRAFT)
    os.close(descriptor)
    draft = Path(name)
    try:
        yield draft
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)


def _files_after(folder: Path, start: Sequence[str]) -> Iterator[Path]:
    """Yield files below the folder in order of their names, starting after the path `start`."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    first = start[0] if start else ""
    for entry in entries:
        if entry.name < first:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files_after(Path(entry.path), start[1:] if entry.name == first else ())
        elif entry.name != first:
            yield Path(entry.path)


def _remove_old_draft(path: Path, now: float) -> None:
    with suppress(FileNotFoundError):
        if now - path.stat().st_mtime > DRAFT_SECONDS:
            path.unlink()


def _remove_empty(folder: Path, *, below: Path) -> None:
    """Remove the folder and its parents as far as they are empty."""
    while folder != below:
        try:
            folder.rmdir()
        except OSError:  # not empty, or already removed
            return
        folder = folder.parent


def _chunks(place: Path, start: int, length: int | None) -> Iterator[bytes]:
    with place.open("rb") as file:
        file.seek(start)
        left = length
        while chunk := file.read(CHUNK if left is None else min(CHUNK, left)):
            yield chunk
            left = None if left is None else left - len(chunk)
