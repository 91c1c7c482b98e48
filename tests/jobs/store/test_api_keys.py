"""API keys: creation, authentication, rotation with a grace period, revocation."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobs.db.engine import connect, reading
from jobs.db.migrate import upgrade
from jobs.db.tables import api_keys
from jobs.settings import Settings
from jobs.store.api_keys import TOKEN, ApiKeyStore, KeyUnknown, NoKeys, Scope, require_keys
from tests.clock import Clock

DAY = timedelta(days=1)
READ_WRITE = (Scope.READ, Scope.WRITE)


@pytest.fixture
def keys(database_url: str, clock: Clock) -> Iterator[ApiKeyStore]:
    engine = connect(database_url)
    yield ApiKeyStore(engine, clock=clock)
    engine.dispose()


def test_a_key_authenticates_its_tenant(keys: ApiKeyStore) -> None:
    made = keys.create("acme", "the website", READ_WRITE)

    opened = keys.authenticate(made.token)

    assert TOKEN.fullmatch(made.token)
    assert opened is not None
    assert (opened.id, opened.tenant, opened.scopes) == (made.key.id, "acme", set(READ_WRITE))
    assert keys.any()


def test_the_secret_is_not_stored(keys: ApiKeyStore, database_url: str) -> None:
    made = keys.create("acme", "the website", READ_WRITE)
    secret = made.token.rpartition("_")[2]

    engine = connect(database_url)
    with reading(engine) as connection:
        row = connection.execute(sa.select(api_keys)).one()
    engine.dispose()

    assert secret not in str(row)
    assert secret not in repr(made.key)


@pytest.mark.parametrize("length", [0, 10, 63, 65])
def test_an_invalid_token_is_rejected(keys: ApiKeyStore, length: int) -> None:
    made = keys.create("acme", "the website", READ_WRITE)
    id_, secret = made.key.id, made.token.rpartition("_")[2]

    assert keys.authenticate(f"vv_{id_}_{(secret * 2)[:length]}") is None
    assert keys.authenticate(f"vv_{id_}_{secret[::-1]}") is None
    assert keys.authenticate(f"vv_{'0' * 12}_{secret}") is None
    assert keys.authenticate(made.token.upper()) is None
    assert keys.authenticate("ü" * 80) is None


def test_an_expired_key_is_rejected(keys: ApiKeyStore, clock: Clock) -> None:
    made = keys.create("acme", "a trial", READ_WRITE, lifetime=DAY)
    clock.advance(86_390)
    assert keys.authenticate(made.token)
    clock.advance(11)

    assert keys.authenticate(made.token) is None
    assert not keys.any()


def test_a_revoked_key_is_rejected(keys: ApiKeyStore) -> None:
    made = keys.create("acme", "a trial", READ_WRITE)

    keys.revoke(made.key.id)
    keys.revoke(made.key.id)

    assert keys.authenticate(made.token) is None
    assert not keys.any()
    with pytest.raises(KeyUnknown, match="nobody"):
        keys.revoke("nobody")


def test_a_rotated_key_is_valid_for_its_grace_period(keys: ApiKeyStore, clock: Clock) -> None:
    old = keys.create("acme", "the website", READ_WRITE, lifetime=90 * DAY)
    clock.advance(80 * 86_400)

    new = keys.rotate(old.key.id, grace=DAY)

    assert new.key.expires_at is not None
    assert (new.key.tenant, new.key.name, new.key.scopes) == ("acme", "the website", {*READ_WRITE})
    assert new.key.expires_at - new.key.created_at == 90 * DAY
    assert keys.authenticate(old.token)
    clock.advance(86_401)
    assert keys.authenticate(old.token) is None
    assert keys.authenticate(new.token)


def test_a_grace_period_does_not_extend_a_key(keys: ApiKeyStore, clock: Clock) -> None:
    old = keys.create("acme", "the website", READ_WRITE, lifetime=DAY)

    keys.rotate(old.key.id, grace=30 * DAY)
    clock.advance(86_401)

    assert keys.authenticate(old.token) is None
    with pytest.raises(KeyUnknown):
        keys.rotate(old.key.id, grace=DAY)


def test_a_key_rotated_without_grace_ends_at_once(keys: ApiKeyStore) -> None:
    old = keys.create("acme", "leaked", READ_WRITE)

    keys.rotate(old.key.id, grace=timedelta())

    assert keys.authenticate(old.token) is None


def test_the_last_use_is_noted_once_a_minute(keys: ApiKeyStore, clock: Clock) -> None:
    made = keys.create("acme", "the website", READ_WRITE)
    noted = set()
    for _ in range(6):
        keys.authenticate(made.token)
        noted.add(keys.all()[0].last_used_at)
        clock.advance(25)

    assert len(noted) == 2


def test_a_read_only_database_still_authenticates_keys(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'v.db'}"
    upgrade(url)
    engine, reads = connect(url), connect(url)
    sa.event.listen(reads, "connect", lambda made, _: made.execute("PRAGMA query_only = ON"))
    made = ApiKeyStore(engine).create("acme", "the website", READ_WRITE)

    opened = ApiKeyStore(reads).authenticate(made.token)

    assert opened == made.key
    assert ApiKeyStore(engine).all()[0].last_used_at is None  # the write was refused
    engine.dispose()
    reads.dispose()


def test_a_key_can_be_used_concurrently(keys: ApiKeyStore) -> None:
    made = keys.create("acme", "the website", READ_WRITE)
    start = threading.Barrier(6)

    def use(_: int) -> object:
        start.wait()
        return keys.authenticate(made.token)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(use, range(6)))


@pytest.mark.parametrize(
    ("tenant", "name", "scopes", "words"),
    [
        ("", "a", READ_WRITE, "tenant: invalid name"),
        ("Acme", "a", READ_WRITE, "tenant: invalid name"),
        ("-acme", "a", READ_WRITE, "tenant: invalid name"),
        ("a" * 64, "a", READ_WRITE, "tenant: invalid name"),
        ("acme\n", "a", READ_WRITE, "tenant: invalid name"),
        ("acme", "", READ_WRITE, "name: invalid length"),
        ("acme", "a" * 101, READ_WRITE, "name: invalid length"),
        ("acme", "a", (), "scopes: none given"),
    ],
)
def test_an_invalid_key_is_not_created(
    keys: ApiKeyStore, tenant: str, name: str, scopes: tuple[Scope, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        keys.create(tenant, name, scopes)
    assert keys.all() == []


@pytest.mark.parametrize(
    ("host", "access", "needed"),
    [
        ("127.0.0.1", "auto", False),
        ("127.3.2.1", "auto", False),
        ("::1", "auto", False),
        ("localhost", "auto", False),
        ("127.0.0.1", "keys", True),
        ("0.0.0.0", "auto", True),
        ("::", "auto", True),
        ("192.168.1.2", "auto", True),
        ("video.example", "auto", True),
        ("127.0.0.1.example", "auto", True),
    ],
)
def test_keys_are_required_by_access_and_host(
    tmp_path: Path, host: str, access: str, needed: bool
) -> None:
    settings = Settings.model_validate({"data": tmp_path, "host": host, "access": access})
    upgrade(settings.database_url)

    assert settings.keys_needed is needed
    if not needed:
        require_keys(settings)
        return
    with pytest.raises(NoKeys, match="visavis-server keys create --tenant"):
        require_keys(settings)
    engine = connect(settings.database_url)
    ApiKeyStore(engine).create("acme", "first", [Scope.READ])
    engine.dispose()
    require_keys(settings)
