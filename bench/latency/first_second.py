"""Time from the start of a job to the first second of its video: `python -m bench first-second`.

A worker in this process, with a temporary database and folder, does a job with `format=fmp4` for
each way to sample. Every piece of the growing file is kept with its time, and the first ones that a
player decodes to a second of pictures are counted; then the job is stopped. `cold` is a job whose
person is loaded first, `warm` one of a person in memory. CPU seconds are those of the worker and of
its children until then; the wall time of a busy machine says little.
"""

from __future__ import annotations

import io
import logging
import os
import statistics
import tempfile
import time
import wave
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.timing import Report, report_on, write_json
from contracts.errors import InputError
from contracts.person import read_manifest
from contracts.samplers import STUDENT
from training.commands.options import output_file, positive_float, positive_int

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from jobs.database import Database
    from jobs.model import Job
    from jobs.storage.base import Storage
    from worker.process.context import WorkerContext

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "conversation.wav"
FRAMES = 30  # of the first second
PIECE = ".part-"  # in the keys of pieces


@dataclass(frozen=True)
class Row:
    """The first second of one way to sample; medians."""

    choice: str
    person: str  # cold or warm
    wall: float  # seconds from the claim of the job
    cpu: float
    first_piece: float  # wall seconds to the first bytes of the file
    frames: int  # that were decoded from these pieces


@dataclass
class Pieces:
    """Pieces of a growing file, with the times at which they were stored."""

    wall: float = 0.0
    cpu: float = 0.0
    content: bytes = b""
    times: list[tuple[float, float, int]] = field(default_factory=list)  # wall, CPU, bytes so far

    def begin(self) -> None:
        """Set the time from which all are counted."""
        self.wall, self.cpu = time.perf_counter(), used_cpu()

    def add(self, piece: bytes) -> bool:
        """Keep a piece; return whether there is a second of pictures."""
        at = time.perf_counter() - self.wall, used_cpu() - self.cpu
        self.content += piece
        self.times.append((*at, len(self.content)))
        return decoded_frames(self.content) >= FRAMES


