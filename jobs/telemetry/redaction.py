"""Redact credentials in URLs before they are logged or printed."""

import re

CREDENTIALS = re.compile(r"(://[^\s/@:'\"]*):[^\s/'\"]+@")
SECRET_PARTS = re.compile(
    r"([?&](?:password|passwd|secret|token|signature)=)[^\s&#'\"]+", re.IGNORECASE
)


def redact(text: str) -> str:
    """Replace every password in a URL of the text by `***`: `redis://:***@host/0`."""
    return SECRET_PARTS.sub(r"\1***", CREDENTIALS.sub(r"\1:***@", text))
