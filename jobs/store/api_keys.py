"""API keys: credentials of callers, each with a tenant and scopes.

A key has the form `vv_<id>_<secret>`. The secret is 256 random bits, so its plain sha256 is stored:
slow hashes are for secrets that can be guessed. A reader of the table can neither use nor forge a
key.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from jobs.db.engine import connect, reading, writing
from jobs.db.tables import api_keys
from jobs.model import utc_now

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import ColumnElement, Connection, Engine, RowMapping

    from jobs.model import Clock
    from jobs.settings import Settings

logger = logging.getLogger(__name__)

ID_BYTES, SECRET_BYTES = 6, 32
TOKEN = re.compile(rf"vv_([0-9a-f]{{{2 * ID_BYTES}}})_([0-9a-f]{{{2 * SECRET_BYTES}}})")
TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
LONGEST_NAME = 100
LAST_USED_STEP = timedelta(minutes=1)  # so most requests write nothing
NO_DIGEST = "0" * 64
CREATE_COMMAND = "visavis-server keys create --tenant NAME --name WHAT-FOR --scope read,write"


class Scope(StrEnum):
    """Rights of a key."""

    READ = "read"  # every request that changes nothing
    WRITE = "write"  # submit, cancel, retry, delete
    ADMIN = "admin"  # both, for every tenant


ALL_SCOPES = frozenset(Scope)


class KeyUnknown(LookupError):
    """No active key has this id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"API key: no active key {key_id!r}; see `visavis-server keys list`")


class NoKeys(RuntimeError):
    """Keys are required and no active key exists, so no client could call."""


@dataclass(frozen=True)
class ApiKey:
    """A key without its secret."""

    id: str
    tenant: str
    name: str  # its purpose, as the operator describes it
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None  # None: never
    revoked_at: datetime | None
    last_used_at: datetime | None  # to the minute

    def active(self, now: datetime) -> bool:
        """Return whether the key is neither expired nor revoked."""
        expired = self.expires_at is not None and self.expires_at <= now
        return self.revoked_at is None and not expired


@dataclass(frozen=True)
class NewKey:
    """A new key with its token, which is not stored."""

    key: ApiKey
    token: str


