"""What `up --submit` says over HTTP, against a service of a few lines."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from cli.local.submit import Caller, Submission, SubmitError
from cli.progress_bars import Bars
from jobs.request.model import GenerateRequest

Answer = Callable[[], httpx.Response]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.local.submit.POLL_SECONDS", 0.001)


def view(state: str, *, progress: float = 0.0, error: str | None = None) -> dict[str, Any]:
    return {
        "id": "j1",
        "state": state,
        "stages": [{"name": "queued", "progress": 1.0}, {"name": "face", "progress": progress}],
        "outputs": [{"name": "take-1.mp4", "path": "/jobs/j1/outputs/take-1.mp4"}],
        "error": {"code": "c", "detail": error} if error else None,
    }


class Service:
    """Answers GET /jobs/j1 with one thing after the other."""

    def __init__(self, *answers: dict[str, Any] | int | Exception) -> None:
        self.answers = list(answers)
        self.sent = b""
        self.tended = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.sent = request.read()
            return self._answer(self.answers.pop(0), 202)
        if request.url.path.endswith(".mp4"):
            return httpx.Response(200, content=b"an mp4")
        return self._answer(self.answers.pop(0), 200)

    def submit(self, folder: Path, **request: object) -> list[Path]:
        clip = folder / "talk.wav"
        clip.write_bytes(b"RIFF")
        submission = Submission(clip, GenerateRequest.model_validate(request), folder / "out")
        console = Console(file=io.StringIO())
        with httpx.Client(transport=httpx.MockTransport(self), base_url="http://s") as http:
            return Caller(http, self.tend).submit(submission, Bars(console))

    def tend(self) -> None:
        self.tended += 1

    def _answer(self, answer: dict[str, Any] | int | Exception, status: int) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return httpx.Response(answer, content=json.dumps({"detail": "The disk is full."}))
        return httpx.Response(status, json=answer)


def test_outputs_are_fetched_under_the_name_of_the_clip(tmp_path: Path) -> None:
    service = Service(view("queued"), view("running", progress=0.5), view("succeeded"))

    files = service.submit(tmp_path, takes=2, seed=3, views=["side", "front"])

    assert files == [tmp_path / "out" / "talk-take-1.mp4"]
    assert files[0].read_bytes() == b"an mp4"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["talk-take-1.mp4"]
    assert service.tended == 2
    assert b'name="takes"\r\n\r\n2' in service.sent
    assert b'name="seed"\r\n\r\n3' in service.sent
    assert b'name="views"\r\n\r\nside,front' in service.sent
    assert b'name="outputs"\r\n\r\nvideo' in service.sent
    assert b"steps" not in service.sent  # what is not asked for is the person's


def test_a_service_that_is_started_again_in_between_is_forgiven(tmp_path: Path) -> None:
    service = Service(view("queued"), httpx.ConnectError("gone"), 503, view("succeeded"))

    assert len(service.submit(tmp_path)) == 1
    assert service.tended == 3


def test_a_service_that_stays_away_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.local.submit.SILENCE_SECONDS", 0.0)
    service = Service(view("queued"), *[httpx.ConnectError("gone")] * 9)

    with pytest.raises(SubmitError, match="has not answered"):
        service.submit(tmp_path)


def test_a_refusal_is_told_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(SubmitError, match=r"^The disk is full\.$"):
        Service(422).submit(tmp_path)


def test_a_failed_job_is_told_in_its_own_words(tmp_path: Path) -> None:
    service = Service(view("queued"), view("failed", error="The clip is too long."))

    with pytest.raises(SubmitError, match=r"^The clip is too long\.$"):
        service.submit(tmp_path)

    assert not (tmp_path / "out").exists()
