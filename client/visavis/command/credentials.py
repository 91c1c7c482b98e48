"""Address of the service and API key: from options, the environment, or the file of `login`."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer

from visavis.client import LOCAL
from visavis.command.console import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

URL_VARIABLE = "VISAVIS_BASE_URL"
KEY_VARIABLE = "VISAVIS_API_KEY"
MODE = 0o600  # only the user may read the keys


@dataclass
class Stored:
    """Content of the file of `login`. url: of the latest login. keys: by address."""

    url: str = ""
    keys: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Server:
    """A service and the key for it; None where none is known."""

    url: str
    key: str | None = field(default=None, repr=False)


def server_of(url: str | None, key: str | None) -> Server:
    """Return the service of a command.

    Address: `url`, VISAVIS_BASE_URL, that of the latest login, else a service on this machine. Key:
    `key`, VISAVIS_API_KEY, else the stored one of exactly this address.

    Raises: CommandError: for an invalid address or a damaged file.
    """
    stored = read_stored()
    given = url or os.environ.get(URL_VARIABLE) or stored.url or LOCAL
    address = checked_url(given, "--url" if url else URL_VARIABLE)
    return Server(address, key or os.environ.get(KEY_VARIABLE) or stored.keys.get(address))


def checked_url(url: str, name: str) -> str:
    """Return an address without a slash at the end. Raises: CommandError: for an invalid one."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_valid = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise CommandError(f"{name}: invalid address {url!r}; write http://HOST:PORT")
    if parts.username is not None or parts.query or parts.fragment:
        raise CommandError(
            f"{name}: the address has a user, a password or a query; leave it out, keys are --key"
        )
    return url.rstrip("/")


def path_of_stored() -> Path:
    """Return the file of `login`, in the user's configuration folder."""
    return Path(typer.get_app_dir("visavis")) / "credentials.json"


def read_stored() -> Stored:
    """Read the file of `login`. Raises: CommandError: when it is damaged."""
    path = path_of_stored()
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Stored(str(content["url"]), dict(content["keys"]))
    except FileNotFoundError:
        return Stored()
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"{path} is damaged; remove it, and run `visavis login` again") from None


def store(stored: Stored) -> Path:
    """Write the file of `login`, readable only by the user, and return its path."""
    path = path_of_stored()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"url": stored.url, "keys": stored.keys}, file, indent=1)
        draft.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
    return path
