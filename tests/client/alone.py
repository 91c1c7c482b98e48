"""Program of a user who has installed only the client: `python alone.py '{"plain": ...}'`.

It writes the results as JSON; `tests/client/test_alone.py` starts it in its own environment.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import visavis

if TYPE_CHECKING:
    from collections.abc import Callable

Result = dict[str, Any]


def video(client: visavis.Client, clip: str) -> Result:
    """Submit, wait and download."""
    with tempfile.TemporaryDirectory() as folder:
        job = client.generate(clip, takes=2).wait(timeout=60)
        files = [take.download(folder).read_bytes().decode() for take in job.takes]
    return {"job": job.id, "files": files}


def uploaded(client: visavis.Client, clip: str) -> Result:
    """Send the clip in parts, and read the list of jobs."""
    upload = client.uploads.create(clip)
    job = client.generate(upload, metadata={"by": "parts"}).wait(timeout=60)
    listed = any(each.id == job.id for each in client.jobs.list(limit=2))
    return {"job": job.id, "listed": listed}


def batch(client: visavis.Client, clip: str) -> Result:
    """Make videos of three copies of the clip."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(3):
            (folder / f"{number}.wav").write_bytes(Path(clip).read_bytes())
        report = client.batch(folder.glob("*.wav"), out=folder / "out", takes=1)
        files = sorted(path.name for path in (folder / "out").glob("*.mp4"))
    return {"jobs": [each.job_id for each in report.results], "files": files}


def error(client: visavis.Client, clip: str) -> Result:
    """Return the error of a submission."""
    try:
        client.generate(clip)
    except visavis.APIStatusError as fault:
        return {"error": type(fault).__name__, "code": fault.code, "status": fault.status}
    except visavis.VisavisError as fault:
        return {"error": type(fault).__name__}
    return {}


def main() -> None:
    """Run each case: a name of a function, and options of the client."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    plan = json.loads(sys.argv[1])
    calls: dict[str, Callable[[visavis.Client, str], Result]] = {
        "video": video,
        "uploaded": uploaded,
        "batch": batch,
        "error": error,
    }

    def run(case: tuple[str, dict[str, Any]]) -> Result:
        call, options = case
        with visavis.Client(**options) as client:
            return calls[call](client, plan["clip"])

    with ThreadPoolExecutor() as pool:  # because each case waits before its retries
        results = dict(zip(plan["cases"], pool.map(run, plan["cases"].values()), strict=True))
    packages = sorted({name.partition(".")[0] for name in sys.modules})
    json.dump({"results": results, "packages": packages}, sys.stdout)


if __name__ == "__main__":
    main()
