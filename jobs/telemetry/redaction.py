"""Redact credentials before a text is logged or printed.

Rather too much than too little: everything up to the last `@` of a word that begins like a URL with
credentials.
"""

import re

HIDDEN = "***"
# Addresses of brokers and databases: what precedes `@` is a credential, whatever it contains.
SERVERS = re.compile(
    r"((?:amqps?|postgres(?:ql)?|mysql|mariadb)(?:\+\w+)?://[^\s/@:'\"]*:)\S*@", re.IGNORECASE
)
REDIS = re.compile(r"((?:rediss?|valkeys?|sentinel)(?:\+\w+)?://:?)\S*@", re.IGNORECASE)
CREDENTIALS = re.compile(r"(://[^\s/@:'\"?#]*):\S*@")
USERS = re.compile(r"(://)[^\s/@:'\"?#]+@")
SECRET_PARTS = re.compile(
    r"((?<![A-Za-z])[\w-]*(?:password|passwd|pwd|secret|token|signature|credential|api_?key)"
    r"=['\"]?)[^\s&#'\"]+",
    re.IGNORECASE,
)
KEYS = re.compile(r"\b(vv_[0-9a-f]{1,12})_[0-9a-f]+", re.IGNORECASE)
WEBHOOK_SECRETS = re.compile(r"\b(whsec_)[A-Za-z0-9+/=_-]+")
PRIVATE_KEYS = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
BEARERS = re.compile(r"(\bbearer +)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def redact(text: str) -> str:
    """Replace every password, key and signature in the text by `***`: `redis://:***@host/0`."""
    if "@" in text:
        text = REDIS.sub(rf"\1{HIDDEN}@", text)  # also a user name, which may be the password
        text = SERVERS.sub(rf"\1{HIDDEN}@", text)
        text = CREDENTIALS.sub(rf"\1:{HIDDEN}@", text)
        text = USERS.sub(rf"\1{HIDDEN}@", text)
    if "PRIVATE KEY" in text:
        text = PRIVATE_KEYS.sub(rf"\1{HIDDEN}", text)
    text = SECRET_PARTS.sub(rf"\1{HIDDEN}", text)
    text = KEYS.sub(rf"\1_{HIDDEN}", text)
    text = WEBHOOK_SECRETS.sub(rf"\1{HIDDEN}", text)
    return BEARERS.sub(rf"\1{HIDDEN}", text)
