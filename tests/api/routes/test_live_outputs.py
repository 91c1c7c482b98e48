"""Outputs that are read while their worker writes them."""

from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from jobs.model import Job, Output
from jobs.storage.base import part_key
from jobs.storage.keys import attempt_key
from tests.api.rows import running
from tests.api_server import Served

pytestmark = pytest.mark.usefixtures("queue")
NAME = "take-1.mp4"
PIECES = (b"one", b"two two", b"three three three")
FILE = b"".join(PIECES)


class Writer:
    """The worker of a running job that writes one live output."""

    def __init__(
        self,
        served: Served,
        folder: Path,
        content: Sequence[bytes] = PIECES,
        clip_seconds: float = 1.0,
    ) -> None:
        self.content = content
        self.job: Job = running(served, clip_seconds=clip_seconds)
        self.storage, self.attempts = served.services.storage, served.services.database.attempts
        self.file = folder / "file"
        self.key = attempt_key(self.job.id, self.job.attempt, NAME)
        self.path = f"/jobs/{self.job.id}/outputs/{NAME}"
        self.pieces = 0

    def grow(self, *, progress: float = 0.5) -> None:
        """Publish the next piece."""
        self.file.write_bytes(self.content[self.pieces])
        self.pieces += 1
        self.storage.put(part_key(self.key, self.pieces), self.file, "application/octet-stream")
        self._record(len(b"".join(self.content[: self.pieces])), self.pieces)
        self.attempts.progress(self.job.id, self.job.attempt, "render", progress)

    def complete(self) -> Output:
        """Publish the whole file and remove its pieces."""
        whole = b"".join(self.content)
        self.file.write_bytes(whole)
        self.storage.put(self.key, self.file, "video/mp4")
        output = self._record(len(whole), None)
        self.storage.remove([part_key(self.key, number + 1) for number in range(self.pieces)])
        return output

    def _record(self, size: int, pieces: int | None) -> Output:
        output = Output(NAME, self.key, "video/mp4", size, pieces)
        assert self.attempts.record_outputs(self.job.id, self.job.attempt, [output])
        return output


def received(answer: httpx.Response, until: int) -> bytes:
    """Read until there are so many bytes."""
    content = b""
    for chunk in answer.iter_raw():
        content += chunk
        if len(content) >= until:
            return content
    return content


def test_a_live_output_is_sent_from_its_start_while_it_grows(
    served: Served, tmp_path: Path
) -> None:
    writer = Writer(served, tmp_path)
    writer.grow()
    view = served.http.get(f"/jobs/{writer.job.id}").json()
    assert view["outputs"] == []
    assert view["live"] == [
        {"name": NAME, "content_type": "video/mp4", "bytes": 3, "path": writer.path}
    ]

    with served.http.stream("GET", writer.path, headers={"Range": "bytes=1-"}) as answer:
        assert answer.status_code == 200
        assert (answer.headers["content-type"], answer.headers["accept-ranges"]) == (
            "video/mp4",
            "none",
        )
        chunks = answer.iter_raw()
        content = next(chunks)
        assert content == b"one"
        writer.grow(progress=0.6)
        while len(content) < 10:
            content += next(chunks)
        output = writer.complete()  # the reader never saw the third piece
        content += b"".join(chunks)

    assert content == FILE
    assert served.services.database.attempts.succeed(writer.job.id, writer.job.attempt, [output])
    whole = served.http.get(writer.path)
    assert (whole.content, whole.headers["content-length"]) == (FILE, str(len(FILE)))
    assert served.http.get(writer.path, headers={"Range": "bytes=3-5"}).content == FILE[3:6]
    view = served.http.get(f"/jobs/{writer.job.id}").json()
    assert (view["live"], view["outputs"][0]["bytes"]) == ([], len(FILE))


@pytest.mark.parametrize("end", ["cancel", "fail", "release", "delete"])
def test_the_stream_is_cut_off_when_its_attempt_ends(
    served: Served, tmp_path: Path, end: str
) -> None:
    writer = Writer(served, tmp_path)
    writer.grow()
    job, database = writer.job, served.services.database
    with (
        pytest.raises(httpx.RemoteProtocolError),
        served.http.stream("GET", writer.path) as answer,
    ):
        chunks = answer.iter_raw()
        next(chunks)
        if end == "cancel":
            served.http.post(f"/jobs/{job.id}/cancel")
        elif end == "fail":
            database.attempts.fail(job.id, job.attempt, "a_code", "A reason.")
        elif end == "release":
            database.attempts.release(job.id, job.attempt, "its worker stopped")
        else:
            served.http.delete(f"/jobs/{job.id}")
        for _ in chunks:
            pass

    if end == "delete":
        return
    view = served.http.get(f"/jobs/{job.id}").json()
    assert (view["live"], view["outputs"]) == ([], [])
    assert served.http.get(writer.path).status_code == 409


def test_another_attempt_begins_the_file_again(served: Served, tmp_path: Path) -> None:
    writer = Writer(served, tmp_path)
    writer.grow()
    database = served.services.database
    database.attempts.release(writer.job.id, writer.job.attempt, "its worker stopped")
    again = database.attempts.claim("worker-2")
    assert again is not None
    assert again.live == ()
    assert served.http.get(writer.path).json()["code"] == "job_not_finished"


def test_head_of_a_live_output_has_no_body(served: Served, tmp_path: Path) -> None:
    writer = Writer(served, tmp_path)
    writer.grow()
    head = served.http.head(writer.path)
    assert (head.status_code, head.headers["content-type"]) == (200, "video/mp4")
    assert "content-length" not in head.headers
