"""`visavis-server openapi`: the OpenAPI document, from which clients are generated."""

from __future__ import annotations

import json
import sys

from cli.console import read_settings


def run_openapi() -> None:
    """Print the document as JSON, with the address and the access rules of the settings."""
    from api.app import create_app

    document = create_app(read_settings()).openapi()
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
