"""HTTP requests of `up --submit`, against a fake service."""

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from cli.local.submit import Client, Submission, SubmitError
from cli.progress_bars import Bars
from jobs.request.model import GenerateRequest


@pytest.fixture(autouse=True)
def _short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.local.submit.POLL_SECONDS", 0.001)


def view(state: str, *, progress: float = 0.0, error: str | None = None) -> dict[str, Any]:
    return {
        "id": "j1",
        "state": state,
        "stages": [{"name": "queued", "progress": 1.0}, {"name": "face", "progress": progress}],
        "outputs": [{"name": "take-1.mp4", "path": "/jobs/j1/outputs/take-1.mp4"}],
        "warnings": [{"code": "audio_cut_off", "detail": "The file is cut off."}],
        "error": {"code": "c", "detail": error} if error else None,
    }


class Service:
    """Responds to each request with the next of the given responses."""

    def __init__(self, *responses: dict[str, Any] | int | Exception) -> None:
        self.responses = list(responses)
        self.sent = b""
        self.tended = 0
        self.warnings: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.sent = request.read()
            return self._respond(self.responses.pop(0), 202)
        if request.url.path.endswith(".mp4"):
            return httpx.Response(200, content=b"an mp4")
        return self._respond(self.responses.pop(0), 200)

    def submit(self, folder: Path, partner: Path | None = None, **request: object) -> list[Path]:
        clip = folder / "talk.wav"
        clip.write_bytes(b"RIFF")
        submission = Submission(
            clip, GenerateRequest.model_validate(request), folder / "out", partner
        )
        console = Console(file=io.StringIO())
        with httpx.Client(transport=httpx.MockTransport(self), base_url="http://s") as http:
            return Client(http, self.tend, self.warnings.append).submit(submission, Bars(console))

    def tend(self) -> None:
        self.tended += 1

    def _respond(self, response: dict[str, Any] | int | Exception, status: int) -> httpx.Response:
        if isinstance(response, Exception):
            raise response
        if isinstance(response, int):
            return httpx.Response(response, content=json.dumps({"detail": "The disk is full."}))
        return httpx.Response(status, json=response)


def test_outputs_are_downloaded_under_the_name_of_the_clip(tmp_path: Path) -> None:
    service = Service(view("queued"), view("running", progress=0.5), view("succeeded"))

    files = service.submit(tmp_path, takes=2, seed=3, views=["side", "front"])

    assert files == [tmp_path / "out" / "talk-take-1.mp4"]
    assert files[0].read_bytes() == b"an mp4"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["talk-take-1.mp4"]
    assert service.tended == 2
    assert service.warnings == ["The file is cut off."]
    assert b'name="takes"\r\n\r\n2' in service.sent
    assert b'name="seed"\r\n\r\n3' in service.sent
    assert b'name="views"\r\n\r\nside,front' in service.sent
    assert b'name="outputs"\r\n\r\nvideo' in service.sent
    assert b"steps" not in service.sent  # without it, the default of the person applies


def test_the_file_of_the_partner_is_sent_too(tmp_path: Path) -> None:
    service = Service(view("succeeded"))
    (tmp_path / "partner.flac").write_bytes(b"fLaC")

    service.submit(tmp_path, partner=tmp_path / "partner.flac", person_channel="right")

    assert b'name="audio"; filename="talk.wav"\r\n' in service.sent
    assert b'name="partner"; filename="partner.flac"\r\n' in service.sent
    assert b'name="person_channel"\r\n\r\nright' in service.sent


def test_a_restart_of_the_service_is_waited_for(tmp_path: Path) -> None:
    service = Service(view("queued"), httpx.ConnectError("gone"), 503, view("succeeded"))

    assert len(service.submit(tmp_path)) == 1
    assert service.tended == 3


def test_a_long_outage_of_the_service_ends_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.local.submit.OUTAGE_SECONDS", 0.0)
    service = Service(view("queued"), *[httpx.ConnectError("gone")] * 9)

    with pytest.raises(SubmitError, match="No response from the service"):
        service.submit(tmp_path)


def test_the_message_of_a_rejection_is_raised(tmp_path: Path) -> None:
    with pytest.raises(SubmitError, match=r"^The disk is full\.$"):
        Service(422).submit(tmp_path)


def test_the_message_of_a_failed_job_is_raised(tmp_path: Path) -> None:
    service = Service(view("queued"), view("failed", error="The clip is too long."))

    with pytest.raises(SubmitError, match=r"^The clip is too long\.$"):
        service.submit(tmp_path)

    assert service.warnings == ["The file is cut off."]
    assert not (tmp_path / "out").exists()
