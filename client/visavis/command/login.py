"""`visavis login` and `logout`: the stored keys."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

import visavis
from visavis.command.console import ExitStatus
from visavis.command.credentials import Stored, path_of_stored, read_stored, store

if TYPE_CHECKING:
    from visavis.command.session import Session


def run_login(session: Session) -> int:
    """Check a key with the service, and store it; an empty key stores only the address."""
    key = session.given_key or _read_key(session.server.url)
    server = replace(session.server, key=key or None)
    may_only_write = visavis.PermissionDeniedError  # valid, too
    with replace(session, server=server).client() as client, suppress(may_only_write):
        client.people.list()
    stored = read_stored()
    keys = {url: each for url, each in stored.keys.items() if url != server.url}
    if server.key:
        keys[server.url] = server.key
    path = store(Stored(server.url, keys))
    what = f"key for {server.url}" if server.key else f"address {server.url}, without a key,"
    session.output.result({"url": server.url, "stored": str(path)}, f"{what} stored in {path}")
    return ExitStatus.DONE


def run_logout(session: Session) -> int:
    """Remove the stored key of the service."""
    stored = read_stored()
    url = session.server.url
    found = stored.keys.pop(url, None) is not None or stored.url == url
    if found:
        store(Stored("" if stored.url == url else stored.url, stored.keys))
    text = f"removed {url} from {path_of_stored()}" if found else f"nothing is stored for {url}"
    session.output.result({"url": url, "removed": found}, text)
    return ExitStatus.DONE


def _read_key(url: str) -> str:
    """Read a key without showing it: from a prompt, or the first line of standard input."""
    if sys.stdin.isatty():
        prompt = f"Key for {url} (empty: none)"
        return str(typer.prompt(prompt, hide_input=True, default="", show_default=False)).strip()
    return sys.stdin.readline().strip()
