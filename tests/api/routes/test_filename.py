"""The name of a clip's file: in its job, and in the names of downloads."""

from pathlib import Path

import pytest

from contracts.files import LONGEST_NAME, plain_name
from jobs.model import Job, Output
from jobs.storage.keys import attempt_key
from tests.api_server import Served


def succeed(served: Served, job_id: str, tmp_path: Path, name: str = "take-1.mp4") -> Job:
    """Claim and end a job with one output."""
    database, storage = served.services.database, served.services.storage
    job = database.attempts.claim("tester")
    assert job is not None and job.id == job_id
    key = attempt_key(job.id, job.attempt, name)
    (tmp_path / name).write_bytes(b"video")
    storage.put(key, tmp_path / name, "video/mp4")
    assert database.attempts.succeed(job.id, job.attempt, [Output(name, key, "video/mp4", 5)])
    return job


def test_downloads_are_named_after_the_file_that_was_sent(
    queue: Served, clip: bytes, tmp_path: Path
) -> None:
    sent = queue.http.post("/generate", files={"audio": ("Gespräch 7.wav", clip)}).json()
    assert sent["filename"] == "Gespräch 7.wav"
    succeed(queue, sent["id"], tmp_path)

    output = queue.http.get(f"/jobs/{sent['id']}").json()["outputs"][0]

    for address in (output["path"], output["url"]):
        saved_as = queue.http.get(address).headers["content-disposition"]
        assert saved_as == "attachment; filename*=utf-8''Gespr%C3%A4ch%207-take-1.mp4"


def test_a_clip_in_json_has_no_name_and_its_downloads_are_named_after_the_person(
    queue: Served, clip: bytes, tmp_path: Path
) -> None:
    import base64

    body = {"audio": base64.b64encode(clip).decode()}
    sent = queue.http.post("/generate", json=body).json()
    assert sent["filename"] is None
    succeed(queue, sent["id"], tmp_path)

    path = queue.http.get(f"/jobs/{sent['id']}").json()["outputs"][0]["path"]

    saved_as = queue.http.get(path).headers["content-disposition"]
    assert saved_as == f'attachment; filename="demo-{sent["id"][-8:]}-take-1.mp4"'


def test_an_upload_keeps_its_name_for_all_its_jobs(queue: Served, clip: bytes) -> None:
    announced = {"bytes": len(clip), "filename": "C:\\talks\\monday.wav"}
    upload = queue.http.post("/uploads", json=announced).json()
    queue.http.put(upload["parts"][0]["url"], content=clip)
    queue.http.post(f"/uploads/{upload['id']}/complete")

    for _ in range(2):
        job = queue.http.post("/generate", json={"upload_id": upload["id"]}).json()
        assert job["filename"] == "monday.wav"


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("a.wav", "a.wav"),
        ("/home/me/a.wav", "a.wav"),
        ("..\\..\\a.wav", "a.wav"),
        ("a\r\nSet-Cookie: x.wav", "aSet-Cookie: x.wav"),
        ("../..", None),
        ("", None),
        (None, None),
        (300 * "a" + ".wav", 251 * "a" + ".wav"),
    ],
)
def test_names_are_plain(sent: str | None, name: str | None) -> None:
    assert plain_name(sent) == name
    assert name is None or len(name) <= LONGEST_NAME
