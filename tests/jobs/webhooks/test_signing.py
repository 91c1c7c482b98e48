"""Webhooks are signed according to the Standard Webhooks specification."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from jobs.settings import Settings
from jobs.webhooks.signing import signed_headers, webhook_secret


def test_the_example_of_the_specification_has_its_signature() -> None:
    headers = signed_headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        delivery_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        at=datetime.fromtimestamp(1614265330, UTC),
        body=b'{"test": 2432232314}',
    )

    assert headers == {
        "content-type": "application/json",
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_reference_verifier_accepts_either_secret() -> None:
    old, new = webhook_secret(b"old"), webhook_secret(b"new")
    body = json.dumps({"word": "hello"}).encode()

    headers = signed_headers([new, old], delivery_id="1", at=datetime.now(UTC), body=body)

    assert Webhook(new).verify(body, headers) == Webhook(old).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook_secret(b"other")).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(body, headers | {"webhook-id": "2"})


def test_every_tenant_has_its_own_constant_secret() -> None:
    secrets = {webhook_secret(key, tenant) for key in (b"a", b"b") for tenant in ("x", "y")}

    assert len(secrets) == 4
    assert secrets == {webhook_secret(key, t) for key in (b"a", b"b") for t in ("x", "y")}
    assert all(len(secret) == len("whsec_") + 44 for secret in secrets)


def test_the_previous_secret_also_signs_while_it_is_set(tmp_path: Path) -> None:
    plain = Settings.model_validate({"data": tmp_path, "signing_secret": "new"})
    both = Settings.model_validate(
        {"data": tmp_path, "signing_secret": "new", "previous_signing_secret": "old"}
    )

    assert plain.signing_keys() == [b"new"]
    assert both.signing_keys() == [b"new", b"old"]
    assert "old" not in repr(both)
