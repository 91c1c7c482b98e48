"""`partner`: each person has a file of one channel."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.model import Job, utc_now
from tests.api.routes.test_batches import batch
from tests.api.routes.test_batches import send as send_batch
from tests.api.routes.test_render import job_with_motion, render
from tests.api.rows import stored_files
from tests.api.services.test_multipart_uploads import uploaded
from tests.api_server import Served
from tests.audio_clips import write_clip
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")


@pytest.fixture(scope="module")
def mono(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Half a second in one channel, as wav."""
    return write_clip(tmp_path_factory.mktemp("mono") / "a.wav", channels=1).read_bytes()


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two seconds in one channel, as flac."""
    path = tmp_path_factory.mktemp("longer") / "b.flac"
    return write_clip(path, seconds=2.0, channels=1).read_bytes()


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def by_form(
    served: Served, audio: bytes, partner: bytes, key: str | None = None, **fields: str
) -> httpx.Response:
    files = {"audio": ("a", audio), "partner": ("b", partner)}
    headers = {} if key is None else {"Idempotency-Key": key}
    return served.http.post("/generate", files=files, data=fields, headers=headers)


def made(served: Served, answer: httpx.Response) -> Job:
    assert answer.status_code == 202, answer.text
    return served.services.database.jobs.get(answer.json()["id"])


def content(served: Served, key: str | None) -> bytes:
    assert key is not None
    return b"".join(served.services.storage.open(key))


def test_a_form_has_a_file_for_each_person(served: Served, mono: bytes, longer: bytes) -> None:
    answer = by_form(served, mono, longer)

    job = made(served, answer)
    assert (job.input_key, job.partner_key) == (
        f"jobs/{job.id}/input/audio.wav",
        f"jobs/{job.id}/input/partner.flac",
    )
    assert content(served, job.input_key) == mono
    assert content(served, job.partner_key) == longer
    assert job.clip_seconds == pytest.approx(2.0)
    (warning,) = answer.json()["warnings"]
    assert warning["code"] == "lengths_differ"
    assert warning["detail"].startswith("The file in audio is 1.50 s shorter")


def test_json_has_a_file_for_each_person(served: Served, mono: bytes) -> None:
    request = {"audio": encoded(mono), "partner": encoded(mono), "person_channel": "right"}

    answer = served.http.post("/generate", json=request)

    assert content(served, made(served, answer).partner_key) == mono
    assert answer.json()["warnings"] == []
    assert answer.json()["request"]["person_channel"] == "right"


def test_uploads_can_be_of_each_person(served: Served, mono: bytes) -> None:
    first, second = (uploaded(served, mono)["id"] for _ in range(2))
    request = {"upload_id": first, "partner_upload_id": second}

    single = made(served, served.http.post("/generate", json=request))
    mixed = served.http.post(
        "/generate", files={"audio": ("a", mono)}, data={"partner_upload_id": second}
    )
    item = batch(served, [request])["items"][0]["job"]

    assert single.partner_key == f"uploads/{second}/clip.bin"
    assert made(served, mixed).partner_key == single.partner_key
    assert served.services.database.jobs.get(item).partner_key == single.partner_key


def test_files_of_two_channels_are_refused(served: Served, clip: bytes, mono: bytes) -> None:
    before = stored_files(served)

    stereo_partner = problem(by_form(served, mono, clip), 422, "partner_channels")
    stereo_audio = problem(by_form(served, clip, mono), 422, "partner_channels")

    assert stereo_partner["detail"] == (
        "Audio has 1 channel and partner 2 channels; send two mono files, or one file of two "
        "channels without partner."
    )
    assert "Audio has 2 channels and partner 1 channel;" in stereo_audio["detail"]
    assert stored_files(served) == before


def test_uploads_of_two_channels_are_refused(served: Served, clip: bytes, mono: bytes) -> None:
    stereo, good = (uploaded(served, each)["id"] for each in (clip, mono))
    item = {"upload_id": good, "partner_upload_id": stereo}

    problem(served.http.post("/generate", json=item), 422, "partner_channels")
    refusal = problem(send_batch(served, [item]), 422, "partner_channels")

    assert refusal["detail"].startswith("items.1: Audio has 1 channel and partner 2 channels")


def test_a_damaged_partner_is_named(served: Served, mono: bytes) -> None:
    before = stored_files(served)

    refusal = problem(by_form(served, mono, b"no audio" * 9), 415, "audio_type_unsupported")

    assert refusal["errors"][0]["field"] == "partner"
    assert refusal["detail"].startswith("In partner: the file has no supported audio format")
    assert stored_files(served) == before


BAD_SOURCES: list[tuple[dict[str, Any], str]] = [
    ({"partner": "AAAA"}, "audio: is missing; send it"),
    ({"audio": "AAAA", "partner": "AAAA", "partner_upload_id": "0" * 32}, "partner: came with par"),
    ({"audio": "AAAA", "partner": "*"}, "partner: should be the file in base64"),
    ({"audio": "AAAA", "person_channel": "middle"}, "person_channel: should be 'left' or 'right'"),
]


@pytest.mark.parametrize(("body", "start"), BAD_SOURCES)
def test_invalid_combinations_are_refused(served: Served, body: object, start: str) -> None:
    refusal = problem(served.http.post("/generate", json=body), 422, "invalid_request")

    assert refusal["detail"].startswith(start)


def test_an_unknown_upload_of_the_partner_is_named(served: Served, mono: bytes) -> None:
    request = {"audio": encoded(mono), "partner_upload_id": "0" * 32}

    refusal = problem(served.http.post("/generate", json=request), 422, "upload_unknown")

    assert refusal["errors"][0]["field"] == "partner_upload_id"


def test_a_mono_file_has_no_right_channel(served: Served, clip: bytes, mono: bytes) -> None:
    form = {"person_channel": "right"}

    accepted = served.http.post("/generate", files={"audio": ("a", clip)}, data=form)
    refused = served.http.post("/generate", files={"audio": ("a", mono)}, data=form)

    assert accepted.status_code == 202
    assert (
        "Audio has 1 channel and person_channel is right"
        in (problem(refused, 422, "audio_channels")["detail"])
    )


def test_another_partner_is_another_request(served: Served, mono: bytes, longer: bytes) -> None:
    first, again = (by_form(served, mono, mono, "two-files") for _ in range(2))

    assert made(served, first).id == again.json()["id"]
    problem(by_form(served, mono, longer, "two-files"), 409, "idempotency_key_reused")


def stored_bytes(served: Served) -> int:
    (tenant,) = served.services.database.tenants.all(utc_now().date())
    return tenant.usage.stored_bytes


def test_both_files_count_for_the_quota_and_go_with_the_job(
    served: Served, mono: bytes, longer: bytes
) -> None:
    before, used = stored_files(served), stored_bytes(served)

    job = made(served, by_form(served, mono, longer))

    assert stored_bytes(served) - used == len(mono) + len(longer)
    assert len(stored_files(served)) == len(before) + 2
    assert served.http.delete(f"/jobs/{job.id}").status_code == 204
    assert stored_files(served) == before


def test_a_retried_job_keeps_both_files(served: Served, mono: bytes, longer: bytes) -> None:
    job = made(served, by_form(served, mono, longer))
    served.http.post(f"/jobs/{job.id}/cancel")

    again = made(served, served.http.post(f"/jobs/{job.id}/retry"))

    assert again.partner_key == job.partner_key
    assert content(served, again.partner_key) == longer


def test_a_job_that_renders_again_has_copies_of_both_files(
    served: Served, mono: bytes, longer: bytes, tmp_path: Path
) -> None:
    files = {"clip": mono, "partner": longer}
    source = job_with_motion(served, tmp_path, **files)  # type: ignore[arg-type]

    new_job = made(served, render(served, source.id))

    served.http.delete(f"/jobs/{source.id}")
    assert new_job.partner_key == f"jobs/{new_job.id}/input/partner.flac"
    assert content(served, new_job.input_key) == mono
    assert content(served, new_job.partner_key) == longer


def test_a_job_that_renders_again_shares_the_upload_of_the_partner(
    served: Served, mono: bytes, tmp_path: Path
) -> None:
    form = {"clip": mono, "partner_upload_id": uploaded(served, mono)["id"]}
    source = job_with_motion(served, tmp_path, **form)

    new_job = made(served, render(served, source.id))

    assert new_job.partner_key == source.partner_key
