"""POST /generate: accepted and refused requests."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from api.services.upload_intake import remove_leftovers
from cli.local.embedded_redis import EmbeddedRedis
from jobs.model import State
from jobs.queue.celery_app import QUEUE
from jobs.settings import Settings
from tests.api.rows import stored_files
from tests.api_server import Served, serving
from tests.audio_clips import write_clip
from tests.problems import problem


def generate(served: Served, audio: bytes, **fields: object) -> httpx.Response:
    data = {
        name: value if isinstance(value, list) else str(value) for name, value in fields.items()
    }
    return served.http.post("/generate", files={"audio": ("talk.wav", audio)}, data=data)


def test_a_clip_becomes_a_job(served: Served, clip: bytes) -> None:
    answer = generate(served, clip, takes=2, size=256, seed=7)

    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert (job["state"], job["stage"], job["progress"]) == ("queued", "queued", 0)
    assert job["clip_seconds"] == pytest.approx(0.5)
    assert (job["request"]["takes"], job["request"]["size"]) == (2, "256x256")
    assert served.http.get(answer.headers["location"]).json() == job


def test_the_clip_is_stored_before_the_answer(served: Served, clip: bytes) -> None:
    job = served.services.database.jobs.get(generate(served, clip).json()["id"])

    assert job.state is State.QUEUED
    assert job.input_key == f"jobs/{job.id}/input/audio.wav"
    assert b"".join(served.services.storage.open(job.input_key)) == clip


@pytest.mark.parametrize("ending", ["flac", "mp3", "ogg", "opus", "m4a", "webm"])
def test_every_documented_format_is_accepted(served: Served, tmp_path: Path, ending: str) -> None:
    path = write_clip(tmp_path / f"clip.{ending}", channels=1)

    answer = served.http.post("/generate", files={"audio": ("x", path.read_bytes())})

    assert answer.status_code == 202
    stored_key = served.services.database.jobs.get(answer.json()["id"]).input_key
    assert stored_key.endswith({"opus": ".ogg"}.get(ending, f".{ending}"))


@pytest.mark.parametrize("outputs", ["video,motion", "video, motion", ["video", "motion"]])
def test_outputs_are_a_list_in_either_form(
    served: Served, clip: bytes, outputs: str | list[str]
) -> None:
    answer = generate(served, clip, outputs=outputs)

    assert answer.json()["request"]["outputs"] == ["video", "motion"]


def test_empty_fields_mean_the_default(served: Served, clip: bytes) -> None:
    answer = generate(served, clip, seed="", steps="", size="", diversity="")

    request = answer.json()["request"]
    assert (request["steps"], request["size"], request["diversity"]) == (None, None, None)
    assert isinstance(request["seed"], int)


BAD_FIELDS = [
    ("takes", "0"),
    ("takes", "11"),
    ("takes", "many"),
    ("takes", "1.5"),
    ("seed", "-1"),
    ("seed", str(2**32)),
    ("diversity", "0"),
    ("diversity", "1.01"),
    ("diversity", "nan"),
    ("guidance_face", "inf"),
    ("guidance_body", "-0.5"),
    ("steps", "0"),
    ("steps", "1e9"),
    ("size", "513"),
    ("size", "4096"),
    ("size", "axb"),
    ("outputs", "gif"),
    ("person", "../demo"),
    ("person", "a" * 65),
    ("colour", "red"),
    ("Takes", "2"),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
def test_an_invalid_field_is_named(served: Served, clip: bytes, field: str, value: str) -> None:
    body = problem(generate(served, clip, **{field: value}), 422, "invalid_request")

    assert body["errors"][0]["field"].split(".")[0] == field
    assert field in body["detail"]


def test_all_invalid_fields_are_named(served: Served, clip: bytes) -> None:
    body = problem(generate(served, clip, takes=11, steps=0, foo=1), 422, "invalid_request")

    assert [each["field"] for each in body["errors"]] == ["takes", "steps", "foo"]


def test_an_unknown_person_is_refused_with_the_known_ones(served: Served, clip: bytes) -> None:
    body = problem(generate(served, clip, person="bob"), 422, "person_unknown")

    assert "'bob'" in body["detail"]
    assert "ada, demo" in body["detail"]


def test_a_clip_that_is_too_long_is_refused_with_both_lengths(
    served: Served, tmp_path: Path
) -> None:
    long = write_clip(tmp_path / "long.flac", seconds=2.5).read_bytes()

    body = problem(generate(served, long, person="ada"), 422, "clip_too_long")

    assert "the limit is 1 s" in body["detail"]
    assert "2.50 s" in body["detail"]
    assert generate(served, long, person="demo").status_code == 202


BAD_AUDIO = {
    "empty": (b"", 422, "audio_empty"),
    "garbage": (bytes(range(7, 256)) * 40, 415, "audio_type_unsupported"),
    "text": (b"this is no audio " * 99, 415, "audio_type_unsupported"),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 415, "audio_type_unsupported"),
    "torn": (b"fLaC" + bytes(400), 422, "audio_damaged"),
}


@pytest.mark.parametrize("name", BAD_AUDIO)
def test_a_file_without_audio_is_refused(served: Served, name: str) -> None:
    audio, status, code = BAD_AUDIO[name]

    body = problem(generate(served, audio), status, code)

    assert body["errors"][0]["field"] == "audio"


def test_three_channels_are_refused(served: Served, tmp_path: Path) -> None:
    audio = write_clip(tmp_path / "three.wav", channels=3).read_bytes()

    body = problem(generate(served, audio), 422, "audio_channels")

    assert "3 channels" in body["detail"]
    assert "send 2" in body["detail"]


def test_a_form_without_a_clip_is_refused(served: Served) -> None:
    answer = served.http.post("/generate", files={"takes": (None, "1")})

    body = problem(answer, 422, "invalid_request")

    message = "is missing; send it, or upload_id of a clip from POST /uploads"
    assert body["errors"] == [{"field": "audio", "detail": message}]


def test_audio_must_be_a_file_of_the_form(served: Served) -> None:
    answer = served.http.post("/generate", files={"audio": (None, "talk.wav")})

    assert problem(answer, 422, "invalid_request")["errors"][0]["field"] == "audio"


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        ("application/json", 422, "invalid_request"),
        ("application/x-www-form-urlencoded", 422, "invalid_request"),
        ("application/xml", 415, "body_type_unsupported"),
        ("audio/wav", 415, "body_type_unsupported"),
        ("multipart/form-data", 400, "malformed_body"),
        ("multipart/form-data; boundary=x", 400, "malformed_body"),
    ],
)
def test_another_body_is_refused(served: Served, content_type: str, status: int, code: str) -> None:
    headers = {"content-type": content_type}

    answer = served.http.post("/generate", content=b'{"takes": 1}', headers=headers)

    problem(answer, status, code)


def test_an_upload_with_too_large_a_content_length_is_refused(served: Served) -> None:
    body = problem(generate(served, bytes(3_000_000)), 413, "upload_too_large")

    assert "2000000 bytes" in body["detail"]


def test_an_upload_without_a_content_length_is_counted(served: Served) -> None:
    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
        for _ in range(60):
            yield bytes(50_000)
        yield b"\r\n--x--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = served.http.post("/generate", content=body(), headers=headers)

    problem(answer, 413, "upload_too_large")


@pytest.mark.parametrize(
    "files",
    [
        [("audio", ("a", b"x"))] * 9,
        [("takes", (None, "1"))] * 40,
        [("person", (None, "p" * 5000))],
    ],
)
def test_a_form_with_too_many_or_too_long_fields_is_refused(
    served: Served, files: list[tuple[str, tuple[str, bytes]]]
) -> None:
    problem(served.http.post("/generate", files=files), 400, "malformed_body")


def test_the_file_name_of_an_upload_is_ignored(served: Served, clip: bytes) -> None:
    files = {"audio": ("../../../etc/cron.d/x;\r\n.wav", clip)}

    job_id = served.http.post("/generate", files=files).json()["id"]

    assert served.services.database.jobs.get(job_id).input_key == f"jobs/{job_id}/input/audio.wav"


def test_an_upload_leaves_no_temporary_files(
    served: Served, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    generate(served, clip)
    generate(served, b"no audio")

    assert list(tmp_path.iterdir()) == []


def test_old_temporary_folders_of_killed_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, age in (("visavis-upload-old", 4000), ("visavis-upload-new", 10), ("other", 4000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "audio").touch()
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))

    remove_leftovers()

    assert {path.name for path in tmp_path.iterdir()} == {"visavis-upload-new", "other"}


def test_a_refused_upload_leaves_no_job_and_no_object(served: Served) -> None:
    jobs = len(served.http.get("/jobs?limit=100").json()["jobs"])
    stored = stored_files(served)

    generate(served, b"no audio")

    assert len(served.http.get("/jobs?limit=100").json()["jobs"]) == jobs
    assert stored_files(served) == stored


def test_an_unavailable_storage_accepts_nothing(
    settings: Settings, tmp_path: Path, clip: bytes
) -> None:
    (tmp_path / "file").write_text("a file instead of a folder")
    broken = settings.model_copy(
        update={
            "storage_url": f"file://{tmp_path}/file",
            "database_url": f"sqlite:///{tmp_path}/visavis.db",
        }
    )
    with serving(broken) as served:
        answer = generate(served, clip)
        problem(answer, 503, "storage_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert served.http.get("/jobs").json() == {"jobs": [], "next": None}


@pytest.mark.services
def test_a_worker_is_woken(settings: Settings, tmp_path: Path, clip: bytes) -> None:
    with EmbeddedRedis() as redis:
        changed = {"data": tmp_path, "broker_url": redis.url}
        with (
            serving(settings.model_copy(update=changed)) as served,
            Redis(unix_socket_path=str(redis.socket)) as queue,
        ):
            job_id = generate(served, clip).json()["id"]
            message = json.loads(queue.lindex(QUEUE, 0))
            assert served.http.get("/readyz").json()["checks"]["broker"] == "ok"
    assert job_id in message["headers"]["argsrepr"]
