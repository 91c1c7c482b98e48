"""`audio_url`: a clip at a URL, which is fetched when the operator allows it."""

from collections.abc import Iterator

import pytest

from jobs.settings import Settings
from tests.api_server import Served, serving
from tests.problems import problem
from tests.webhook_receiver import Receiver, receiving


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, clip: bytes) -> Iterator[Receiver]:
    with receiving(tmp_path_factory.mktemp("elsewhere")) as server:
        server.files |= {"/clip.wav": clip, "/text": b"no sound", "/large": bytes(3_000_000)}
        server.answers["/gone"] = [404, 404]
        yield server


@pytest.fixture(scope="module")
def fetching(
    settings: Settings, host: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    allowed = Settings(
        data=tmp_path_factory.mktemp("fetching"),
        people=settings.people,
        max_upload_bytes=settings.max_upload_bytes,
        audio_urls=True,
        audio_url_seconds=1.0,
        outbound_allow=("127.0.0.1",),
        outbound_ca=host.ca,
    )
    with serving(allowed) as served:
        yield served


def test_a_clip_at_a_url_becomes_a_job(fetching: Served, host: Receiver, clip: bytes) -> None:
    url = host.url("/clip.wav")

    by_json = fetching.http.post("/generate", json={"audio_url": url})
    by_form = fetching.http.post("/generate", data={"audio_url": url})

    for answer in (by_json, by_form):
        assert answer.status_code == 202, answer.text
        key = fetching.services.database.jobs.get(answer.json()["id"]).input_key
        assert b"".join(fetching.services.storage.open(key)) == clip


def test_a_replayed_request_does_not_fetch_the_clip_again(fetching: Served, host: Receiver) -> None:
    body, key = {"audio_url": host.url("/clip.wav")}, {"Idempotency-Key": "elsewhere"}
    first = fetching.http.post("/generate", json=body, headers=key)
    before = len(host.received)

    again = fetching.http.post("/generate", json=body, headers=key)

    assert again.json()["id"] == first.json()["id"]
    assert len(host.received) == before


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/text", 415, "audio_type_unsupported"),
        ("/gone", 422, "audio_url_failed"),
        ("/large", 422, "audio_url_failed"),
        ("/redirect", 422, "audio_url_failed"),
        ("/endless", 422, "audio_url_failed"),
        ("/drip", 422, "audio_url_failed"),
        ("/stall", 422, "audio_url_failed"),
    ],
)
def test_an_unusable_file_at_a_url_is_refused(
    fetching: Served, host: Receiver, path: str, status: int, code: str
) -> None:
    answer = fetching.http.post("/generate", json={"audio_url": host.url(path)})

    problem(answer, status, code)
    assert "/secret" not in {each.path for each in host.received}


@pytest.mark.parametrize(
    "url",
    [
        "http://clips.example/a.wav",
        "https://10.0.0.1/a.wav",
        "https://[::1]/a.wav",
        "https://[::ffff:169.254.169.254]/latest",
        "https://2130706434/a.wav",
        "https://localhost/a.wav",
        "file:///etc/passwd",
        "clips",
    ],
)
def test_a_url_outside_the_public_internet_is_refused(fetching: Served, url: str) -> None:
    problem(fetching.http.post("/generate", json={"audio_url": url}), 422, "audio_url_refused")


def test_audio_urls_are_refused_by_default(served: Served, host: Receiver) -> None:
    before = len(host.received)

    answer = served.http.post("/generate", json={"audio_url": host.url("/clip.wav")})

    assert "does not fetch audio_url" in problem(answer, 422, "audio_url_refused")["detail"]
    assert len(host.received) == before
