"""Clips that are sent to the storage by itself, in parts, before a job asks for them.

    open -> ready      once all parts have come and the clip was looked at

An upload is its sender's tenant's. It expires; until then any number of jobs may use it, and its
object stays for as long as one of them is still to be done.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from jobs.db.engine import reading, writing
from jobs.db.tables import jobs, uploads
from jobs.model import State, new_job_id, utc_now
from jobs.store.quotas import Quota, check_bytes, hold_to_quota

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine, RowMapping

    from jobs.model import Clock
    from jobs.sandbox.audio_probe import ClipInfo

PART_BYTES = 100 * 2**20
AT_ONCE = 8
GRACE = timedelta(minutes=5)  # for a request that found the upload just before it expired
HOLD = timedelta(minutes=1)  # an upload that nobody has removed in this time is anybody's again


class UploadMissing(LookupError):
    """No upload of this tenant has this id, or it has expired."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"there is no upload {upload_id}")
        self.upload_id = upload_id


@dataclass(frozen=True)
class Upload:
    """One row: a clip that is on its way or here."""

    id: str
    tenant: str
    bytes: int
    key: str
    session: str  # of the storage, for its parts
    created_at: datetime
    expires_at: datetime
    container: str | None  # None: not looked at yet
    seconds: float | None
    sha256: str | None

    @property
    def ready(self) -> bool:
        """Whether jobs may use it."""
        return self.sha256 is not None

    @property
    def sizes(self) -> list[int]:
        """Bytes of each part: all but the last are as long as parts are."""
        full, rest = divmod(self.bytes, PART_BYTES)
        return [PART_BYTES] * full + ([rest] if rest else [])


def upload_folder(upload_id: str) -> str:
    """Everything that is stored of an upload lies below this."""
    return f"uploads/{upload_id}"


def upload_key(upload_id: str) -> str:
    """Where the clip lies: its kind is not known before it is here."""
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
        """Announce a clip of so many bytes, whose parts have to come within `seconds`.

        QuotaExceeded where that would be more than the tenant may have stored.
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
        """UploadMissing where it is another tenant's, has expired, or never was."""
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
        """Keep what was found in the clip; it may be used for so many seconds from now on."""
        found = {
            "container": clip.container,
            "seconds": clip.seconds,
            "sha256": sha256,
            "expires_at": self._clock() + timedelta(seconds=seconds),
        }
        open_one = sa.and_(uploads.c.id == upload.id, uploads.c.sha256.is_(None))
        with writing(self._engine) as connection:
            connection.execute(uploads.update().where(open_one).values(found))
        return self.get(upload.tenant, upload.id)

    def take_expired(self) -> list[Upload]:
        """Uploads to remove now, taken so that nobody else does meanwhile; then say `forget`."""
        now = self._clock()
        in_use = sa.exists().where(
            jobs.c.input_key == uploads.c.key,
            jobs.c.state.in_([State.QUEUED, State.RUNNING]),
        )
        due = (
            sa.select(uploads)
            .where(uploads.c.expires_at <= now - GRACE, uploads.c.held_until <= now, ~in_use)
            .order_by(uploads.c.expires_at)
            .limit(AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            taken = [_upload(row) for row in connection.execute(due).mappings()]
            ids = [upload.id for upload in taken]
            held = {"held_until": now + HOLD}
            connection.execute(uploads.update().where(uploads.c.id.in_(ids)).values(held))
        return taken

    def forget(self, upload: Upload) -> None:
        """Drop the row of an upload whose object is gone; harmless when said twice."""
        with writing(self._engine) as connection:
            connection.execute(uploads.delete().where(uploads.c.id == upload.id))


def new_upload_id() -> str:
    """As hard to guess as a job's."""
    return new_job_id()


def _upload(row: RowMapping) -> Upload:
    return Upload(**{name: value for name, value in row.items() if name != "held_until"})
