"""`keys`: a secret is printed once, alone on stdout; everything else is listed."""

import json

import pytest

from jobs.store.api_keys import TOKEN
from tests.cli.conftest import Call


def create(call: Call, *arguments: str) -> str:
    done = call("keys", "create", "--tenant", "acme", "--name", "website", *arguments)
    assert done.exit_code == 0, done.stderr
    return done.stdout.strip()


def list_keys(call: Call) -> list[dict]:
    return json.loads(call("keys", "list", "--json").stdout)


def test_a_new_key_is_printed_once(call: Call) -> None:
    token = create(call, "--scope", "write,read", "--expires", "90d")

    match = TOKEN.fullmatch(token)
    assert match is not None
    (key,) = list_keys(call)
    assert (key["id"], key["tenant"], key["name"]) == (match[1], "acme", "website")
    assert (key["scopes"], key["state"], key["last_used_at"]) == (["read", "write"], "in use", None)
    assert key["expires_at"] > key["created_at"]
    assert match[2] not in call("keys", "list", "--json").stdout + call("keys", "list").stdout
    assert "website" in call("keys", "list").stdout


def test_a_rotated_key_is_replaced_by_another(call: Call) -> None:
    create(call)
    (old,) = list_keys(call)

    done = call("keys", "rotate", old["id"], "--grace", "0m")

    assert TOKEN.fullmatch(done.stdout.strip())
    assert sorted(key["state"] for key in list_keys(call)) == ["expired", "in use"]


def test_a_revoked_key_is_listed_and_cannot_be_rotated(call: Call) -> None:
    create(call)
    (key,) = list_keys(call)

    assert call("keys", "revoke", key["id"]).exit_code == 0

    assert list_keys(call)[0]["state"] == "revoked"
    done = call("keys", "rotate", key["id"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert key["id"] in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scope", "read,rule"), "use read, write, admin"),
        (("--expires", "soon"), "--expires: invalid duration 'soon'; use 90d"),
        (("--tenant", "Acme Inc"), "tenant: invalid name 'Acme Inc'"),
    ],
)
def test_an_invalid_option_is_rejected(
    call: Call, arguments: tuple[str, ...], message: str
) -> None:
    done = call("keys", "create", "--tenant", "acme", "--name", "website", *arguments)

    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert list_keys(call) == []


@pytest.mark.parametrize("command", ["api", "up"])
def test_a_public_address_without_a_key_is_rejected_at_start(call: Call, command: str) -> None:
    done = call(command, VISAVIS_HOST="0.0.0.0", VISAVIS_PORT="0")

    assert done.exit_code == 2
    assert "0.0.0.0 can be reached from other machines" in done.stderr
    assert "`visavis-server keys create --tenant NAME --name WHAT-FOR" in done.stderr
