"""A released person, imported beside a running service, is shown by it: from files to an MP4."""

import io
import subprocess
from pathlib import Path

import av
import pytest

from tests.audio_clips import write_clip
from tests.e2e.conftest import Environment, Stack, command
from tests.released_layout import PERSON, write_released_person
from tests.tiny_person import write_tiny_person

pytestmark = pytest.mark.services

WIDTH, HEIGHT = 64, 96  # of one view, as the config of the released layout says


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of this file alone: somebody comes to it."""
    folder = tmp_path_factory.mktemp("people")
    write_tiny_person(folder)
    return folder


@pytest.fixture(scope="module")
def released(
    stack: Stack, environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The name of a person who was imported while `up` was running."""
    source = write_released_person(tmp_path_factory.mktemp("released"))
    assert PERSON not in names(stack)
    done = subprocess.run(
        command("import-person", str(source), "--person", PERSON),
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return PERSON


def names(stack: Stack) -> list[str]:
    return [person["name"] for person in stack.http.get("/people").json()["people"]]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "short.wav", seconds=0.5)


def filmed(stack: Stack, clip: Path, **fields: object) -> tuple[int, int, int]:
    """Width, height and number of frames of the MP4 that the service answers with."""
    job_id = stack.submit(clip, steps=2, **fields)
    job = stack.until(
        job_id, lambda job: job["state"] in ("succeeded", "failed", "canceled"), seconds=60
    )
    assert job["state"] == "succeeded", job
    content = stack.http.get(job["outputs"][0]["path"]).content
    with av.open(io.BytesIO(content)) as video:
        picture = video.streams.video[0]
        assert video.streams.audio[0].codec_context.name == "aac"
        return picture.width, picture.height, sum(1 for _ in video.decode(picture))


def test_an_upload_shows_both_released_views(stack: Stack, released: str, short: Path) -> None:
    worker, api = stack.child("worker").pid, stack.child("api").pid

    assert filmed(stack, short, person=released) == (2 * WIDTH, HEIGHT, 15)

    assert (stack.child("worker").pid, stack.child("api").pid) == (worker, api)


def test_one_view_at_another_size_can_be_asked_for(
    stack: Stack, released: str, short: Path
) -> None:
    asked = {"person": released, "views": "view-2", "size": "128x64"}

    assert filmed(stack, short, **asked) == (128, 64, 15)


def test_a_view_that_nobody_released_is_refused(stack: Stack, released: str, short: Path) -> None:
    answer = stack.http.post(
        "/generate",
        data={"person": released, "views": "view-3"},
        files={"audio": short.read_bytes()},
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "view_unknown")
    assert "there are: view-1, view-2." in answer.json()["detail"]
