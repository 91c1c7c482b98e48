"""Storage of clips, motion and videos, opened from its URL: a local folder or an S3 bucket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from jobs.storage.base import CONTENT_TYPES as CONTENT_TYPES
from jobs.storage.base import ObjectInfo as ObjectInfo
from jobs.storage.base import Storage as Storage
from jobs.storage.base import StoredObject as StoredObject
from jobs.storage.errors import ObjectMissing as ObjectMissing
from jobs.storage.errors import PartMissing as PartMissing
from jobs.storage.errors import StorageError as StorageError
from jobs.storage.errors import StorageFull as StorageFull
from jobs.storage.local import LocalStorage as LocalStorage
from jobs.storage.s3 import S3Storage as S3Storage
from jobs.storage.s3 import disposition as disposition
from jobs.storage.s3 import open_bucket
from jobs.telemetry.redaction import redact

if TYPE_CHECKING:
    from jobs.settings import Settings


def open_storage(settings: Settings) -> LocalStorage | S3Storage:
    """Open the storage at `settings.storage_url`: `file:///folder` or `s3://bucket/prefix`.

    Raises: StorageError: when the URL is invalid.
    """
    address = urlsplit(settings.storage_url)
    if address.scheme == "file":
        folder = Path(unquote(address.path))
        address_of_links = settings.public_url.rstrip("/")  # empty: relative to the API
        return LocalStorage(folder, address=address_of_links, signing_key=settings.signing_key())
    if address.scheme == "s3" and address.netloc:
        prefix = address.path.strip("/")
        return open_bucket(address.netloc, f"{prefix}/" if prefix else "", parse_qs(address.query))
    raise StorageError(
        f"VISAVIS_STORAGE_URL: invalid value {redact(settings.storage_url)!r}; use "
        "file:///folder or s3://bucket/prefix?endpoint_url=...&region=..."
    )
