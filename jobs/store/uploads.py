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
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Engine, RowMapping

    from jobs.model import Clock, JobWarning
    from jobs.sandbox.audio_probe import ClipInfo
    from jobs.storage.base import PartSession, StoredObject

UPLOADS_FOLDER = "uploads"
PART_BYTES = 100 * 2**20
BATCH_SIZE = 8
GRACE = timedelta(minutes=5)  # for a request that read the upload just before it expired
HOLD = timedelta(minutes=1)  # an upload that is not removed in this time is taken again


class UploadMissing(LookupError):
    """No upload of this tenant has this id, or it has expired."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"upload not found: {upload_id}")
        self.upload_id = upload_id


class UploadComplete(RuntimeError):
    """The upload has all of its parts."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"upload already complete: {upload_id}")
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
    filename: str | None  # of the clip on its sender's machine

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
    return f"{UPLOADS_FOLDER}/{upload_id}"


def upload_of(key: str) -> str:
    """Return the id of the upload that an object belongs to: "uploads/<id>/..."."""
    return key.removeprefix(f"{UPLOADS_FOLDER}/").partition("/")[0]


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
        self,
        tenant: str,
        *,
        bytes: int,
        upload_id: str,
        session: str,
        seconds: float,
        filename: str | None = None,
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
            "filename": filename,
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

    def receiving(self, upload_id: str) -> Upload:
        """Return the upload of any tenant whose parts may arrive now.

        Raises:
            UploadMissing: when no upload has this id, or it has expired.
            UploadComplete: when its parts were joined.
        """
        this = sa.select(uploads).where(
            uploads.c.id == upload_id, uploads.c.expires_at > self._clock()
        )
        with reading(self._engine) as connection:
            row = connection.execute(this).mappings().first()
        if row is None:
            raise UploadMissing(upload_id)
        if (upload := _upload(row)).ready:
            raise UploadComplete(upload_id)
        return upload

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

    def orphans(self, objects: Sequence[StoredObject], age: timedelta) -> list[str]:
        """Return the keys of objects, older than `age`, that belong to no upload.

        Of a complete upload only its clip is kept: parts that arrived later are orphans.
        """
        before = self._clock() - age
        old = [each for each in objects if each.modified <= before]
        ids = {upload_of(each.key) for each in old}
        these = sa.select(uploads.c.id, uploads.c.key, uploads.c.sha256).where(
            uploads.c.id.in_(ids)
        )
        with reading(self._engine) as connection:
            rows = {row.id: row for row in connection.execute(these)}

        def orphaned(one: StoredObject) -> bool:
            row = rows.get(upload_of(one.key))
            return row is None or (row.sha256 is not None and one.key != row.key)

        return [one.key for one in old if orphaned(one)]

    def lost_sessions(self, sessions: Sequence[PartSession], age: timedelta) -> list[PartSession]:
        """Return the multipart uploads, older than `age`, that no row names."""
        before = self._clock() - age
        old = [each for each in sessions if each.begun <= before]
        ids = [each.session for each in old]
        with reading(self._engine) as connection:
            known = set(
                connection.execute(
                    sa.select(uploads.c.session).where(uploads.c.session.in_(ids))
                ).scalars()
            )
        return [each for each in old if each.session not in known]

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
