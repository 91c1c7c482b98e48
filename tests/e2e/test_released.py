"""Released person imported beside a running service: from released files to an MP4."""

import io
import subprocess
from pathlib import Path

import av
import pytest

from tests.audio_clips import write_clip
from tests.e2e.conftest import Environment, Stack, command
from tests.released_layout import PERSON, write_released_person

pytestmark = pytest.mark.services

WIDTH, HEIGHT = 64, 96  # of one view in the released config


@pytest.fixture(scope="module")
def released(
    stack: Stack, environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Name of a person imported while `up` runs."""
    source = write_released_person(tmp_path_factory.mktemp("released"))
    assert PERSON not in names(stack)
    done = subprocess.run(
        command("import-person", str(source), "--person", PERSON),
        env=environment, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return PERSON


def names(stack: Stack) -> list[str]:
    return [person["name"] for person in stack.http.get("/people").json()["people"]]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "short.wav", seconds=0.5)


def rendered(stack: Stack, clip: Path, **fields: object) -> tuple[int, int, int]:
    """Render a clip; return width, height and frame count of the MP4."""
    job_id = stack.submit(clip, steps=2, **fields)
    job = stack.until(
        job_id, lambda job: job["state"] in ("succeeded", "failed", "canceled"), seconds=60
    )
    assert job["state"] == "succeeded", job
    content = stack.http.get(job["outputs"][0]["path"]).content
    with av.open(io.BytesIO(content)) as video:
        frames = video.streams.video[0]
        assert video.streams.audio[0].codec_context.name == "aac"
        return frames.width, frames.height, sum(1 for _ in video.decode(frames))


def test_an_upload_renders_both_released_views(stack: Stack, released: str, short: Path) -> None:
    worker, api = stack.child("worker").pid, stack.child("api").pid

    assert rendered(stack, short, person=released) == (2 * WIDTH, HEIGHT, 15)

    assert (stack.child("worker").pid, stack.child("api").pid) == (worker, api)


def test_a_request_can_choose_one_view_and_another_size(
    stack: Stack, released: str, short: Path
) -> None:
    fields = {"person": released, "views": "view-2", "size": "128x64"}

    assert rendered(stack, short, **fields) == (128, 64, 15)


def test_an_unknown_view_is_rejected(stack: Stack, released: str, short: Path) -> None:
    answer = stack.http.post(
        "/generate",
        data={"person": released, "views": "view-3"},
        files={"audio": short.read_bytes()},
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "view_unknown")
    assert "available: view-1, view-2." in answer.json()["detail"]
