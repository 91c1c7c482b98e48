"""`format`, `background` and `supersampling` of POST /generate, and downloads of their files."""

from pathlib import Path

import httpx
import pytest

from jobs.model import Output
from jobs.storage.factory import CONTENT_TYPES
from jobs.storage.keys import attempt_key
from tests.api_server import Served
from tests.problems import problem


def generate(served: Served, audio: bytes, **fields: str) -> httpx.Response:
    return served.http.post("/generate", files={"audio": ("talk.wav", audio)}, data=fields)


def test_render_options_are_stored_with_the_job(served: Served, clip: bytes) -> None:
    fields = {"format": "mov", "background": "#ABC", "supersampling": "3"}
    job = generate(served, clip, **fields).json()
    stored = served.services.database.jobs.get(job["id"]).request
    assert (stored.format, stored.background, stored.supersampling) == ("mov", "#aabbcc", 3)
    assert job["request"]["background"] == "#aabbcc"


def test_empty_fields_mean_their_defaults(served: Served, clip: bytes) -> None:
    job = generate(served, clip, format="", background="", supersampling="").json()
    request = job["request"]
    assert (request["format"], request["background"], request["supersampling"]) == (
        "mp4", None, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"background": "transparent"}, "background", "mp4 cannot be transparent; ask for format"),
        ({"background": "pink"}, "background", "'pink'; write \"#20242c\" or"),
        ({"format": "gif"}, "format", "'mp4', 'fmp4', 'mov', 'webm' or 'png'"),
        ({"supersampling": "5"}, "supersampling", "should be less than or equal to 4"),
    ],
)
def test_invalid_render_options_are_refused(
    served: Served, clip: bytes, fields: dict[str, str], field: str, text: str
) -> None:
    body = problem(generate(served, clip, **fields), 422, "invalid_request")
    assert body["errors"][0]["field"] == field
    assert text in body["detail"]


def test_more_samples_than_a_worker_can_hold_are_refused(served: Served, clip: bytes) -> None:
    fields = {"size": "64x2048", "supersampling": "3"}
    body = problem(generate(served, clip, **fields), 422, "size_unsupported")
    assert (
        "has 6144 samples along a side, more than 4096; ask for supersampling 2" in body["detail"]
    )
    assert generate(served, clip, size="1024", supersampling="4").status_code == 202


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("take-1.mov", "video/quicktime"),
        ("take-1.webm", "video/webm"),
        ("take-1.zip", "application/zip"),
    ],
)
def test_files_are_served_with_their_content_type(
    served: Served, clip: bytes, tmp_path: Path, name: str, kind: str
) -> None:
    database, storage = served.services.database, served.services.storage
    job_id = generate(served, clip).json()["id"]
    for _ in range(50):  # jobs of other tests are claimed first
        job = database.attempts.claim("tester")
        assert job is not None
        if job.id == job_id:
            break
    key = attempt_key(job.id, job.attempt, name)
    (tmp_path / name).write_bytes(b"0123456789")
    storage.put(key, tmp_path / name, CONTENT_TYPES[Path(name).suffix])
    database.attempts.succeed(job.id, job.attempt, [Output(name, key, kind, 10)])

    output = served.http.get(f"/jobs/{job.id}").json()["outputs"][0]
    assert output["content_type"] == kind
    for address in (output["path"], output["url"]):
        answer = served.http.get(address)
        assert (answer.status_code, answer.content) == (200, b"0123456789")
        assert answer.headers["content-type"] == kind
        saved_as = answer.headers["content-disposition"]
        assert saved_as.startswith("attachment")
        assert f'filename="talk-{name}"' in saved_as
