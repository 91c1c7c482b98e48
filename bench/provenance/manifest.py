"""Cost of manifests: their share of the CPU time of a job, with everything in this process.

The pipeline makes the outputs of one recording by the settings of the environment; the time of
signing is measured within the same run. Child processes count as part of the job.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from contracts.outputs import Output


class MeasuredSigner:
    """A signer that adds up its CPU seconds."""

    def __init__(self, signer: Any) -> None:
        self._signer, self.seconds, self.files = signer, 0.0, 0

    def sign(self, *arguments: Any) -> bool:
        """Sign as the signer does."""
        start = time.process_time()
        beside: bool = self._signer.sign(*arguments)
        self.seconds += time.process_time() - start
        self.files += 1
        return beside


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("recording", type=Path, help="audio file")
    parser.add_argument("--person", default="demo")
    parser.add_argument("--size", default=None, help="pixels of the video; default: the person's")
    parser.add_argument("--format", default="mp4", help="mp4, mov, webm or png")


def run(arguments: argparse.Namespace) -> None:
    """Make the outputs, and print the report as JSON."""
    from jobs.request.model import GenerateRequest
    from jobs.settings import Settings
    from worker.pipeline.recording_outputs import Recording, Resources, make_outputs

    resources = Resources.open(Settings())
    signer = MeasuredSigner(resources.signer)
    resources = replace(resources, signer=signer)  # type: ignore[arg-type]
    fields = {"person": arguments.person, "size": arguments.size, "format": arguments.format}
    request = GenerateRequest.model_validate({"seed": 1} | fields)
    with tempfile.TemporaryDirectory(prefix="visavis-bench-") as folder:

        def path_of(output: Output, take: int, role: str) -> Path:
            return Path(folder) / output.file_name(take, role)

        start = _cpu_seconds()
        made = make_outputs(
            Recording(arguments.recording),
            request,
            resources,
            path_of=path_of,
            progress=lambda stage, share: None,
        )
        seconds = _cpu_seconds() - start
    report = {
        "audio_seconds": round(made.seconds, 2),
        "job_cpu_seconds": round(seconds, 3),
        "manifest_cpu_seconds": round(signer.seconds, 4),
        "manifest_share": round(signer.seconds / seconds, 5),
        "files": signer.files,
    }
    print(json.dumps(report))


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
