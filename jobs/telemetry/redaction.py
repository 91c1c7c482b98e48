"""Passwords in addresses are for the servers that they open, and for no eyes."""

import re

CREDENTIALS = re.compile(r"(://[^\s/@:'\"]*):[^\s/'\"]+@")
SECRET_PARTS = re.compile(
    r"([?&](?:password|passwd|secret|token|signature)=)[^\s&#'\"]+", re.IGNORECASE
)


def masked(words: str) -> str:
    """The same words with `***` for every password in an address: `redis://:***@host/0`."""
    return SECRET_PARTS.sub(r"\1***", CREDENTIALS.sub(r"\1:***@", words))
