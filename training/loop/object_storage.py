"""Checkpoints and person of a run in a bucket, for machines without a shared file system.

The only module of training that imports boto3, an extra.
"""

from __future__ import annotations

import fcntl
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from contracts.errors import InputError
from contracts.files import sha256_of, write_atomically
from contracts.s3_url import read_s3_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DIGEST = "sha256"  # metadata of an object
CHECK_ATTEMPTS, ATTEMPTS = 3, 10  # of a request: about a second, and a minute
DEFAULT_REGION = "us-east-1"
LOCK = ".storage.lock"


class ObjectStorage:
    """A folder in a bucket. Files have names below it, such as `person/stats.json`."""

    def __init__(self, url: str) -> None:
        """Open s3://bucket/folder, with ?endpoint_url=... for other servers than those of AWS.

        Raises: InputError: for an invalid URL, without boto3, or when the bucket does not answer.
        """
        self._url = url
        self._bucket, folder, endpoint, region = read_s3_url(url, folder=True)
        self._prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
        with self._errors():
            _client(endpoint, region, CHECK_ATTEMPTS).head_bucket(Bucket=self._bucket)
            self._client = _client(endpoint, region, ATTEMPTS)

    def names(self, folder: str) -> list[str]:
        """Sorted names of all files below a folder."""
        return sorted(self._sizes(folder))

    def _sizes(self, folder: str) -> dict[str, int]:
        """Bytes of all files below a folder, by name."""
        prefix = f"{self._prefix}{folder}/"
        with self._errors():
            pages = self._client.get_paginator("list_objects_v2")
            return {
                entry["Key"].removeprefix(self._prefix): entry["Size"]
                for page in pages.paginate(Bucket=self._bucket, Prefix=prefix)
                for entry in page.get("Contents", [])
                if not entry["Key"].endswith("/")  # a folder that a console has made
            }

    def put(self, path: Path, name: str) -> bool:
        """Store a file, unless its content is stored; readers see the one before or all of it."""
        digest = sha256_of(path)
        if digest == self._digest(name):
            return False
        with self._errors():
            extra = {"Metadata": {DIGEST: digest}}
            self._client.upload_file(str(path), self._bucket, self._prefix + name, ExtraArgs=extra)
        return True

    def get(self, name: str, path: Path) -> bool:
        """Copy a stored file to `path`, unless the file there has its content."""
        if path.is_file() and self._digest(name) == sha256_of(path):
            return False
        self._download(name, path)
        return True

    def _download(self, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._errors(), write_atomically(path) as draft:
            self._client.download_file(self._bucket, self._prefix + name, str(draft))

    def remove(self, name: str) -> None:
        """Remove a stored file."""
        with self._errors():
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)

    def push(self, folder: Path, name: str) -> None:
        """Store the files of a folder below `name`, without hidden ones."""
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            if path.is_file() and not any(part.startswith(".") for part in parts):
                self.put(path, "/".join((name, *parts)))

    def pull(
        self, name: str, folder: Path, wanted: Callable[[str], bool] = lambda name: True
    ) -> None:
        """Copy the stored files below `name` to a folder, one process of a machine at a time."""
        if names := [each for each in self.names(name) if wanted(each)]:
            with _locked(folder):
                for each in names:
                    self.get(each, folder / each.removeprefix(f"{name}/"))

    def pull_by_size(self, name: str, folder: Path) -> None:
        """Copy large files that do not change: one of the same size is the same; see `pull`."""
        if sizes := self._sizes(name):
            with _locked(folder):
                for each, size in sizes.items():
                    path = folder / each.removeprefix(f"{name}/")
                    if not path.is_file() or path.stat().st_size != size:
                        self._download(each, path)

    @property
    def _shown(self) -> str:
        return self._url.partition("?")[0].rstrip("/")

    def _digest(self, name: str) -> str | None:
        """Digest of a stored file; None if it is missing, or another program has stored it."""
        from botocore.exceptions import ClientError

        with self._errors():
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=self._prefix + name)
            except ClientError as error:
                if _status(error) == 404:
                    return None
                raise
        digest: str | None = head["Metadata"].get(DIGEST)
        return digest

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise errors of boto3 as sentences."""
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
        except ImportError as error:
            raise InputError("--storage needs boto3: pip install 'visavis-server[s3]'") from error
        try:
            yield
        except NoCredentialsError as error:
            raise InputError(
                f"{self._shown}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or give this machine a role"
            ) from error
        except (ClientError, boto3.exceptions.Boto3Error, BotoCoreError) as error:
            raise InputError(f"{self._shown}: {self._reason(error)}") from error

    def _reason(self, error: Exception) -> str:
        cause = error if hasattr(error, "response") else error.__context__  # of Boto3Error
        match _status(cause):
            case 404:
                return f"not found; check that bucket {self._bucket!r} exists, and endpoint_url"
            case 403:
                return f"no access to bucket {self._bucket!r}; check credentials and their policy"
            case _:
                return str(error)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Create a folder, and let one process of a machine write in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _status(error: Any) -> int | None:
    """HTTP status of an answer of S3; None without an answer."""
    response: dict[str, Any] = getattr(error, "response", {})
    status: int | None = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status


def _client(endpoint: str | None, region: str | None, attempts: int) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=60,
        retries={"max_attempts": attempts, "mode": "standard"},
    )
    logging.getLogger("botocore.credentials").setLevel(logging.WARNING)  # says where they are
    session = boto3.Session()
    region = region or session.region_name or DEFAULT_REGION
    return session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
