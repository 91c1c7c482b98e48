"""Atomic file writes, file digests and file names."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK = 1 << 20
LONGEST_NAME = 255  # characters of a file name


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a draft beside `path` that replaces it when the block ends without an error.

    Readers see the previous file or the new one, never a part. The draft is removed after an error.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def private_folder(path: Path) -> Path:
    """Create the folder and its missing parents for their owner only, and return it."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def plain_name(text: str | None) -> str | None:
    """Return a file name that someone sent, without folders and control characters; None if empty.

    Of a name that is too long, the end stays, because it has the suffix.
    """
    last = (text or "").replace("\\", "/").rpartition("/")[2]
    name = "".join(each for each in last if each.isprintable()).strip(". ")
    return name[-LONGEST_NAME:] or None
