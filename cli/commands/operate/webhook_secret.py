"""`visavis-server webhook-secret`: the secret with which a receiver verifies webhooks."""

from __future__ import annotations

from cli.console import make_console, read_settings


def run_webhook_secret(tenant: str) -> None:
    """Print the secret of a tenant; during a change of secrets, both, one per line."""
    from jobs.webhooks.signing import webhook_secret

    for key in read_settings().signing_keys():
        make_console().print(webhook_secret(key, tenant), soft_wrap=True)
