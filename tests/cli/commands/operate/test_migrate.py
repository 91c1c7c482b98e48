"""`migrate`, and the schema checks of other commands."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from jobs.db.engine import connect, writing
from jobs.db.migrate import SchemaError, prepare, schema_state
from tests.cli.conftest import Call


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty database, set for every command."""
    address = f"sqlite:///{tmp_path / 'visavis.db'}"
    monkeypatch.setenv("VISAVIS_DATABASE_URL", address)
    return address


def set_revision(url: str, revision: str) -> None:
    engine = connect(url)
    with writing(engine) as connection:
        version = sa.table("alembic_version", sa.column("version_num"))
        connection.execute(version.update().values(version_num=revision))
    engine.dispose()


def test_pending_migrations_are_listed_and_then_applied(call: Call, url: str) -> None:
    check = call("migrate", "--check")
    assert check.exit_code == 1
    assert check.stdout.splitlines()[0].startswith("pending  0001  ")
    assert schema_state(url).current is None  # nothing was applied

    applied = call("migrate")
    assert applied.exit_code == 0
    assert applied.stdout == check.stdout.replace("pending", "applied")

    newest = check.stdout.splitlines()[-1].split()[1]
    for arguments in (["migrate", "--check"], ["migrate"]):
        again = call(*arguments)
        assert (again.exit_code, again.stdout) == (0, f"up to date at {newest}\n")


def test_a_newer_database_is_rejected_by_every_command(
    call: Call, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(url, migrate=True)
    set_revision(url, "9999")
    monkeypatch.setenv("VISAVIS_BROKER_URL", "redis://127.0.0.1:1/0")

    for arguments in (["migrate"], ["migrate", "--check"], ["api"], ["worker"], ["up"]):
        done = call(*arguments)
        assert done.exit_code == 2, arguments
        assert "is at migration 9999, which is unknown to this version of visavis" in done.stderr


@pytest.mark.parametrize("command", ["api", "worker", "up"])
def test_an_older_database_is_rejected_if_migration_is_disabled(
    call: Call, url: str, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("VISAVIS_MIGRATE", "false")
    monkeypatch.setenv("VISAVIS_BROKER_URL", "redis://127.0.0.1:1/0")

    done = call(command)

    assert done.exit_code == 2
    assert (
        "starting with 0001, and VISAVIS_MIGRATE is false; run `visavis-server migrate`"
        in done.stderr
    )
    assert schema_state(url).current is None


def test_an_unreachable_database_is_reported(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")

    done = call("migrate", "--check")

    assert done.exit_code == 1
    assert "the database does not respond" in done.stderr


def test_preparing_a_database_can_be_repeated(url: str) -> None:
    with pytest.raises(SchemaError, match="lacks"):
        prepare(url, migrate=False)
    for migrate in (True, False, True):
        prepare(url, migrate=migrate)
    assert schema_state(url).pending == ()
