"""Uploads: clips that are sent to the storage in parts, before a job uses them.

    open -> ready      when all parts have arrived and the clip was probed

An upload belongs to the tenant of its sender. Until it expires any number of jobs can use it; its
object stays as long as one of them is unfinished.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from jobs.db.engine import reading, writing
from jobs.db.tables import jobs, uploads
from jobs.model import State, new_job_id, utc_now, warnings_of
from jobs.store.quotas import Quota, check_bytes, hold_to_quota

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine, RowMapping

    from jobs.model import Clock, JobWarning
    from jobs.sandbox.audio_probe import ClipInfo

PART_BYTES = 100 * 2**20
BATCH_SIZE = 8
GRACE = timedelta(minutes=5)  # for a request that read the upload just before it expired
HOLD = timedelta(minutes=1)  # an upload that is not removed in this time is taken again


class UploadMissing(LookupError):
    """No upload of this tenant has this id, or it has expired."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"upload not found: {upload_id}")
        self.upload_id = upload_id


@dataclass(frozen=True)
class Upload:
    """An upload, complete or not."""

    id: str
    tenant: str
    bytes: int
    key: str
    session: str  # the storage's id of the multipart upload
    created_at: datetime
    expires_at: datetime
    container: str | None  # None: not probed yet
    seconds: float | None
    sha256: str | None
    warnings: tuple[JobWarning, ...]
    channels: int | None  # None also for uploads of version 0.1

    @property
    def ready(self) -> bool:
        """Return whether jobs can use the upload."""
        return self.sha256 is not None

    @property
    def sizes(self) -> list[int]:
        """Return the bytes of each part: `PART_BYTES`, the last one the rest."""
        full, rest = divmod(self.bytes, PART_BYTES)
        return [PART_BYTES] * full + ([rest] if rest else [])


def upload_folder(upload_id: str) -> str:
    """Return the folder of all objects of an upload."""
    return f"uploads/{upload_id}"


def upload_key(upload_id: str) -> str:
    """Return the key of the clip; its format is unknown before it has arrived."""
    return f"{upload_folder(upload_id)}/clip.bin"


class UploadStore:
    """Upload rows."""

    def __init__(
        self, engine: Engine, quota: Quota | None = None, *, clock: Clock = utc_now
    ) -> None:
        self._engine = engine
        self._quota = quota or Quota()
        self._clock = clock

    def add(
        self, tenant: str, *, bytes: int, upload_id: str, session: str, seconds: float
    ) -> Upload:
        """Announce a clip of this size; its parts have to arrive within `seconds`.

        Raises: QuotaExceeded: when the tenant's stored bytes would exceed the quota.
        """
        now = self._clock()
        row = {
            "id": upload_id,
            "tenant": tenant,
            "bytes": bytes,
            "key": upload_key(upload_id),
            "session": session,
            "created_at": now,
            "expires_at": now + timedelta(seconds=seconds),
            "held_until": now,
        }
        with writing(self._engine) as connection:
            quota = hold_to_quota(connection, tenant, self._quota)
            connection.execute(uploads.insert().values(row))
            check_bytes(connection, tenant, quota, bytes)
        return self.get(tenant, upload_id)

    def get(self, tenant: str, upload_id: str) -> Upload:
        """Return the upload.

        Raises: UploadMissing: when the tenant has no such upload or it has expired.
        """
        this = sa.select(uploads).where(
            uploads.c.id == upload_id,
            uploads.c.tenant == tenant,
            uploads.c.expires_at > self._clock(),
        )
        with reading(self._engine) as connection:
            row = connection.execute(this).mappings().first()
        if row is None:
            raise UploadMissing(upload_id)
        return _upload(row)

    def ready(self, upload: Upload, clip: ClipInfo, sha256: str, *, seconds: float) -> Upload:
        """Save the result of the probe; jobs can use the upload for `seconds` from now on."""
        probed = {
            "container": clip.container,
            "seconds": clip.seconds,
            "sha256": sha256,
            "channels": clip.channels,
            "warnings": [asdict(warning) for warning in clip.warnings],
            "expires_at": self._clock() + timedelta(seconds=seconds),
        }
        unprobed = sa.and_(uploads.c.id == upload.id, uploads.c.sha256.is_(None))
        with writing(self._engine) as connection:
            connection.execute(uploads.update().where(unprobed).values(probed))
        return self.get(upload.tenant, upload.id)

    def take_expired(self) -> list[Upload]:
        """Return uploads to remove; other processes do not get them for a while.

        The caller removes the objects and then calls `forget`.
        """
        now = self._clock()
        in_use = sa.exists().where(
            sa.or_(jobs.c.input_key == uploads.c.key, jobs.c.partner_key == uploads.c.key),
            jobs.c.state.in_([State.QUEUED, State.RUNNING]),
        )
        due = (
            sa.select(uploads)
            .where(uploads.c.expires_at <= now - GRACE, uploads.c.held_until <= now, ~in_use)
            .order_by(uploads.c.expires_at)
            .limit(BATCH_SIZE)
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            taken = [_upload(row) for row in connection.execute(due).mappings()]
            ids = [upload.id for upload in taken]
            held = {"held_until": now + HOLD}
            connection.execute(uploads.update().where(uploads.c.id.in_(ids)).values(held))
        return taken

    def forget(self, upload: Upload) -> None:
        """Delete the row of an upload whose object was removed; safe to repeat."""
        with writing(self._engine) as connection:
            connection.execute(uploads.delete().where(uploads.c.id == upload.id))


def new_upload_id() -> str:
    """Return an id that cannot be guessed."""
    return new_job_id()


def _upload(row: RowMapping) -> Upload:
    columns = {name: value for name, value in row.items() if name != "held_until"}
    return Upload(**columns | {"warnings": warnings_of(row["warnings"])})