class WatchedStorage:
    """A storage that hands the pieces of live outputs to a function."""

    def __init__(self, storage: Storage, on_piece: Any) -> None:
        self._storage, self._on_piece = storage, on_piece

    def put(self, key: str, path: Path, content_type: str) -> None:
        """Store a file."""
        self._storage.put(key, path, content_type)
        if PIECE in key:
            self._on_piece(path.read_bytes())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m bench first-second`."""
    parser.add_argument("--people", type=Path, default=Path("people"), help="folder of persons")
    parser.add_argument("--person", default="demo")
    parser.add_argument("--clip", type=Path, default=EXAMPLE, help="recording, repeated (wav)")
    parser.add_argument("--seconds", type=positive_float, default=60.0, help="of the clip")
    parser.add_argument("--size", help="of the pictures; default: the person's")
    parser.add_argument("--threads", type=positive_int, default=2, help="of torch")
    parser.add_argument("--repeats", type=positive_int, default=3)
    parser.add_argument(
        "--json", type=output_file, metavar="PATH", help="JSON report; - for stdout"
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the table."""
    report = measure(arguments)
    print(table(report))
    write_json(report, arguments.json)


def measure(arguments: argparse.Namespace) -> Report[Row]:
    """Measure every way to sample that the person has."""
    import torch

    from jobs.database import open_database
    from jobs.db.migrate import upgrade
    from jobs.settings import Settings
    from worker.process.context import open_context
    from worker.process.progress import StopRequest

    look = {"size": arguments.size} if arguments.size else {}
    rows = []
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder, ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.ERROR)  # the stop of each job is a warning
        data = Path(folder)
        clip = repeated(arguments.clip, data / "clip.wav", arguments.seconds)
        settings = Settings(
            data=data / "data", people=arguments.people, threads=arguments.threads, device="cpu"
        )
        settings.data.mkdir()
        upgrade(settings.database_url)
        stop = StopRequest()
        context = open_context(settings, "bench", stop, stack)
        database = stack.enter_context(closing(open_database(settings)))
        for name, options in choices(arguments.people / arguments.person).items():
            fields = {"person": arguments.person, "format": "fmp4", "seed": 7, **options, **look}
            for state in ("cold", "warm"):
                found = []
                for _ in range(arguments.repeats):
                    if state == "cold":
                        context.people.clear()
                    job = _submitted(context, database, clip, arguments.seconds, fields)
                    found.append(_first_second(context, job))
                    database.jobs.cancel(job.id)  # it was put back
                rows.append(_row(name, state, found))
        return report_on(torch.device("cpu"), rows)


def choices(person: Path) -> dict[str, dict[str, Any]]:
    """Return the request fields of each way to sample."""
    found: dict[str, dict[str, Any]] = {
        "draft": {"quality": "draft"},
        "standard": {"quality": "standard"},
    }
    if read_manifest(person).student is not None:
        found["standard, student"] = {"quality": "standard", "sampler": STUDENT}
    return found


def _first_second(context: WorkerContext, job: Job) -> Pieces:
    """Do a job until its first second exists. Raises: InputError: when it ends without."""
    pieces = Pieces()

    def on_piece(piece: bytes) -> None:
        if not context.stop.requested and pieces.add(piece):
            context.stop.request()  # the job ends at its next report

    watched = replace(context, storage=WatchedStorage(context.storage, on_piece))
    pieces.begin()
    outcome = watched.attempt(job)
    stopped, context.stop.requested = context.stop.requested, False
    if not stopped:
        raise InputError(f"the job ended ({outcome}) before a second of its video was there")
    return pieces


def _submitted(
    context: WorkerContext,
    database: Database,
    clip: Path,
    seconds: float,
    fields: Mapping[str, Any],
) -> Job:
    """Queue and claim a job."""
    from jobs.model import NewJob, new_job_id
    from jobs.request.model import GenerateRequest
    from jobs.storage.keys import input_key

    job_id = new_job_id()
    key = input_key(job_id, "wav")
    context.storage.put(key, clip, "audio/wav")
    request = GenerateRequest.model_validate(fields)
    database.jobs.submit(NewJob(job_id, request, input_key=key, clip_seconds=seconds))
    job = context.store.claim("bench")
    assert job is not None
    return job


def _row(name: str, state: str, found: Sequence[Pieces]) -> Row:
    return Row(
        name,
        state,
        statistics.median(each.times[-1][0] for each in found),
        statistics.median(each.times[-1][1] for each in found),
        statistics.median(each.times[0][0] for each in found),
        min(decoded_frames(each.content) for each in found),
    )


def decoded_frames(content: bytes) -> int:
    """Return how many pictures a player gets from the first bytes of a video."""
    import av

    try:
        with av.open(io.BytesIO(content), "r") as video:
            return len(list(video.decode(video=0)))
    except (av.FFmpegError, IndexError):
        return 0


def used_cpu() -> float:
    """Return the CPU seconds of this process and its children; on Linux also of those that run."""
    total = sum(os.times()[:4])
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == os.getpid():  # its parent
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def repeated(clip: Path, target: Path, seconds: float) -> Path:
    """Write a wav file of so many seconds, the recording again and again."""
    with wave.open(str(clip)) as source, wave.open(str(target), "wb") as file:
        file.setparams(source.getparams())
        samples = source.readframes(source.getnframes())
        width = source.getsampwidth() * source.getnchannels()
        wanted = round(seconds * source.getframerate()) * width
        file.writeframes((samples * -(-wanted // len(samples)))[:wanted])
    return target


def lines(report: Report[Row]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield report.title("first second of a live video")
    yield ""
    yield "| quality | person | wall s | CPU s | first bytes, s | frames |"
    yield "|---|---|---|---|---|---|"
    for row in report.rows:
        yield (
            f"| {row.choice} | {row.person} | {row.wall:.2f} | {row.cpu:.2f} "
            f"| {row.first_piece:.2f} | {row.frames} |"
        )


def table(report: Report[Row]) -> str:
    """Format the report as Markdown."""
    return "\n".join(lines(report))
