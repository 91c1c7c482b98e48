"""Submitting recordings: sources, fields, idempotency, answers with headers."""

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import visavis
from visavis.testing import FakeService, Fault


@pytest.fixture
def fake() -> FakeService:
    return FakeService()


def test_a_recording_is_a_path_a_text_bytes_or_a_file(fake: FakeService, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"sound")
    opened = io.BytesIO(b"no sound")
    opened.seek(3)

    class Pipe(io.RawIOBase):
        """A stream without positions."""

        def __init__(self) -> None:
            self.rest = [b"so", b"und"]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:
            piece = self.rest.pop(0) if self.rest else b""
            buffer[: len(piece)] = piece
            return len(piece)

    with visavis.Client(transport=fake) as client:
        for audio in (path, str(path), b"sound", opened, io.BufferedReader(Pipe())):
            job = client.generate(audio)
            assert fake.recordings[job.id] == b"sound"
    assert opened.tell() == 3  # where the caller left it


def test_the_request_contains_the_fields_in_the_types_of_the_api(fake: FakeService) -> None:
    with visavis.Client(transport=fake) as client:
        job = client.generate(
            b"sound",
            partner=b"other",
            takes=3,
            diversity=0.5,
            views=["front", "side"],
            outputs="video,motion",
            background=None,
            metadata={"order": "17"},
            priority=2,
        )

    request = fake.jobs[job.id]["request"]
    assert (request["takes"], request["diversity"]) == (3, 0.5)
    assert (request["views"], request["outputs"]) == (["front", "side"], ["video", "motion"])
    assert "background" not in request
    assert (job.metadata, job.priority) == ({"order": "17"}, 2)


def test_a_url_is_downloaded_by_the_service(fake: FakeService) -> None:
    with visavis.Client(transport=fake) as client:
        client.generate("https://example.com/talk.wav")
        with pytest.raises(ValueError, match="partner"):
            client.generate(b"sound", partner="https://example.com/other.wav")

    assert json.loads(fake.requests[0].content) == {"audio_url": "https://example.com/talk.wav"}


def test_what_is_not_a_recording_is_refused_before_a_request(fake: FakeService) -> None:
    with visavis.Client(transport=fake) as client:
        with pytest.raises(FileNotFoundError):
            client.generate("missing.wav")
        with pytest.raises(TypeError, match="audio: a path"):
            client.generate(17)  # type: ignore[arg-type]

    assert fake.requests == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(),
        Fault(lost=True),
        Fault(503),
        Fault(503, lost=True),
        Fault(502),
        Fault(504, lost=True),
        Fault(408),
        Fault(429),
    ],
)
def test_a_request_is_repeated_and_makes_one_job(
    fake: FakeService, pauses: list[float], fault: Fault
) -> None:
    fake.add_faults(fault, fault)

    with visavis.Client(transport=fake) as client:
        job = client.generate(b"sound")

    assert list(fake.jobs) == [job.id]
    keys = [request.headers["idempotency-key"] for request in fake.requests]
    assert len(keys) == 3 and len(set(keys)) == 1
    assert len(pauses) == 2


def test_two_calls_are_two_jobs_unless_they_share_a_key(fake: FakeService) -> None:
    with visavis.Client(transport=fake) as client:
        first, second = client.generate(b"sound"), client.generate(b"sound")
        third = client.generate(b"sound", idempotency_key="order-17")
        again = client.generate(b"sound", idempotency_key="order-17")

    assert len({first.id, second.id, third.id}) == 3
    assert again.id == third.id


def test_the_key_of_the_environment_is_sent(
    fake: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISAVIS_API_KEY", "vv_environment")
    monkeypatch.setenv("VISAVIS_BASE_URL", "http://video.example/")
    with visavis.Client(transport=fake) as client:
        client.people.list()
    with visavis.Client(api_key="vv_argument", transport=fake) as client:
        client.people.list()

    sent = [(str(each.url), each.headers["authorization"]) for each in fake.requests]
    assert sent == [
        ("http://video.example/people", "Bearer vv_environment"),
        ("http://video.example/people", "Bearer vv_argument"),
    ]


def test_unknown_options_are_refused_and_others_can_be_changed(
    fake: FakeService, pauses: list[float]
) -> None:
    with pytest.raises(TypeError, match="seconds"):
        visavis.Client(seconds=3)  # type: ignore[call-arg]

    with visavis.Client("http://video.example", transport=fake, api_key="vv_key") as client:
        patient = client.with_options(timeout=5, max_retries=0)
        fake.add_faults(Fault(503))
        with pytest.raises(visavis.ServerError):
            patient.people.list()
        fake.add_faults(Fault(408))
        assert patient.with_options(max_retries=1).people.list()

    assert patient.base_url == client.base_url
    assert fake.requests[0].extensions["timeout"]["read"] == 5
    assert fake.requests[0].headers["authorization"] == "Bearer vv_key"


def test_raw_answers_have_headers_and_the_result(fake: FakeService, pauses: list[float]) -> None:
    fake.add_faults(Fault(503))
    with visavis.Client(transport=fake) as client:
        answer = client.with_raw_response.generate(b"sound", takes=2)
        read = client.with_raw_response.jobs.get(answer.parse().id)

    assert (answer.status, answer.parse().state) == (202, "queued")
    assert [each.status_code for each in answer.answers] == [503, 202]
    assert read.headers["content-type"] == "application/json"
    assert pauses


def test_raw_answers_of_the_asynchronous_client(fake: FakeService) -> None:
    async def call() -> visavis.RawResponse[list[visavis.Person]]:
        async with visavis.AsyncClient(transport=fake) as client:
            return await client.with_raw_response.people.list()

    answer = asyncio.run(call())

    assert answer.status == 200
    assert [person.name for person in answer.parse()] == ["demo"]


@pytest.mark.parametrize("body", [{"status": "ok"}, {"id": 1, "jobs": [{}]}, []])
@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.generate(b"sound"),
        lambda client: client.jobs.get("1"),
        lambda client: list(client.jobs.list()),
        lambda client: client.jobs.deliveries("1"),
        lambda client: client.people.list(),
        lambda client: client.uploads.create(b"sound"),
        lambda client: client.batches.get("1"),
    ],
)
def test_an_answer_of_another_service_is_an_error(body: Any, call: Callable[..., Any]) -> None:
    other = httpx.MockTransport(lambda _request: httpx.Response(200, json=body))

    with visavis.Client(transport=other) as client, pytest.raises(visavis.APIError):
        call(client)


def test_an_answer_that_is_not_json_is_an_error() -> None:
    page = httpx.MockTransport(lambda _request: httpx.Response(200, html="<p>Log in</p>"))

    with (
        visavis.Client(transport=page) as client,
        pytest.raises(visavis.APIError, match="without a JSON object; check the address"),
    ):
        client.people.list()
