"""Atomic writes of files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(place: Path) -> Iterator[Path]:
    """Yield a draft beside `place` that replaces it when the block ends without an error."""
    draft = place.with_name(f".{place.name}.part")
    try:
        yield draft
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)
