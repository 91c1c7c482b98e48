"""`visavis-server create-bucket`: the bucket of the storage, before the first start."""

from __future__ import annotations

from contextlib import closing

from cli.console import MISUSED, fail, make_console, read_settings
from jobs.storage.factory import S3Storage, StorageError, open_storage
from jobs.telemetry.redaction import redact


def run_create_bucket() -> None:
    """Create the bucket of VISAVIS_STORAGE_URL unless it exists."""
    settings = read_settings()
    address = redact(settings.storage_url)
    try:
        with closing(open_storage(settings)) as storage:
            if not isinstance(storage, S3Storage):
                fail(f"VISAVIS_STORAGE_URL: {address} has no bucket; use s3://bucket", MISUSED)
            created = storage.create_bucket()
    except StorageError as error:
        fail(f"no bucket created: {error}")
    make_console().print(f"{'created' if created else 'exists'}  {address}", soft_wrap=True)
