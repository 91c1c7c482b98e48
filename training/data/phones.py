"""Phones of a scene's person, in `<scene>_phones.json`: [symbol, start, end in seconds]."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PHONES = "_phones.json"


@dataclass(frozen=True)
class TimedPhone:
    """A phone with its start and end in seconds from the start of a clip."""

    symbol: str
    start: float
    end: float


def read_phones(path: Path, start: float = 0.0, stop: float = math.inf) -> list[TimedPhone]:
    """Read `<scene>_phones.json`: the phones inside [start, stop) seconds, relative to start."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        TimedPhone(symbol, first - start, last - start)
        for symbol, first, last in rows
        if first >= start and last < stop
    ]
