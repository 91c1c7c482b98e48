"""POST /generate: what is accepted, what is refused, and how that is said."""

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
def test_every_promised_format_is_accepted(served: Served, tmp_path: Path, ending: str) -> None:
    path = write_clip(tmp_path / f"clip.{ending}", channels=1)

    answer = served.http.post("/generate", files={"audio": ("x", path.read_bytes())})

    assert answer.status_code == 202
    kept = served.services.database.jobs.get(answer.json()["id"]).input_key
    assert kept.endswith({"opus": ".ogg"}.get(ending, f".{ending}"))


@pytest.mark.parametrize("outputs", ["video,motion", "video, motion", ["video", "motion"]])
def test_outputs_are_a_list_in_either_form(
    served: Served, clip: bytes, outputs: str | list[str]
) -> None:
    answer = generate(served, clip, outputs=outputs)

    assert answer.json()["request"]["outputs"] == ["video", "motion"]


def test_empty_fields_mean_the_default(served: Served, clip: bytes) -> None:
    answer = generate(served, clip, seed="", steps="", size="", diversity="")

    asked = answer.json()["request"]
    assert (asked["steps"], asked["size"], asked["diversity"]) == (None, None, None)
    assert isinstance(asked["seed"], int)


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
def test_a_field_that_does_not_fit_is_named(
    served: Served, clip: bytes, field: str, value: str
) -> None:
    body = problem(generate(served, clip, **{field: value}), 422, "invalid_request")

    assert body["errors"][0]["field"].split(".")[0] == field
    assert field in body["detail"]


def test_several_faults_are_told_at_once(served: Served, clip: bytes) -> None:
    body = problem(generate(served, clip, takes=11, steps=0, foo=1), 422, "invalid_request")

    assert [each["field"] for each in body["errors"]] == ["takes", "steps", "foo"]


def test_an_unknown_person_is_told_who_is_there(served: Served, clip: bytes) -> None:
    body = problem(generate(served, clip, person="bob"), 422, "person_unknown")

    assert "'bob'" in body["detail"]
    assert "ada, demo" in body["detail"]


def test_a_clip_that_is_too_long_for_the_person_is_told_both_lengths(
    served: Served, tmp_path: Path
) -> None:
    long = write_clip(tmp_path / "long.flac", seconds=2.5).read_bytes()

    body = problem(generate(served, long, person="ada"), 422, "clip_too_long")

    assert "1 s long" in body["detail"]
    assert "2.50 s" in body["detail"]
    assert generate(served, long, person="demo").status_code == 202


BAD_AUDIO = {
    "empty": (b"", 422, "audio_empty"),
    "garbage": (bytes(range(7, 256)) * 40, 415, "audio_type_unsupported"),
    "text": (b"this is no sound " * 99, 415, "audio_type_unsupported"),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 415, "audio_type_unsupported"),
    "torn": (b"fLaC" + bytes(400), 422, "audio_damaged"),
}


@pytest.mark.parametrize("name", BAD_AUDIO)
def test_what_is_no_clip_is_refused(served: Served, name: str) -> None:
    audio, status, code = BAD_AUDIO[name]

    body = problem(generate(served, audio), status, code)

    assert body["errors"][0]["field"] == "audio"


def test_three_channels_are_refused(served: Served, tmp_path: Path) -> None:
    audio = write_clip(tmp_path / "three.wav", channels=3).read_bytes()

    body = problem(generate(served, audio), 422, "audio_channels")

    assert "3 channels" in body["detail"]
    assert "send 2" in body["detail"]


def test_a_form_without_a_clip_is_told_so(served: Served) -> None:
    answer = served.http.post("/generate", files={"takes": (None, "1")})

    body = problem(answer, 422, "invalid_request")

    told = "is missing; send it, or upload_id of a clip from POST /uploads"
    assert body["errors"] == [{"field": "audio", "detail": told}]


def test_audio_as_a_plain_field_is_no_file(served: Served) -> None:
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


def test_an_upload_that_says_it_is_too_large_is_refused(served: Served) -> None:
    body = problem(generate(served, bytes(3_000_000)), 413, "upload_too_large")

    assert "2000000 bytes" in body["detail"]


def test_an_upload_that_hides_its_size_is_counted(served: Served) -> None:
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
        [("audio", ("a", b"x")), ("audio", ("b", b"y"))],
        [("takes", (None, "1"))] * 40,
        [("person", (None, "p" * 5000))],
    ],
)
def test_a_form_with_too_much_in_it_is_refused(
    served: Served, files: list[tuple[str, tuple[str, bytes]]]
) -> None:
    problem(served.http.post("/generate", files=files), 400, "malformed_body")


def test_a_hostile_file_name_names_nothing(served: Served, clip: bytes) -> None:
    files = {"audio": ("../../../etc/cron.d/x;\r\n.wav", clip)}

    job_id = served.http.post("/generate", files=files).json()["id"]

    assert served.services.database.jobs.get(job_id).input_key == f"jobs/{job_id}/input/audio.wav"


def test_nothing_of_an_upload_stays_in_the_temporary_folder(
    served: Served, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    generate(served, clip)
    generate(served, b"no sound")

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, age in (("visavis-upload-old", 4000), ("visavis-upload-new", 10), ("other", 4000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "audio").touch()
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))

    remove_leftovers()

    assert {path.name for path in tmp_path.iterdir()} == {"visavis-upload-new", "other"}


def test_a_refused_upload_leaves_no_job_and_no_object(settings: Settings, served: Served) -> None:
    objects = Path(settings.storage_url.removeprefix("file://"))
    jobs = len(served.http.get("/jobs?limit=100").json()["jobs"])
    stored = len(list(objects.rglob("*")))

    generate(served, b"no sound")

    assert len(served.http.get("/jobs?limit=100").json()["jobs"]) == jobs
    assert len(list(objects.rglob("*"))) == stored


def test_a_storage_that_is_away_accepts_nothing(
    settings: Settings, tmp_path: Path, clip: bytes
) -> None:
    (tmp_path / "file").write_text("where the folder should be")
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
