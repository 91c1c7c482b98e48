"""/uploads: a clip that is uploaded in parts and then used by jobs."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from jobs.maintenance.reaper import maintain
from jobs.settings import Settings
from jobs.store import uploads as rows
from tests.api_server import Served, serving
from tests.audio_clips import write_clip
from tests.clock import Clock
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")


def announce(served: Served, size: int) -> dict:
    answer = served.http.post("/uploads", json={"bytes": size})
    assert answer.status_code == 201, answer.text
    return answer.json()


def send(served: Served, upload: dict, content: bytes) -> None:
    for part in upload["parts"]:
        piece = content[part["first"] : part["first"] + part["bytes"]]
        assert httpx.put(part["url"], content=piece).status_code in (200, 204)


def complete(served: Served, upload: dict) -> httpx.Response:
    return served.http.post(f"/uploads/{upload['id']}/complete")


def uploaded(served: Served, clip: bytes) -> dict:
    upload = announce(served, len(clip))
    send(served, upload, clip)
    answer = complete(served, upload)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_several_jobs_can_use_one_upload(served: Served, clip: bytes) -> None:
    upload = uploaded(served, clip)
    assert (upload["state"], upload["parts"]) == ("ready", [])
    assert upload["clip_seconds"] == pytest.approx(0.5)

    by_json = served.http.post("/generate", json={"upload_id": upload["id"], "takes": 2})
    by_form = served.http.post("/generate", data={"upload_id": upload["id"]})

    for answer in (by_json, by_form):
        assert answer.status_code == 202, answer.text
        job = served.services.database.jobs.get(answer.json()["id"])
        assert b"".join(served.services.storage.open(job.input_key)) == clip
        assert job.clip_seconds == pytest.approx(0.5)
    assert by_json.json()["request"]["takes"] == 2


def test_a_large_file_is_sent_in_several_parts(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "PART_BYTES", 40_000)
    monkeypatch.setattr("api.routes.uploads.PART_BYTES", 40_000)
    upload = announce(served, len(clip))
    assert [part["number"] for part in upload["parts"]] == [1, 2, 3]

    upload["parts"].reverse()
    send(served, upload, clip)

    answer = complete(served, upload)
    assert answer.status_code == 200, answer.text
    stored = served.services.storage.open(rows.upload_key(upload["id"]))
    assert b"".join(stored) == clip


def test_a_missing_part_is_named(served: Served, clip: bytes) -> None:
    upload = announce(served, len(clip))

    body = problem(complete(served, upload), 409, "part_missing")
    assert body["detail"].startswith("Part 1 is missing;")
    assert [each["field"] for each in body["errors"]] == ["parts.1"]

    request = {"upload_id": upload["id"]}
    body = problem(served.http.post("/generate", json=request), 422, "upload_incomplete")
    assert f"/uploads/{upload['id']}/complete" in body["detail"]
    send(served, upload, clip)
    assert complete(served, upload).status_code == 200


def test_completing_twice_changes_nothing(served: Served, clip: bytes) -> None:
    upload = uploaded(served, clip)

    assert complete(served, upload).json() == upload
    assert served.http.get(f"/uploads/{upload['id']}").json() == upload


@pytest.mark.parametrize("piece", [b"short", None])
def test_a_part_of_another_length_is_not_stored(
    served: Served, clip: bytes, piece: bytes | None
) -> None:
    upload = announce(served, len(clip))
    url = upload["parts"][0]["url"]

    body = problem(httpx.put(url, content=piece or clip + b"more"), 400, "part_incomplete")

    assert str(len(clip)) in body["detail"]
    problem(complete(served, upload), 409, "part_missing")


def test_an_altered_link_accepts_no_part(served: Served, clip: bytes) -> None:
    url = announce(served, len(clip))["parts"][0]["url"]
    other = announce(served, len(clip))["parts"][0]["url"]

    for altered in (
        url.replace(f"bytes={len(clip)}", "bytes=5"),
        url.replace(".part-1", ".part-2"),
        url.partition("?")[0] + "?" + other.partition("?")[2],
    ):
        problem(httpx.put(altered, content=b"12345"), 403, "link_invalid")
    problem(httpx.get(url), 422, "invalid_request")  # a link for PUT is not valid for GET


def test_an_upload_without_audio_is_refused_and_removed(served: Served) -> None:
    upload = announce(served, 100)
    send(served, upload, b"x" * 100)

    problem(complete(served, upload), 415, "audio_type_unsupported")

    problem(complete(served, upload), 404, "upload_not_found")
    folder = served.services.storage.folder / "uploads" / upload["id"]  # type: ignore[union-attr]
    assert not folder.exists()


def test_the_length_limit_of_the_person_applies(served: Served, tmp_path: Path) -> None:
    long = write_clip(tmp_path / "long.flac", seconds=2.5).read_bytes()
    upload = uploaded(served, long)

    request = {"upload_id": upload["id"], "person": "ada"}
    body = problem(served.http.post("/generate", json=request), 422, "clip_too_long")

    assert "the limit is 1 s" in body["detail"]
    assert "2.50 s" in body["detail"]


@pytest.mark.parametrize("body", [{"bytes": 0}, {"bytes": "many"}, {}, {"bytes": 1, "name": "a"}])
def test_an_invalid_announcement_is_refused(served: Served, body: dict) -> None:
    problem(served.http.post("/uploads", json=body), 422, "invalid_request")


def test_too_large_a_clip_is_refused_before_it_is_sent(served: Served) -> None:
    body = problem(served.http.post("/uploads", json={"bytes": 2**40}), 413, "upload_too_large")
    assert str(2 * 2**30) in body["detail"]


def test_an_unknown_upload_is_not_found(served: Served) -> None:
    missing = "0" * 32
    problem(served.http.get(f"/uploads/{missing}"), 404, "upload_not_found")
    problem(served.http.post(f"/uploads/{missing}/complete"), 404, "upload_not_found")
    request = {"upload_id": missing}
    problem(served.http.post("/generate", json=request), 422, "upload_unknown")


def test_the_same_audio_sent_or_uploaded_is_the_same_request(served: Served, clip: bytes) -> None:
    upload = uploaded(served, clip)
    key = {"Idempotency-Key": "sound-1"}

    sent = served.http.post("/generate", files={"audio": ("a", clip)}, headers=key)
    named = served.http.post("/generate", json={"upload_id": upload["id"]}, headers=key)

    assert named.json()["id"] == sent.json()["id"]
    assert named.headers["idempotent-replayed"] == "true"


@pytest.fixture
def aging(settings: Settings, tmp_path: Path) -> Iterator[tuple[Served, Clock]]:
    """A server whose uploads have a settable clock."""
    with serving(Settings(data=tmp_path, people=settings.people)) as server:
        clock = Clock()
        clock.now = datetime.now(UTC)  # the reaper starts with the real time
        server.services.database.uploads._clock = clock
        yield server, clock


def test_an_expired_upload_is_removed(aging: tuple[Served, Clock], clip: bytes) -> None:
    served, clock = aging
    whole, half = uploaded(served, clip), announce(served, len(clip))
    send(served, half, clip)
    folder = served.services.storage.folder / "uploads"  # type: ignore[union-attr]
    assert len(list(folder.iterdir())) == 2

    clock.advance(25 * 3600)
    maintain(served.services.maintenance)
    maintain(served.services.maintenance)

    assert list(folder.iterdir()) == []
    problem(served.http.get(f"/uploads/{whole['id']}"), 404, "upload_not_found")


def test_json_contains_the_clip_in_base64(served: Served, clip: bytes) -> None:
    request = {
        "audio": base64.b64encode(clip).decode(),
        "views": ["front", "side"],
        "outputs": ["motion"],
        "metadata": {"order": "17"},
        "priority": 3,
    }

    job = served.http.post("/generate", json=request)

    assert job.status_code == 202, job.text
    job_view = job.json()
    assert (job_view["priority"], job_view["metadata"]) == (3, {"order": "17"})
    assert job_view["request"]["views"] == ["front", "side"]
    key = served.services.database.jobs.get(job_view["id"]).input_key
    assert b"".join(served.services.storage.open(key)) == clip


BAD_JSON = [
    ({}, "audio: is missing; send it, or upload_id"),
    ({"audio": "AAAA", "upload_id": "0" * 32}, "came with upload_id"),
    (
        {"audio_url": "https://a.example/", "upload_id": "0" * 32},
        "came with upload_id and audio_url",
    ),
    ({"audio": "*not base64*"}, "base64"),
    ({"audio": 7}, "audio"),
    ({"upload_id": "../secret"}, "upload_id"),
    ({"audio": "AAAA", "takes": 0}, "takes"),
    ({"audio": "AAAA", "colour": "red"}, "colour"),
    ({"audio": "AAAA", "metadata": "{}"}, "metadata"),
    ([], "body"),
    ("text", "body"),
]


@pytest.mark.parametrize(("body", "message"), BAD_JSON)
def test_invalid_json_fields_are_named(served: Served, body: object, message: str) -> None:
    refusal = problem(served.http.post("/generate", json=body), 422, "invalid_request")

    assert message in refusal["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"audio":', b"\xff", b"[" * 100_000])
def test_malformed_json_is_refused(served: Served, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    problem(served.http.post("/generate", content=body, headers=headers), 400, "malformed_body")


def test_json_that_is_too_long_is_referred_to_uploads(served: Served) -> None:
    request = json.dumps({"audio": "A" * 3_000_000})
    headers = {"content-type": "application/json"}
    body = problem(
        served.http.post("/generate", content=request, headers=headers), 413, "upload_too_large"
    )
    assert "POST /uploads" in body["detail"]


def test_a_part_of_a_removed_upload_is_refused_and_not_stored(served: Served) -> None:
    upload = announce(served, 5000)
    send(served, upload, bytes(5000))
    problem(complete(served, upload), 415, "audio_type_unsupported")

    answer = httpx.put(upload["parts"][0]["url"], content=bytes(5000))

    problem(answer, 404, "upload_not_found")
    folder = rows.upload_folder(upload["id"])
    assert served.services.storage.page(folder, after=None, limit=10) == []


def test_a_part_of_a_complete_upload_is_refused_and_not_stored(served: Served, clip: bytes) -> None:
    upload = announce(served, len(clip))
    send(served, upload, clip)
    assert complete(served, upload).status_code == 200

    answer = httpx.put(upload["parts"][0]["url"], content=clip)

    problem(answer, 409, "upload_complete")
    stored = served.services.storage.page(rows.upload_folder(upload["id"]), after=None, limit=10)
    assert [each.key for each in stored] == [rows.upload_key(upload["id"])]


def test_an_upload_above_the_quota_leaves_no_session(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.store.quotas import QuotaExceeded

    ended: list[str] = []

    def refuse(*_: object, **__: object) -> None:
        raise QuotaExceeded("stored_bytes", 1, 0, 2)

    monkeypatch.setattr(rows.UploadStore, "add", refuse)
    monkeypatch.setattr(
        served.services.storage.__class__, "abandon_parts", lambda _self, key, _: ended.append(key)
    )

    problem(served.http.post("/uploads", json={"bytes": 2}), 429, "quota_bytes")
    assert len(ended) == 1
