"""Maintenance needs no web framework."""

import subprocess
import sys

from tests.house.source import ROOT


def test_maintenance_starts_where_no_web_framework_is_installed() -> None:
    blocked = ("fastapi", "starlette", "uvicorn", "api", "torch")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "import jobs.maintenance.context, jobs.maintenance.reaper, cli.commands.operate.maintain"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
