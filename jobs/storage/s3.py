"""S3 storage: objects in a bucket, or in a folder of one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jobs.storage.base import (
    CHUNK,
    ObjectInfo,
    PartSession,
    StoredObject,
    checked,
    content_type_of,
)
from jobs.storage.errors import ObjectMissing, PartMissing, StorageError, StorageFull
from jobs.storage.keys import IDENTITY_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

FULL_CODES = ("XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "InsufficientCapacity")
INSUFFICIENT_STORAGE = 507
DEFAULT_REGION = "us-east-1"

# Parts of a storage URL: address for this service, address in links if it differs, region.
PARTS = ("endpoint_url", "public_endpoint_url", "region")


class S3Storage:
    """A bucket, or a folder in one. Links are presigned URLs of the bucket.

    signer: client for presigned URLs, if callers reach the bucket at another address.
    """

    def __init__(
        self, client: Any, *, bucket: str, prefix: str = "", signer: Any | None = None
    ) -> None:
        self._client = client
        self._signer = client if signer is None else signer
        self._bucket = bucket
        self._prefix = prefix

    def put(self, key: str, path: Path, content_type: str) -> None:
        with as_storage_error(key):
            self._client.upload_file(
                str(path), self._bucket, self._name(key), ExtraArgs={"ContentType": content_type}
            )

    def get(self, key: str, path: Path) -> None:
        with as_storage_error(key):
            self._client.download_file(self._bucket, self._name(key), str(path))

    def copy(self, key: str, to: str) -> None:
        source = {"Bucket": self._bucket, "Key": self._name(key)}
        with as_storage_error(key):
            self._client.copy(source, self._bucket, self._name(to))

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        last = "" if length is None else str(start + length - 1)
        ranged = {"Range": f"bytes={start}-{last}"} if start or length is not None else {}
        with as_storage_error(key):
            response = self._client.get_object(Bucket=self._bucket, Key=self._name(key), **ranged)
        return _body(response["Body"], key)

    def stat(self, key: str) -> ObjectInfo:
        with as_storage_error(key):
            head = self._client.head_object(Bucket=self._bucket, Key=self._name(key))
        return ObjectInfo(key, int(head["ContentLength"]), str(head["ContentType"]))

    def delete(self, prefix: str) -> None:
        with as_storage_error(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._name(prefix) + "/"):
                self._remove([entry["Key"] for entry in page.get("Contents", [])])

    def remove(self, keys: Sequence[str]) -> None:
        if keys:
            with as_storage_error(keys[0]):
                self._remove([self._name(key) for key in keys])

    def page(self, folder: str, *, after: str | None, limit: int) -> list[StoredObject]:
        start = {} if after is None else {"StartAfter": self._name(after)}
        with as_storage_error(folder):
            response = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self._name(folder) + "/", MaxKeys=limit, **start
            )
        return [
            StoredObject(entry["Key"].removeprefix(self._prefix), entry["LastModified"])
            for entry in response.get("Contents", [])
        ]

    def link(self, key: str, *, filename: str, seconds: int) -> str:
        parameters = {
            "Bucket": self._bucket,
            "Key": self._name(key),
            "ResponseContentDisposition": disposition(filename),
        }
        return str(
            self._signer.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)
        )

    def begin_parts(self, key: str) -> str:
        with as_storage_error(key):
            upload = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=self._name(key), ContentType=content_type_of(key)
            )
        return str(upload["UploadId"])

    def part_link(self, key: str, session: str, number: int, *, bytes: int, seconds: int) -> str:
        parameters = self._session(key, session) | {"PartNumber": number, "ContentLength": bytes}
        return str(
            self._signer.generate_presigned_url("upload_part", Params=parameters, ExpiresIn=seconds)
        )

    def join_parts(self, key: str, session: str, sizes: Sequence[int]) -> None:
        try:
            sent = self._sent_parts(key, session)
        except ObjectMissing:  # the session is over: joined before, or abandoned
            self.stat(key)
            return
        for number, size in enumerate(sizes, 1):
            found = sent.get(number, {"Size": 0})["Size"]
            if found != size:
                raise PartMissing(number, expected=size, found=found)
        parts = [{"PartNumber": n, "ETag": sent[n]["ETag"]} for n in range(1, len(sizes) + 1)]
        with as_storage_error(key):
            self._client.complete_multipart_upload(
                **self._session(key, session), MultipartUpload={"Parts": parts}
            )

    def abandon_parts(self, key: str, session: str) -> None:
        try:
            with as_storage_error(key):
                self._client.abort_multipart_upload(**self._session(key, session))
        except ObjectMissing:
            return

    def part_sessions(self, folder: str) -> list[PartSession]:
        with as_storage_error(folder):
            response = self._client.list_multipart_uploads(
                Bucket=self._bucket, Prefix=self._name(folder) + "/"
            )
        return [
            PartSession(
                entry["Key"].removeprefix(self._prefix), entry["UploadId"], entry["Initiated"]
            )
            for entry in response.get("Uploads", [])
        ]

    def _session(self, key: str, session: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._name(key), "UploadId": session}

    def _sent_parts(self, key: str, session: str) -> dict[int, dict[str, Any]]:
        """Return the parts that have arrived, by number."""
        found: dict[int, dict[str, Any]] = {}
        with as_storage_error(key):
            pages = self._client.get_paginator("list_parts")
            for page in pages.paginate(**self._session(key, session)):
                found |= {part["PartNumber"]: part for part in page.get("Parts", [])}
        return found

    def check(self) -> None:
        with as_storage_error(self._bucket):
            self._client.head_bucket(Bucket=self._bucket)

    def create_bucket(self) -> bool:
        """Create the bucket. Returns False if it exists."""
        try:
            self.check()
        except ObjectMissing:
            region = self._client.meta.region_name
            where = {"LocationConstraint": region} if region != DEFAULT_REGION else None
            given = {"CreateBucketConfiguration": where} if where else {}
            with as_storage_error(self._bucket):
                self._client.create_bucket(Bucket=self._bucket, **given)
            return True
        return False

    def owner(self) -> str | None:
        try:
            return b"".join(self.open(IDENTITY_KEY)).decode(errors="replace")
        except ObjectMissing:
            return None

    def make_root(self, identity: str) -> None:
        with as_storage_error(IDENTITY_KEY):
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._name(IDENTITY_KEY),
                Body=identity.encode(),
                ContentType="text/plain",
            )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._signer.close()

    def _remove(self, names: Sequence[str]) -> None:
        if not names:
            return
        objects = {"Objects": [{"Key": name} for name in names], "Quiet": True}
        response = self._client.delete_objects(Bucket=self._bucket, Delete=objects)
        if errors := response.get("Errors"):
            raise StorageError(f"S3 did not remove {errors[0]}")

    def _name(self, key: str) -> str:
        return self._prefix + checked(key)


def disposition(filename: str) -> str:
    """Return the Content-Disposition header that saves a response as `filename`."""
    return f"attachment; filename*=UTF-8''{quote(filename, safe='')}"


def open_bucket(bucket: str, prefix: str, query: dict[str, list[str]]) -> S3Storage:
    """Open the bucket of a storage URL. query: parts of the URL, see `PARTS`.

    Raises: StorageError: when the query has an unknown part or boto3 is not installed.
    """
    if unknown := query.keys() - set(PARTS):
        raise StorageError(
            f"VISAVIS_STORAGE_URL: unknown parts {', '.join(sorted(unknown))}; use "
            f"{', '.join(PARTS[:-1])} and {PARTS[-1]}"
        )
    endpoint, public, region = (query.get(part, [None])[0] for part in PARTS)
    client = s3_client(endpoint, region)
    signer = s3_client(public, region) if public else None
    return S3Storage(client, bucket=bucket, prefix=prefix, signer=signer)


def s3_client(endpoint: str | None, region: str | None) -> Any:
    """Return a client of S3, by default of AWS. Raises: StorageError: without boto3."""
    try:
        import boto3  # an extra that local storage does not need
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
        endpoint_url=endpoint,
        region_name=region or DEFAULT_REGION,
        config=config,
    )


def _body(body: Any, key: str) -> Iterator[bytes]:
    with as_storage_error(key), body:
        yield from body.iter_chunks(CHUNK)


@contextmanager
def as_storage_error(key: str) -> Iterator[None]:
    """Raise errors of boto3 as those of `jobs.storage.errors`."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("404", "NoSuchKey", "NoSuchUpload"):
            raise ObjectMissing(key) from error
        kind = StorageFull if _is_full(error.response) else StorageError
        raise kind(f"S3 refused {key}: {error}") from error
    except Boto3Error as error:  # `upload_file` wraps every ClientError in it
        kind = StorageFull if _is_full(getattr(error.__context__, "response", {})) else StorageError
        raise kind(f"S3 did not store {key}: {error}") from error
    except BotoCoreError as error:
        raise StorageError(f"S3 did not answer for {key}: {error}") from error


def _is_full(response: Mapping[str, Any]) -> bool:
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status == INSUFFICIENT_STORAGE or response.get("Error", {}).get("Code") in FULL_CODES
