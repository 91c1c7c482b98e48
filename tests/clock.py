"""A clock for tests: time passes when they say so."""

from datetime import UTC, datetime, timedelta


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)  # no two events share a moment
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
