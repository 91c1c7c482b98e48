"""A batch whose client is killed twice and whose service once: `make client-batch CLIPS=50`.

The run by hand has real workers with a tiny person; the test has a stub worker.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.audio_clips import write_clip

LONGEST_SECONDS = 600.0
POLL_SECONDS = 0.02
BATCH = """
import sys
from pathlib import Path
import visavis

address, clips, out = sys.argv[1:]
with visavis.Client(address) as client:
    report = client.batch(sorted(Path(clips).glob("*.wav")), out=out, concurrency=8)
report.raise_for_failures()
"""


@dataclass(frozen=True)
class Kills:
    """Videos that were complete at each kill, and the time of the whole run."""

    clients: tuple[int, int]
    service: int
    seconds: float


@dataclass(frozen=True)
class Found:
    """Videos and jobs after the run."""

    videos: int
    other_files: int
    jobs: int
    succeeded: int
    doubled: int  # videos with the content of another one
    foreign: int  # videos that are no output of a job

    def complete(self, clips: int) -> bool:
        return self == Found(clips, 0, clips, clips, 0, 0)


def write_clips(folder: Path, count: int) -> Path:
    """Write short recordings of different lengths."""
    folder.mkdir()
    for number in range(count):
        write_clip(folder / f"call-{number:03}.wav", seconds=0.3 + 0.01 * number)
    return folder


def python_batch(address: str, clips: Path, out: Path) -> list[str]:
    """Return the command of a program that calls `Client.batch`."""
    return [sys.executable, "-c", BATCH, address, str(clips), str(out)]


def command_batch(address: str, clips: Path, out: Path) -> list[str]:
    """Return the command line of `visavis batch`."""
    entry = "from visavis.command import main; main()"
    options = ["--out", str(out), "--url", address, "--quiet"]
    return [sys.executable, "-c", entry, "batch", str(clips), *options]


BATCHES = {"Client.batch": python_batch, "visavis batch": command_batch}


def run_killed(
    command: Sequence[str],
    out: Path,
    clips: int,
    kill_service: Callable[[], None],
    allow: Callable[[int], None] = lambda _jobs: None,
) -> Kills:
    """Run a batch to its end; kill the client at 1/4 and 3/4 of the videos, the service at 1/2.

    `allow` receives the number of jobs that the worker may finish until the next kill.
    """
    began = time.monotonic()
    allow(clips // 4 + 1)
    first = _killed_at(clips // 4, command, out)
    client = subprocess.Popen(command)
    allow(clips // 2 + 1)
    at_service = _wait_for(clips // 2, out, client)
    kill_service()
    allow(3 * clips // 4 + 1)
    second = _wait_for(3 * clips // 4, out, client)
    client.kill()
    client.wait()
    allow(clips)
    last = subprocess.run(command, timeout=LONGEST_SECONDS)
    assert last.returncode == 0, last
    return Kills((first, second), at_service, time.monotonic() - began)


def found(address: str, out: Path) -> Found:
    """Compare the videos with the outputs of all jobs of the service."""
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as http:
        jobs = http.get("/jobs", params={"limit": 100}).json()["jobs"]
        outputs = {
            _digest(http.get(output["path"]).content) for job in jobs for output in job["outputs"]
        }
    videos = [_digest(path.read_bytes()) for path in out.glob("*.mp4")]
    others = [path for path in out.iterdir() if path.suffix != ".mp4"]
    return Found(
        videos=len(videos),
        other_files=len(others) - 1,  # the journal
        jobs=len(jobs),
        succeeded=sum(job["state"] == "succeeded" for job in jobs),
        doubled=len(videos) - len(set(videos)),
        foreign=len(set(videos) - outputs),
    )


def _killed_at(videos: int, command: Sequence[str], out: Path) -> int:
    client = subprocess.Popen(command)
    complete = _wait_for(videos, out, client)
    client.kill()
    client.wait()
    return complete


def _wait_for(videos: int, out: Path, client: subprocess.Popen[bytes]) -> int:
    """Wait until this many videos are complete; return their number."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while (complete := len(list(out.glob("*.mp4")))) < videos:
        assert client.poll() is None, "the batch ended before it was killed"
        assert time.monotonic() < deadline, f"{complete} videos after {LONGEST_SECONDS:.0f} s"
        time.sleep(POLL_SECONDS)
    return complete


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    """Run both kinds of batch with a real API and worker, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=50)
    clips = parser.parse_args().clips
    complete = [_run(name, batch, clips) for name, batch in BATCHES.items()]
    sys.exit(0 if all(complete) else 1)


def _run(name: str, batch: Callable[[str, Path, Path], list[str]], clips: int) -> bool:
    from tests.chaos.cluster import running_cluster

    environment = {
        "VISAVIS_LEASE_SECONDS": "2",
        "VISAVIS_REAPER_SECONDS": "0.5",
        "VISAVIS_WRITES_PER_MINUTE": "0",
    }
    with (
        tempfile.TemporaryDirectory(prefix="visavis-batch-") as temporary,
        running_cluster("embedded", workers=1, apis=1, environment=environment) as cluster,
    ):
        folder, out = Path(temporary), Path(temporary, "videos")
        address = cluster.addresses[0]

        def kill_service() -> None:
            """Kill the API and the worker; both are started again."""
            for process in cluster.processes:
                os.kill(process.pid, 9)

        command = batch(address, write_clips(folder / "calls", clips), out)
        kills = run_killed(command, out, clips, kill_service)
        result = found(address, out)
    lines = (
        f"{name}: {clips} clips, {kills.seconds:.0f} s",
        f"client killed at {kills.clients[0]} and {kills.clients[1]} videos, service at "
        f"{kills.service}",
        f"{result}",
    )
    sys.stdout.write("\n".join((*lines, "")))
    return result.complete(clips)


if __name__ == "__main__":
    main()
