"""Where clips, motion and videos lie: a local folder or an S3 bucket, behind one face."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from jobs.job import job_of
from jobs.masks import masked
from jobs.room import is_full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from jobs.settings import Settings

CHUNK = 256 * 1024
DRAFT = ".draft-"
DRAFT_SECONDS = 86_400  # nobody writes to a file for a day
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
FULL_CODES = ("XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "InsufficientCapacity")
INSUFFICIENT_STORAGE = 507
CONTENT_TYPES = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",  # videos, and clips that browsers have recorded
    ".zip": "application/zip",
    ".npz": "application/octet-stream",
    ".bin": "application/octet-stream",
    ".json": "application/json",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".m4a": "audio/mp4",
    ".txt": "text/plain",
}


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


class LocalStorage:
    """A folder. Links lead to the API's `/files/{key}` and are signed with HMAC-SHA256."""

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
        """Copy beside the place, then rename: readers see all of it or nothing.

        The type of a local object is that of its key's ending: see CONTENT_TYPES.
        """
        place = self._place(key)
        if content_type != _content_type(key):
            raise StorageError(f"{key} is stored as {_content_type(key)}, not as {content_type}")
        with _storing(key, self.folder):
            place.parent.mkdir(parents=True, exist_ok=True)
            with _replacing(place) as draft, path.open("rb") as source, draft.open("wb") as target:
                shutil.copyfileobj(source, target, CHUNK)
                target.flush()
                os.fsync(target.fileno())

    def get(self, key: str, path: Path) -> None:
        with self._found(key).open("rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK)

    def copy(self, key: str, to: str) -> None:
        self.put(to, self._found(key), _content_type(to))

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        place = self._found(key)
        return _chunks(place, start, length)

    def stat(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, self._found(key).stat().st_size, _content_type(key))

    def delete(self, prefix: str) -> None:
        place = self._place(prefix)
        try:
            shutil.rmtree(place)
        except FileNotFoundError:  # nothing there, or somebody else removes it just now
            return
        except OSError as error:
            raise StorageError(f"cannot remove {prefix}: {error.strerror}") from error

    def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            place = self._place(key)
            try:
                place.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"cannot remove {key}: {error.strerror}") from error
            _remove_empty(place.parent, below=self.folder)

    def page(self, folder: str, *, after: str | None, limit: int) -> list[StoredObject]:
        """Drafts that a crash has left are removed on the way."""
        root = self._place(folder)
        start = () if after is None else PurePosixPath(after).relative_to(folder).parts
        found: list[StoredObject] = []
        for path in _files_after(root, start):
            try:
                modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            except FileNotFoundError:  # removed since
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
        """Whether this is a link that was given out, and still holds."""
        return self._holds(signature, expires, "GET", key, filename, expires)

    def begin_parts(self, key: str) -> str:
        _checked(key)
        return ""

    def part_link(self, key: str, session: str, number: int, *, bytes: int, seconds: int) -> str:
        part, expires = _part(key, number), str(int(self._now()) + seconds)
        signature = self._signature("PUT", part, str(bytes), expires)
        query = urlencode({"bytes": bytes, "expires": expires, "signature": signature})
        return f"{self._address}/files/{quote(part)}?{query}"

    def allows_part(self, part: str, *, bytes: int, expires: str, signature: str) -> bool:
        """Whether `part_link` has given out this address, and it still holds."""
        return self._holds(signature, expires, "PUT", part, str(bytes), expires)

    @contextmanager
    def receiving(self, part: str) -> Iterator[BinaryIO]:
        """A file to write a part to; kept whole when the block ends well, else not at all."""
        place = self._place(part)
        with _storing(part, self.folder):
            place.parent.mkdir(parents=True, exist_ok=True)
            with _replacing(place) as draft, draft.open("wb") as file:
                yield file

    def join_parts(self, key: str, session: str, sizes: Sequence[int]) -> None:
        place = self._place(key)
        if place.is_file():
            return
        parts = [self._place(_part(key, number)) for number in range(1, len(sizes) + 1)]
        for number, (part, size) in enumerate(zip(parts, sizes, strict=True), 1):
            found = part.stat().st_size if part.is_file() else 0
            if found != size:
                raise PartMissing(number, expected=size, found=found)
        with (
            _storing(key, self.folder),
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
        for part in self._place(key).parent.glob(f"{PurePosixPath(key).name}.part-*"):
            part.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is held open."""

    def path(self, key: str) -> Path:
        """Where the object lies on this machine. ObjectMissing where there is none."""
        return self._found(key)

    def check(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(b"x")
        except OSError as error:
            raise StorageError(f"cannot write to {self.folder}: {error.strerror}") from error

    def _place(self, key: str) -> Path:
        return self.folder.joinpath(*PurePosixPath(_checked(key)).parts)

    def _found(self, key: str) -> Path:
        place = self._place(key)
        if not place.is_file():
            raise ObjectMissing(key)
        return place

    def _holds(self, signature: str, expires: str, *facts: str) -> bool:
        known = hmac.compare_digest(self._signature(*facts).encode(), signature.encode())
        return known and expires.isdecimal() and int(expires) >= self._now()

    def _signature(self, *facts: str) -> str:
        message = "\n".join(facts).encode()
        return hmac.new(self._signing_key, message, hashlib.sha256).hexdigest()


class S3Storage:
    """A bucket, or a folder in one. Links are presigned and lead to the bucket itself."""

    def __init__(self, client: Any, *, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def put(self, key: str, path: Path, content_type: str) -> None:
        with _as_storage_error(key):
            self._client.upload_file(
                str(path), self._bucket, self._name(key), ExtraArgs={"ContentType": content_type}
            )

    def get(self, key: str, path: Path) -> None:
        with _as_storage_error(key):
            self._client.download_file(self._bucket, self._name(key), str(path))

    def copy(self, key: str, to: str) -> None:
        source = {"Bucket": self._bucket, "Key": self._name(key)}
        with _as_storage_error(key):
            self._client.copy(source, self._bucket, self._name(to))

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        last = "" if length is None else str(start + length - 1)
        ranged = {"Range": f"bytes={start}-{last}"} if start or length is not None else {}
        with _as_storage_error(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._name(key), **ranged)
        return _body(answer["Body"], key)

    def stat(self, key: str) -> ObjectInfo:
        with _as_storage_error(key):
            head = self._client.head_object(Bucket=self._bucket, Key=self._name(key))
        return ObjectInfo(key, int(head["ContentLength"]), str(head["ContentType"]))

    def delete(self, prefix: str) -> None:
        with _as_storage_error(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._name(prefix) + "/"):
                names = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
                if names:
                    objects = {"Objects": names, "Quiet": True}
                    answer = self._client.delete_objects(Bucket=self._bucket, Delete=objects)
                    if refused := answer.get("Errors"):
                        raise StorageError(f"S3 did not remove {refused[0]}")

    def remove(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        with _as_storage_error(keys[0]):
            names = [{"Key": self._name(key)} for key in keys]
            objects = {"Objects": names, "Quiet": True}
            answer = self._client.delete_objects(Bucket=self._bucket, Delete=objects)
            if refused := answer.get("Errors"):
                raise StorageError(f"S3 did not remove {refused[0]}")

    def page(self, folder: str, *, after: str | None, limit: int) -> list[StoredObject]:
        start = {} if after is None else {"StartAfter": self._name(after)}
        with _as_storage_error(folder):
            answer = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self._name(folder) + "/", MaxKeys=limit, **start
            )
        return [
            StoredObject(entry["Key"].removeprefix(self._prefix), entry["LastModified"])
            for entry in answer.get("Contents", [])
        ]

    def link(self, key: str, *, filename: str, seconds: int) -> str:
        parameters = {
            "Bucket": self._bucket,
            "Key": self._name(key),
            "ResponseContentDisposition": disposition(filename),
        }
        return str(
            self._client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)
        )

    def begin_parts(self, key: str) -> str:
        with _as_storage_error(key):
            begun = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=self._name(key), ContentType=_content_type(key)
            )
        return str(begun["UploadId"])

    def part_link(self, key: str, session: str, number: int, *, bytes: int, seconds: int) -> str:
        parameters = self._session(key, session) | {"PartNumber": number, "ContentLength": bytes}
        return str(
            self._client.generate_presigned_url("upload_part", Params=parameters, ExpiresIn=seconds)
        )

    def join_parts(self, key: str, session: str, sizes: Sequence[int]) -> None:
        try:
            sent = self._sent(key, session)
        except ObjectMissing:  # no such session: it was joined already, or abandoned
            self.stat(key)
            return
        for number, size in enumerate(sizes, 1):
            found = sent.get(number, {"Size": 0})["Size"]
            if found != size:
                raise PartMissing(number, expected=size, found=found)
        parts = [{"PartNumber": n, "ETag": sent[n]["ETag"]} for n in range(1, len(sizes) + 1)]
        with _as_storage_error(key):
            self._client.complete_multipart_upload(
                **self._session(key, session), MultipartUpload={"Parts": parts}
            )

    def abandon_parts(self, key: str, session: str) -> None:
        try:
            with _as_storage_error(key):
                self._client.abort_multipart_upload(**self._session(key, session))
        except ObjectMissing:
            return

    def _session(self, key: str, session: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._name(key), "UploadId": session}

    def _sent(self, key: str, session: str) -> dict[int, dict[str, Any]]:
        """The parts that have come, by number."""
        found: dict[int, dict[str, Any]] = {}
        with _as_storage_error(key):
            pages = self._client.get_paginator("list_parts")
            for page in pages.paginate(**self._session(key, session)):
                found |= {part["PartNumber"]: part for part in page.get("Parts", [])}
        return found

    def check(self) -> None:
        with _as_storage_error(self._bucket):
            self._client.head_bucket(Bucket=self._bucket)

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _name(self, key: str) -> str:
        return self._prefix + _checked(key)


def open_storage(settings: Settings) -> LocalStorage | S3Storage:
    """The storage that `settings.storage_url` names: `file:///folder` or `s3://bucket/prefix`."""
    address = urlsplit(settings.storage_url)
    if address.scheme == "file":
        folder = Path(unquote(address.path))
        address_of_links = settings.public_url.rstrip("/")  # empty: where the caller came in
        return LocalStorage(folder, address=address_of_links, signing_key=settings.signing_key())
    if address.scheme == "s3" and address.netloc:
        prefix = address.path.strip("/")
        return S3Storage(
            _s3_client(parse_qs(address.query)),
            bucket=address.netloc,
            prefix=f"{prefix}/" if prefix else "",
        )
    raise StorageError(
        f"VISAVIS_STORAGE_URL {masked(settings.storage_url)!r} is neither file:///folder nor "
        "s3://bucket/prefix?endpoint_url=...&region=..."
    )


def disposition(filename: str) -> str:
    """The header that makes a browser save the answer as `filename`."""
    return f"attachment; filename*=UTF-8''{quote(filename, safe='')}"


def _s3_client(query: dict[str, list[str]]) -> Any:
    unknown = query.keys() - {"endpoint_url", "region"}
    if unknown:
        raise StorageError(f"VISAVIS_STORAGE_URL has unknown parts: {', '.join(sorted(unknown))}")
    try:
        import boto3  # an extra: who stores in a folder needs none of it
        from botocore.config import Config
    except ImportError as error:
        raise StorageError("S3 needs boto3: pip install 'visavis-server[s3]'") from error
    config = Config(
        signature_version="s3v4",
        connect_timeout=3,
        read_timeout=30,
        retries={"max_attempts": 3, "mode": "standard"},
    )
    return boto3.client(
        "s3",
        endpoint_url=query.get("endpoint_url", [None])[0],
        region_name=query.get("region", ["us-east-1"])[0],
        config=config,
    )


def _checked(key: str) -> str:
    if len(key) > 255 or KEY.fullmatch(key) is None:
        raise StorageError(f"{key!r} is no key: names of letters, digits, . _ -, split by slashes")
    return key


def _content_type(key: str) -> str:
    return CONTENT_TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")


def _part(key: str, number: int) -> str:
    return f"{key}.part-{number}"


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
    """Files below the folder, by their names, from the one after the parts of a path on."""
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
    """The folder and those above it, as long as nothing is in them."""
    while folder != below:
        try:
            folder.rmdir()
        except OSError:  # not empty, or gone
            return
        folder = folder.parent


def _chunks(place: Path, start: int, length: int | None) -> Iterator[bytes]:
    with place.open("rb") as file:
        file.seek(start)
        left = length
        while chunk := file.read(CHUNK if left is None else min(CHUNK, left)):
            yield chunk
            left = None if left is None else left - len(chunk)


def _body(body: Any, key: str) -> Iterator[bytes]:
    with _as_storage_error(key), body:
        yield from body.iter_chunks(CHUNK)


@contextmanager
def _as_storage_error(key: str) -> Iterator[None]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("404", "NoSuchKey", "NoSuchUpload"):
            raise ObjectMissing(key) from error
        kind = StorageFull if _says_full(error.response) else StorageError
        raise kind(f"S3 refused {key}: {error}") from error
    except Boto3Error as error:  # what `upload_file` makes of any refusal
        kind = (
            StorageFull if _says_full(getattr(error.__context__, "response", {})) else StorageError
        )
        raise kind(f"S3 did not take {key}: {error}") from error
    except BotoCoreError as error:
        raise StorageError(f"S3 did not answer for {key}: {error}") from error


def _says_full(answer: Mapping[str, Any]) -> bool:
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status == INSUFFICIENT_STORAGE or answer.get("Error", {}).get("Code") in FULL_CODES
