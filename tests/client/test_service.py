"""Each call of both clients against a running service with a stub worker."""

import asyncio
import wave
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import visavis
from jobs.settings import Settings
from jobs.store import uploads as upload_rows
from tests.api_server import Served
from tests.audio_clips import write_clip
from tests.client.stub_worker import HELD, REFUSED, video_of


def held(client: visavis.Client, clip: Path) -> visavis.Job:
    """A job that runs until it is canceled."""
    return client.generate(clip, metadata={"outcome": HELD})


def test_a_recording_becomes_videos(
    client: visavis.Client, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = datetime.now(UTC)
    job = client.generate(
        clip,
        person="demo",
        takes=2,
        seed=7,
        views=["front", "side"],
        size=64,
        background="#222",
        metadata={"order": "17"},
        priority=-2,
        cancel_after=3600,
        webhook_events=["job.failed"],
    )
    assert (job.state, job.ended) in [("queued", False), ("running", False), ("succeeded", True)]

    job.wait(progress=True, timeout=60)

    assert [take.number for take in job.takes] == [1, 2]
    for take in job.takes:
        path = take.download(tmp_path)
        assert path.read_bytes() == video_of(job.id, path.name)
    assert (job.request["seed"], job.request["views"], job.request["size"]) == (
        7,
        ["front", "side"],
        "64x64",
    )
    assert (job.metadata, job.priority, job.clip_seconds) == ({"order": "17"}, -2, 0.5)
    assert (job.cancel_after, job.webhook_events) == (3600, ["job.failed"])
    assert job.created_at - before < timedelta(minutes=5) and job.finished_at >= job.created_at
    assert capsys.readouterr().err.endswith(f"{job.id} succeeded\n")
    assert client.jobs.get(job.id).raw["outputs"][0]["name"] == "take-1.mp4"


def test_two_people_have_a_file_each(client: visavis.Client, tmp_path: Path) -> None:
    me = write_clip(tmp_path / "me.wav", channels=1)
    them = write_clip(tmp_path / "them.wav", channels=1, seconds=2.0)

    with pytest.warns(visavis.ClipWarning, match="lengths_differ"):
        job = client.generate(me, partner=them).wait(timeout=60)

    assert (job.clip_seconds, job.state) == (2.0, "succeeded")


def test_jobs_are_listed_canceled_retried_and_deleted(client: visavis.Client, clip: Path) -> None:
    jobs = [held(client, clip) for _ in range(3)]
    ids = [job.id for job in jobs]

    assert [job.id for job in client.jobs.list(limit=2, created_after=jobs[0].created_at)] == [
        *reversed(ids)
    ]
    assert jobs[0].cancel().state == "canceled"
    assert client.jobs.cancel(ids[0]).state == "canceled"
    with pytest.raises(visavis.JobCanceled):
        jobs[0].wait(timeout=60)
    canceled = client.jobs.list(state=["canceled", "failed"], created_after=jobs[0].created_at)
    assert [job.id for job in canceled] == ids[:1]
    assert jobs[0].retry().state in ("queued", "running")
    with pytest.raises(visavis.ConflictError, match="job_not_retryable"):
        client.jobs.retry(ids[0])
    jobs[0].delete()
    with pytest.raises(visavis.NotFoundError, match="job_not_found"):
        jobs[0].refresh()
    with pytest.raises(visavis.NotFoundError):
        client.jobs.delete(ids[0])
    for job in jobs[1:]:
        job.delete()


def test_a_deleted_job_ends_the_wait(client: visavis.Client, clip: Path) -> None:
    job = held(client, clip)

    with pytest.raises(visavis.NotFoundError, match="job_not_found"):
        job.wait(progress=lambda _job: client.jobs.delete(job.id), timeout=60)


def test_an_interrupt_cancels_a_running_job(client: visavis.Client, clip: Path) -> None:
    def interrupt(_job: visavis.Job) -> None:
        raise KeyboardInterrupt

    job = held(client, clip)
    with pytest.raises(KeyboardInterrupt):
        job.wait(progress=interrupt)

    assert job.refresh().state == "canceled"


def test_a_failed_job_is_an_error_with_its_reason(client: visavis.Client, clip: Path) -> None:
    job = client.generate(clip, metadata={"outcome": REFUSED})

    with pytest.raises(visavis.JobFailed, match="clip_unsuitable: The stub refuses it"):
        job.wait(timeout=60)

    assert job.error == visavis.Failure("clip_unsuitable", "The stub refuses it.")
    with pytest.raises(visavis.ConflictError):
        job.cancel()


def test_motion_is_rendered_again_only_where_it_is_stored(
    client: visavis.Client, clip: Path
) -> None:
    job = client.generate(clip).wait(timeout=60)

    with pytest.raises(visavis.ConflictError, match="motion_missing"):  # the stub stores none
        job.render(takes=[1], views=["side"], size="64")
    with pytest.raises(visavis.InvalidRequestError, match="take_unknown"):
        client.jobs.render(job.id, takes=[5])
    assert job.deliveries() == client.jobs.deliveries(job.id) == []
    with pytest.raises(visavis.NotFoundError, match="delivery_not_found"):
        client.jobs.redeliver(job.id, "none")


def test_a_large_recording_is_sent_in_parts_and_used_by_many(
    client: visavis.Client, service: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recording is noise, so that the order of its parts matters."""
    for module in ("jobs.store.uploads", "api.routes.uploads"):
        monkeypatch.setattr(f"{module}.PART_BYTES", 40_000)
    path = tmp_path / "noise.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 48_000, 0, "NONE", ""))
        file.writeframes(np.random.default_rng(1).integers(-999, 999, 60_000).astype("<i2"))

    def stop(sent: int, _all: int) -> None:
        if sent == 80_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.uploads.create(path, progress=stop)
    (upload_id,) = {key.parts[-2] for key in parts_of(service)}
    upload = client.uploads.resume(upload_id, path)
    assert client.uploads.get(upload.id).state == upload.state == "ready"
    stored = b"".join(service.services.storage.open(upload_rows.upload_key(upload.id)))
    assert stored == path.read_bytes()

    batch = client.batches.create([{"upload_id": upload.id}, {"upload_id": upload.id, "takes": 2}])
    jobs = [client.jobs.get(item.job).wait(timeout=60) for item in batch.items]
    assert [len(job.takes) for job in jobs] == [1, 2]
    assert {job.id for job in client.jobs.list(batch=batch.id)} == {job.id for job in jobs}
    ended = client.batches.get(batch.id)
    assert (ended.ended, ended.counts.succeeded, ended.size) == (True, 2, 2)
    assert client.batches.cancel(batch.id).counts.canceled == 0


def parts_of(service: Served) -> list[Path]:
    """Files of parts in the storage."""
    storage = service.services.storage
    return list(Path(storage.folder, "uploads").rglob("*part-*"))


def test_invalid_requests_are_errors_with_their_fields(client: visavis.Client, clip: Path) -> None:
    with pytest.raises(visavis.InvalidRequestError) as caught:
        client.generate(clip, takes=99, size="huge")
    assert sorted(each["field"] for each in caught.value.errors) == ["size", "takes"]
    assert caught.value.request_id

    with pytest.raises(visavis.InvalidRequestError, match="person_unknown") as caught:
        client.generate(clip, person="nobody")
    assert "available: demo" in caught.value.detail
    with pytest.raises(visavis.InvalidRequestError, match="audio_type_unsupported"):
        client.generate(b"no audio")
    with pytest.raises(visavis.InvalidRequestError, match="audio_url_refused"):
        client.generate("https://example.com/talk.wav")


def test_people_have_their_defaults_and_limits(client: visavis.Client, service: Served) -> None:
    (person,) = client.people.list()

    assert (person.name, person.max_seconds) == ("demo", 5.0)
    assert (person.views, person.defaults.size) == (["front", "side", "back"], "512x512")
    assert isinstance(service.services.settings, Settings)


def test_the_asynchronous_client_does_the_same(service: Served, clip: Path, tmp_path: Path) -> None:
    async def use() -> None:
        async with visavis.AsyncClient(str(service.http.base_url)) as client:
            upload = await client.uploads.create(clip)
            jobs = await asyncio.gather(*(client.generate(upload, takes=n) for n in (1, 2)))
            await asyncio.gather(*(job.wait(timeout=60) for job in jobs))
            path = await jobs[1].takes[1].download(tmp_path / "two.mp4")
            assert path.read_bytes() == video_of(jobs[1].id, "take-2.mp4")
            assert (await jobs[0].refresh()).state == "succeeded"
            held = await client.generate(clip, metadata={"outcome": HELD})
            assert held.id in [job.id async for job in client.jobs.list(limit=1)]
            await held.cancel()
            await held.delete()
            assert (await client.people.list())[0].name == "demo"
            report = await client.batch([clip], out=tmp_path / "videos")
            assert [path.name for path in report.results[0].files] == ["talk.mp4"]

    asyncio.run(use())
