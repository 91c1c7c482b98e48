"""Resources of a worker process."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT

OPENED = """
import sys
from contextlib import ExitStack
from pathlib import Path

from jobs.db.migrate import upgrade
from jobs.settings import Settings
from worker.process.context import open_context
from worker.process.progress import StopRequest

settings = Settings(data=Path(sys.argv[1]), people=Path("people"), device="cpu")
upgrade(settings.database_url)
with ExitStack() as stack:
    context = open_context(settings, "w", StopRequest(), stack)
    before = set(sys.modules)
    context.people.get("demo")
print(sorted(name for name in set(sys.modules) - before if name.partition(".")[0] == "warp"))
"""


def test_a_worker_imports_the_renderers_before_its_first_job(tmp_path: Path) -> None:
    pytest.importorskip("warp")
    done = subprocess.run(
        [sys.executable, "-c", OPENED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr
