"""Empty SQLite databases with the newest schema: copies of one that was migrated."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import make_url

from jobs.db.migrate import upgrade


def create_database(url: str) -> None:
    """Create a database unless there is one, or it is on a server; all migrations take .14 s."""
    parts = make_url(url)
    if parts.get_backend_name() != "sqlite" or not parts.database:
        return
    path = Path(parts.database)
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "visavis.db")
        upgrade(f"sqlite:///{path}")
        return path.read_bytes()
