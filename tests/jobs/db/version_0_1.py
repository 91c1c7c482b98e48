"""A database and a Celery message of version 0.1, before its modules and classes were renamed.

Made by code of that version: one job came by `POST /generate` with an idempotency key, the other
rows were written by its stores. `version_0_1.sql` is the dump of the SQLite file after `VACUUM`
(sqlite3.Connection.iterdump, trailing spaces removed). `version_0_1.json` contains the ids of the
rows by their role, digests and keys as that version computed them, and the message of
`jobs.queue.wake` as it was in the queue of kombu's memory transport, which is what the Redis
transport appends to its list. The host in `origin` was replaced.
"""

import io
import json
import sqlite3
import wave
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jobs.db.migrate import prepare

FOLDER = Path(__file__).parent
FACTS: dict[str, Any] = json.loads((FOLDER / "version_0_1.json").read_text())
JOBS: dict[str, str] = FACTS["jobs"]
WRITTEN_AT = datetime.fromisoformat(FACTS["written_at"])


def restore(path: Path) -> str:
    """Restore the database in a file at `path`; return its URL."""
    with sqlite3.connect(path) as connection:
        connection.executescript((FOLDER / "version_0_1.sql").read_text())
    connection.close()
    return f"sqlite:///{path}"


def load(path: Path) -> str:
    """Restore and migrate the database, as a process does at its start; return its URL."""
    url = restore(path)
    prepare(url, migrate=True)
    return url


def a_minute_later() -> datetime:
    """A clock that stands a minute after the last write of version 0.1."""
    return WRITTEN_AT + timedelta(minutes=1)


def clip() -> bytes:
    """Return the wav file that was sent with the idempotency key."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        for number in range(4000):
            sample = 8000 if number // 20 % 2 else -8000
            file.writeframesraw(2 * sample.to_bytes(2, "little", signed=True))
    return content.getvalue()
