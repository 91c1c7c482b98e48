"""`keys`: the secret once, on stdout alone; everything else can be listed."""

import json

import pytest

from jobs.store.api_keys import TOKEN
from tests.cli.conftest import Call


def made(call: Call, *arguments: str) -> str:
    done = call("keys", "create", "--tenant", "acme", "--name", "website", *arguments)
    assert done.exit_code == 0, done.stderr
    return done.stdout.strip()


def listed(call: Call) -> list[dict]:
    return json.loads(call("keys", "list", "--json").stdout)


def test_a_new_key_is_shown_once(call: Call) -> None:
    token = made(call, "--scope", "write,read", "--expires", "90d")

    found = TOKEN.fullmatch(token)
    assert found is not None
    (key,) = listed(call)
    assert (key["id"], key["tenant"], key["name"]) == (found[1], "acme", "website")
    assert (key["scopes"], key["state"], key["last_used_at"]) == (["read", "write"], "in use", None)
    assert key["expires_at"] > key["created_at"]
    assert found[2] not in call("keys", "list", "--json").stdout + call("keys", "list").stdout
    assert "website" in call("keys", "list").stdout


def test_a_rotated_key_is_followed_by_another(call: Call) -> None:
    made(call)
    (old,) = listed(call)

    done = call("keys", "rotate", old["id"], "--grace", "0m")

    assert TOKEN.fullmatch(done.stdout.strip())
    assert sorted(key["state"] for key in listed(call)) == ["expired", "in use"]


def test_a_revoked_key_is_told(call: Call) -> None:
    made(call)
    (key,) = listed(call)

    assert call("keys", "revoke", key["id"]).exit_code == 0

    assert listed(call)[0]["state"] == "revoked"
    done = call("keys", "rotate", key["id"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert key["id"] in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--scope", "read,rule"), "there are read, write, admin"),
        (("--expires", "soon"), "--expires: 'soon' is no time; write 90d"),
        (("--tenant", "Acme Inc"), "tenant 'Acme Inc' is no name"),
    ],
)
def test_what_makes_no_sense_is_named(call: Call, arguments: tuple[str, ...], words: str) -> None:
    done = call("keys", "create", "--tenant", "acme", "--name", "website", *arguments)

    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
    assert listed(call) == []


@pytest.mark.parametrize("command", ["api", "up"])
def test_nothing_starts_on_a_public_address_without_a_key(call: Call, command: str) -> None:
    done = call(command, VISAVIS_HOST="0.0.0.0", VISAVIS_PORT="0")

    assert done.exit_code == 2
    assert "0.0.0.0 can be reached from other machines" in done.stderr
    assert "`visavis-server keys create --tenant NAME --name WHAT-FOR" in done.stderr
