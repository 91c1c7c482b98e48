"""Memory and CPU time of a long clip beside a clip of a minute: `make long-clip MINUTES=60`.

Each clip is made into a video by the worker's pipeline in its own process, at the smallest size: of
one person, then of both people of a shorter clip (`--both-minutes`; 0: only of one person). Memory
is the peak of that process; CPU time includes ffmpeg, without start and loading.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
import wave
from multiprocessing import get_context
from pathlib import Path
from typing import Any

SAMPLE = Path(__file__).parents[1] / "examples" / "conversation.wav"
SIZE = "64"
MEMORY, CPU = 1.2, 1.1  # most times the figures of a minute


def write_long(path: Path, seconds: float) -> None:
    """Write the sample conversation, repeated to this length."""
    with wave.open(str(SAMPLE), "rb") as source, wave.open(str(path), "wb") as target:
        target.setparams(source.getparams())
        frames = source.readframes(source.getnframes())
        width = source.getnchannels() * source.getsampwidth()
        left = round(seconds * source.getframerate()) * width
        while left > 0:
            target.writeframes(frames[:left])
            left -= len(frames)


def measured(clip: Path, out: Path, options: dict[str, Any]) -> dict[str, float]:
    """Make the outputs of a clip in this process; return its figures."""
    from jobs.request.model import GenerateRequest
    from jobs.settings import Settings
    from worker.pipeline.recording_outputs import Recording, Resources, make_outputs

    settings = Settings(device="cpu")
    request = GenerateRequest.model_validate({"seed": 1, "size": SIZE, "person": "demo"} | options)
    resources = Resources.open(settings)
    resources.persons.get(request.person)
    began, cpu = time.monotonic(), _cpu()
    path = out.with_suffix(request.selected_outputs()[0].suffix)
    made = make_outputs(
        Recording(clip), request, resources, path_of=lambda *_: path, progress=lambda *_: None
    )
    memory = {
        f"{name} MB": int(line.split()[1]) / 1000
        for name, key in (("peak", "VmHWM"), ("anonymous at end", "RssAnon"))
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(f"{key}:")
    }
    return {
        "seconds": made.seconds,
        "wall s": time.monotonic() - began,
        "CPU s per s": (_cpu() - cpu) / made.seconds,
        **memory,
        "video MB": path.stat().st_size / 1e6,
    }


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def compared(minutes: float, options: dict[str, Any]) -> bool:
    """Print the figures of a minute and of a long clip; return whether the long one costs more."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for length in (1.0, minutes):
            clip = Path(folder) / "clip.wav"
            write_long(clip, 60 * length)
            with get_context("spawn").Pool(1) as pool:
                rows.append(pool.apply(measured, (clip, Path(folder) / "video", options)))
            facts = {name: round(value, 3) for name, value in rows[-1].items()}
            people = 1 + bool(options.get("both"))
            sys.stdout.write(
                json.dumps({"people": people} | facts | {"load": os.getloadavg()[0]}) + "\n"
            )
            sys.stdout.flush()
    short, long = rows
    memory = long["peak MB"] / short["peak MB"]
    cpu = long["CPU s per s"] / short["CPU s per s"]
    sys.stdout.write(f"memory {memory:.2f} times that of a minute, CPU time {cpu:.2f} times\n")
    return memory > MEMORY or cpu > CPU


def main() -> int:
    """Measure clips of one person and of both; the status is 1 when a long one costs more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--both-minutes", type=float, default=5.0)
    parser.add_argument("--quality", default="standard")
    parser.add_argument("--format", default="mp4")
    arguments = parser.parse_args()
    options = {"quality": arguments.quality, "format": arguments.format}
    failed = compared(arguments.minutes, options)
    if arguments.both_minutes:
        failed |= compared(arguments.both_minutes, options | {"both": True})
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