class ApiKeyStore:
    """API key rows."""

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def create(
        self,
        tenant: str,
        name: str,
        scopes: Iterable[Scope],
        *,
        lifetime: timedelta | None = None,
    ) -> NewKey:
        """Create a key. Raises: ValueError: when tenant, name or scopes are invalid."""
        if not TENANT.fullmatch(tenant):
            raise ValueError(
                f"tenant: invalid name {tenant!r}; use up to 63 characters of a-z, 0-9 and -, "
                "and no - at the start"
            )
        if not 0 < len(name) <= LONGEST_NAME:
            raise ValueError(
                f"name: invalid length {len(name)}; use 1 to {LONGEST_NAME} characters"
            )
        if not (granted := frozenset(scopes)):
            raise ValueError(f"scopes: none given; use {', '.join(Scope)}")
        with writing(self._engine) as connection:
            return self._insert(connection, tenant, name, granted, lifetime)

    def rotate(self, key_id: str, *, grace: timedelta) -> NewKey:
        """Create a successor with the same lifetime; the old key stays active for `grace`.

        Raises: KeyUnknown: when no active key has this id.
        """
        with writing(self._engine) as connection:
            now = self._clock()
            old = _find(connection, key_id)
            if old is None or not old.active(now):
                raise KeyUnknown(key_id)
            lifetime = None if old.expires_at is None else old.expires_at - old.created_at
            new = self._insert(connection, old.tenant, old.name, old.scopes, lifetime)
            ends = now + grace if old.expires_at is None else min(now + grace, old.expires_at)
            _set(connection, old.id, expires_at=ends)
            return new

    def revoke(self, key_id: str) -> None:
        """Revoke a key now; safe to repeat. Raises: KeyUnknown: when no key has this id."""
        with writing(self._engine) as connection:
            key = _find(connection, key_id)
            if key is None:
                raise KeyUnknown(key_id)
            if key.revoked_at is None:
                _set(connection, key_id, revoked_at=self._clock())

    def all(self) -> list[ApiKey]:
        """Return every key, expired and revoked ones too, newest first."""
        newest = sa.select(api_keys).order_by(api_keys.c.created_at.desc(), api_keys.c.id)
        with reading(self._engine) as connection:
            return [_key(row) for row in connection.execute(newest).mappings()]

    def any(self) -> bool:
        """Return whether an active key exists."""
        with reading(self._engine) as connection:
            some = sa.select(api_keys.c.id).where(_active(self._clock())).limit(1)
            return connection.execute(some).first() is not None

    def active_of(self, key_ids: Collection[str]) -> set[str]:
        """Return the ids among these whose keys are active."""
        these = sa.and_(api_keys.c.id.in_(key_ids), _active(self._clock()))
        with reading(self._engine) as connection:
            return set(connection.execute(sa.select(api_keys.c.id).where(these)).scalars())

    def authenticate(self, token: str) -> ApiKey | None:
        """Return the key of this token; None if it is unknown, expired or revoked."""
        parts = TOKEN.fullmatch(token)
        key_id, secret = (parts[1], parts[2]) if parts else ("", token)
        this = sa.select(api_keys).where(api_keys.c.id == key_id)
        with reading(self._engine) as connection:
            row = connection.execute(this).mappings().first()
        stored = NO_DIGEST if row is None else str(row["digest"])
        matches = hmac.compare_digest(_digest(secret), stored)
        now = self._clock()
        if row is None or not matches or not (key := _key(row)).active(now):
            return None
        if key.last_used_at is None or key.last_used_at + LAST_USED_STEP <= now:
            self._note_use(key.id, now)
        return key

    def _note_use(self, key_id: str, now: datetime) -> None:
        """Write `last_used_at`; a failure is only logged, so reads work on a full disk."""
        try:
            with writing(self._engine) as connection:
                _set(connection, key_id, last_used_at=now)
        except OperationalError as error:
            logger.warning("use of a key not noted", extra={"key": key_id, "reason": str(error)})

    def _insert(
        self,
        connection: Connection,
        tenant: str,
        name: str,
        scopes: frozenset[Scope],
        lifetime: timedelta | None,
    ) -> NewKey:
        now = self._clock()
        key = ApiKey(
            id=secrets.token_hex(ID_BYTES),
            tenant=tenant,
            name=name,
            scopes=scopes,
            created_at=now,
            expires_at=None if lifetime is None else now + lifetime,
            revoked_at=None,
            last_used_at=None,
        )
        secret = secrets.token_hex(SECRET_BYTES)
        row = {
            "id": key.id,
            "tenant": tenant,
            "name": name,
            "digest": _digest(secret),
            "scopes": ",".join(sorted(scopes)),
            "created_at": now,
            "expires_at": key.expires_at,
        }
        connection.execute(api_keys.insert().values(row))
        return NewKey(key, f"vv_{key.id}_{secret}")


def require_keys(settings: Settings) -> None:
    """Check that a client can call. The database has to be up to date.

    Raises: NoKeys: when keys are required and no active key exists; the message has the command.
    """
    if not settings.keys_needed:
        return
    engine = connect(settings.database_url)
    try:
        if ApiKeyStore(engine).any():
            return
    finally:
        engine.dispose()
    why = (
        "VISAVIS_ACCESS is keys"
        if settings.access == "keys"
        else f"{settings.host} can be reached from other machines"
    )
    raise NoKeys(f"{why}, but no active API key exists; create one first: `{CREATE_COMMAND}`")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _active(now: datetime) -> ColumnElement[bool]:
    unexpired = sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
    return sa.and_(api_keys.c.revoked_at.is_(None), unexpired)


def _find(connection: Connection, key_id: str) -> ApiKey | None:
    this = sa.select(api_keys).where(api_keys.c.id == key_id).with_for_update()
    row = connection.execute(this).mappings().first()
    return None if row is None else _key(row)


def _set(connection: Connection, key_id: str, **values: datetime) -> None:
    connection.execute(api_keys.update().where(api_keys.c.id == key_id).values(values))


def _key(row: RowMapping) -> ApiKey:
    return ApiKey(
        id=row["id"],
        tenant=row["tenant"],
        name=row["name"],
        scopes=frozenset(Scope(scope) for scope in row["scopes"].split(",")),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )
