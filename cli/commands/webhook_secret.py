"""`visavis-server webhook-secret`: what the receiver of webhooks verifies them with."""

from __future__ import annotations

from cli.console import make_console, read_settings


def run_webhook_secret(tenant: str) -> None:
    """Say the secret of a tenant; a line for each while there are two."""
    from jobs.webhooks.signing import webhook_secret

    for key in read_settings().signing_keys():
        make_console().print(webhook_secret(key, tenant), soft_wrap=True)
