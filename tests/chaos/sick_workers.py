"""One of two workers is sick, in each of six ways: `python -m tests.chaos.sick_workers --jobs 200`.

Every job has to succeed, and the sick worker may claim two of them at most. The jobs are queued
before the workers start, so that the sick one has as much time as the healthy one.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from jobs.database import Database, open_database
from jobs.model import NewJob, State, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.factory import open_storage
from jobs.storage.keys import input_key
from tests.audio_clips import write_clip
from tests.chaos.cluster import Cluster, running_cluster

MOST_CLAIMS = 2
JOB_SECONDS = 20.0  # limit for each job, on a machine with other work


def nothing(folder: Path) -> None:
    """Change nothing."""


def damage_people(folder: Path) -> None:
    """Copy the people for the sick worker and cut one file."""
    shutil.copytree(folder / "people", folder / "sick-people")
    path = folder / "sick-people" / "demo" / "body.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def empty_people(folder: Path) -> None:
    """Make a folder without people, as an empty mount point."""
    (folder / "sick-people").mkdir()


def block_scratch(folder: Path) -> None:
    """Put a file in the place of the scratch folder, so that it cannot be made again."""
    shutil.rmtree(folder / "sick-scratch")
    (folder / "sick-scratch").touch()


@dataclass(frozen=True)
class Way:
    """A way to be sick. prepare: before the workers start. begin: when both wait for jobs."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], None] = nothing
    begin: Callable[[Path], None] = nothing


WAYS = (
    Way("ffmpeg missing", {"IMAGEIO_FFMPEG_EXE": "/no/ffmpeg"}),
    Way("scratch removed", {"VISAVIS_SCRATCH": "{folder}/sick-scratch"}, begin=block_scratch),
    Way("people damaged", {"VISAVIS_PEOPLE": "{folder}/sick-people"}, prepare=damage_people),
    Way("people empty", {"VISAVIS_PEOPLE": "{folder}/sick-people"}, prepare=empty_people),
    Way("storage not mounted", {"VISAVIS_STORAGE_URL": "file://{folder}/not-mounted"}),
    Way("decoder not executable", {"CHAOS_BROKEN_DECODER": "1"}),
)


@dataclass(frozen=True)
class Result:
    """Result of one way."""

    way: str
    succeeded: int
    failed: int
    claims: int  # of the sick worker
    seconds: float

    def good(self, jobs: int) -> bool:
        """Return whether every job succeeded and the sick worker claimed few."""
        return self.succeeded == jobs and self.failed == 0 and self.claims <= MOST_CLAIMS

    def line(self) -> str:
        """Return the result as text."""
        return (
            f"{self.way}: {self.succeeded} succeeded, {self.failed} failed, the sick worker "
            f"claimed {self.claims}, {self.seconds:.0f} s"
        )


def run(way: Way, jobs: int, environment: Mapping[str, str]) -> Result:
    """Queue jobs for a healthy and a sick worker, and wait until all have ended."""
    with (
        running_cluster(
            "embedded",
            workers=2,
            apis=1,
            environment=environment,
            broker=False,
            last_worker=way.environment,
            prepare=way.prepare,
        ) as cluster,
        closing(open_database(cluster.settings)) as database,
    ):
        wait_for(lambda: waiting_workers(cluster) == 2, 120, cluster)
        way.begin(cluster.folder)
        began = time.monotonic()
        ids = submit_jobs(cluster, database, jobs)
        wait_for(lambda: not _unfinished(database, ids), JOB_SECONDS * jobs, cluster)
        states = [database.jobs.get(each).state for each in ids]
        claims = cluster.workers[-1].log.read_text(errors="replace").count("job begins")
        return Result(
            way.name,
            states.count(State.SUCCEEDED),
            states.count(State.FAILED),
            claims,
            time.monotonic() - began,
        )


def waiting_workers(cluster: Cluster) -> int:
    return len(list(cluster.folder.glob("**/worker-*/heartbeat")))


def wait_for(condition: Callable[[], bool], seconds: float, cluster: Cluster) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        tails = [each.log_tail() for each in cluster.processes]
        assert time.monotonic() < deadline, "\n".join(tails)
        time.sleep(0.2)


def submit_jobs(cluster: Cluster, database: Database, jobs: int) -> list[str]:
    request = GenerateRequest(steps=1, size="64", seed=1)
    ids = []
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_storage(cluster.settings)) as storage,
    ):
        clip = write_clip(Path(folder) / "clip.wav", seconds=0.5)
        for _ in range(jobs):
            job_id = new_job_id()
            key = input_key(job_id, "wav")
            storage.put(key, clip, "audio/wav")
            new = NewJob(job_id, request, input_key=key, clip_seconds=0.5)
            ids.append(database.jobs.submit(new).id)
    return ids


def _unfinished(database: Database, ids: Sequence[str]) -> bool:
    return any(not each.state.final for each in database.jobs.statuses(ids).values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    arguments = parser.parse_args()
    bad = 0
    for way in WAYS:
        result = run(way, arguments.jobs, {})
        print(result.line(), flush=True)  # noqa: T201
        bad += not result.good(arguments.jobs)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
