"""Durations on the command line, and ages in tables: 90d, 24h, 30m, 45s."""

from __future__ import annotations

import re
from datetime import timedelta

from cli.console import MISUSED, fail

DURATION = re.compile(r"([0-9]{1,6})([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
STEPS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def parse_duration(option: str, text: str) -> timedelta:
    """Return the duration; exit with one sentence when it is invalid."""
    match = DURATION.fullmatch(text)
    if match is None:
        fail(f"{option}: invalid duration {text!r}; use 90d, 24h, 30m or 45s", MISUSED)
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def show_duration(seconds: float) -> str:
    """Return a duration with its two largest units: "2h 5m"."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, length in STEPS:
        number, left = divmod(left, length)
        if number or (unit == "s" and not parts):
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2])
