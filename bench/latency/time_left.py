"""Estimates of the time left of jobs, compared with the truth: `python -m bench time-left`.

A running service gets the same clip several times, with its defaults; the first job teaches it the
speed of this machine, and a preview is asked for, too. For each job the report contains the share
of estimates within 40 % of the truth, from 10 s after the start of the job on, and the time from
the end of its motion to the first preview.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic as now
from time import sleep as pause
from typing import TYPE_CHECKING, Any

from training.commands.options import positive_int

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

POLL_SECONDS = 0.25
FIRST_SECONDS = 10.0  # earlier estimates do not count
TOLERANCE = 0.4
REQUEST_SECONDS = 60.0
LAST_OF_MOTION = "body"  # stage


@dataclass
class Watched:
    """One job: times in seconds since it began to run."""

    estimates: list[tuple[float, float]] = field(default_factory=list)  # (time, seconds left)
    motion_at: float | None = None
    preview_at: float | None = None
    seconds: float = 0.0

    @property
    def preview_seconds(self) -> float | None:
        """Seconds from the end of the motion to the first preview; None without a preview."""
        if self.motion_at is None or self.preview_at is None:
            return None
        return round(self.preview_at - self.motion_at, 2)

    @property
    def within(self) -> float:
        """Share of the counted estimates that are within the tolerance."""
        counted = [(at, left) for at, left in self.estimates if at >= FIRST_SECONDS]
        good = sum(
            abs(left - (self.seconds - at)) <= TOLERANCE * (self.seconds - at)
            for at, left in counted
        )
        return good / len(counted) if counted else 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clip", type=Path, required=True, help="recording to send")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the service")
    parser.add_argument("--jobs", type=positive_int, default=3, help="jobs, one after the other")
    parser.add_argument("--outputs", default="video,preview", help="as in a request")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> None:
    """Send the clip and print one line for each job."""
    for number in range(1, arguments.jobs + 1):
        fields = {"outputs": arguments.outputs, "seed": str(number)}
        watched = watch(arguments.url, arguments.clip, fields)
        facts = report(watched)
        text = json.dumps(facts) if arguments.json else "  ".join(lines(number, facts))
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def report(watched: Watched) -> dict[str, Any]:
    """Return the figures of a job."""
    return {
        "seconds": round(watched.seconds, 1),
        "estimates": sum(at >= FIRST_SECONDS for at, _ in watched.estimates),
        "within": round(watched.within, 3),
        "preview_seconds": watched.preview_seconds,
        "load": round(os.getloadavg()[0], 1),
    }


def lines(number: int, facts: dict[str, Any]) -> Iterator[str]:
    """Yield the parts of the line about a job."""
    yield f"job {number}: {facts['seconds']} s"
    yield f"{100 * facts['within']:.0f} % of {facts['estimates']} estimates within 40 %"
    if facts["preview_seconds"] is not None:
        yield f"first preview {facts['preview_seconds']} s after the motion"
    yield f"load {facts['load']}"


def watch(url: str, clip: Path, fields: dict[str, str]) -> Watched:
    """Send a clip and poll its job until it has ended. Raises: RuntimeError: when it fails."""
    job = _send(url, clip, fields)
    watched, began = Watched(), None
    for _ in itertools.count():
        at = now()
        if began is None and job["state"] == "running":
            began = at
        if began is not None:
            _note(watched, job, at - began)
        if job["state"] in ("failed", "canceled"):
            raise RuntimeError(f"job {job['id']}: {job['state']}: {job['error']}")
        if job["state"] == "succeeded":
            break
        pause(POLL_SECONDS)
        job = _json(urllib.request.Request(f"{url}/jobs/{job['id']}"))
    return watched


def _note(watched: Watched, job: dict[str, Any], at: float) -> None:
    if job["seconds_left"] is not None:
        watched.estimates.append((at, job["seconds_left"]))
    stages = {stage["name"]: stage["progress"] for stage in job["stages"]}
    if watched.motion_at is None and stages[LAST_OF_MOTION] >= 1:
        watched.motion_at = at
    previews = [output for output in job["outputs"] if output["name"].startswith("preview-")]
    if watched.preview_at is None and previews:
        watched.preview_at = at
    watched.seconds = at


def _send(url: str, clip: Path, fields: dict[str, str]) -> dict[str, Any]:
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = "".join(parts) + (
        f'--{boundary}\r\nContent-Disposition: form-data; name="audio"; filename="{clip.name}"'
        "\r\n\r\n"
    )
    body = head.encode() + clip.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return _json(urllib.request.Request(f"{url}/generate", body, kind))


def _json(request: urllib.request.Request) -> dict[str, Any]:
    with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
        content: dict[str, Any] = json.load(response)
    return content
