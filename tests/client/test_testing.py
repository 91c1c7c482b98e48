"""Tests of users: a fake service, and recorded answers."""

import asyncio
from pathlib import Path

import pytest

import visavis
from tests.api_server import Served
from visavis.testing import FakeService, RecordingTransport, ReplayTransport


def test_recorded_answers_replace_the_service(service: Served, clip: Path, tmp_path: Path) -> None:
    address = str(service.http.base_url)
    recording = RecordingTransport(tmp_path / "answers.jsonl")
    with visavis.Client(address, transport=recording) as client:
        job = client.generate(clip).wait(timeout=60)
        video = job.takes[0].download(tmp_path / "first.mp4").read_bytes()

    replay = ReplayTransport(tmp_path / "answers.jsonl")
    with visavis.Client(transport=replay) as client:
        again = client.generate(b"anything").wait()
        assert again.takes[0].download(tmp_path / "second.mp4").read_bytes() == video
        with pytest.raises(LookupError, match="GET /people was not recorded"):
            client.people.list()
    assert again.id == job.id
    assert [request.method for request in replay.requests] == ["POST", "GET", "GET", "GET"]

    async def use() -> str:
        async with visavis.AsyncClient(transport=replay) as client:
            job = await client.generate(b"anything")
            return (await job.wait()).id

    assert asyncio.run(use()) == job.id


def test_recorded_answers_contain_no_key(tmp_path: Path) -> None:
    recording = RecordingTransport(tmp_path / "answers.jsonl", FakeService())
    with visavis.Client(api_key="vv_secret", transport=recording) as client:
        assert client.people.list()[0].name == "demo"

    assert "vv_secret" not in (tmp_path / "answers.jsonl").read_text()


def test_the_fake_service_keeps_jobs_apart_and_answers_as_the_service() -> None:
    with visavis.Client(transport=FakeService()) as client:
        jobs = [client.generate(b"sound", takes=takes) for takes in (1, 2, 3)]
        jobs[0].wait()
        jobs[1].cancel()

        assert [job.state for job in client.jobs.list(limit=2)] == [
            "queued",
            "canceled",
            "succeeded",
        ]
        assert [job.id for job in client.jobs.list(state="canceled")] == [jobs[1].id]
        assert jobs[1].retry().wait().state == "succeeded"
        again = jobs[1].render(takes=[2], format="webm").wait()
        assert again.id != jobs[1].id
        assert {output.name.rpartition(".")[2] for output in again.outputs} == {"webm"}
        with pytest.raises(visavis.ConflictError):
            jobs[0].cancel()
        with pytest.raises(visavis.ConflictError):
            jobs[0].retry()
        jobs[2].delete()
        with pytest.raises(visavis.NotFoundError):
            jobs[2].refresh()
        with pytest.raises(visavis.InvalidRequestError, match="upload_unknown"):
            client.generate(visavis.Upload(**{**vars(client.uploads.create(b"x")), "id": ""}))
