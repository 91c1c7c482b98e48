"""Manual clock for tests."""

from datetime import UTC, datetime, timedelta


class Clock:
    """Clock that moves on by `advance`, and by a microsecond with each reading."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)  # two events never have the same time
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
