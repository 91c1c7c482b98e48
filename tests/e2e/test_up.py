"""Upload to MP4 with real processes, and recovery after a process was killed."""

import io
import signal
import time
from pathlib import Path

import av
import httpx
import psutil
import pytest
from standardwebhooks import Webhook

from jobs.model import State
from jobs.webhooks.signing import webhook_secret
from tests.audio_clips import write_clip
from tests.e2e.conftest import STEPS, Environment, Stack, started
from tests.problems import problem
from tests.webhook_receiver import Receiver

pytestmark = pytest.mark.services

RECOVERY_SECONDS = 30.0


def done(job: dict) -> bool:
    return job["state"] in ("succeeded", "failed", "canceled")


def check_video(content: bytes, *, seconds: float, size: int = 64) -> None:
    with av.open(io.BytesIO(content)) as video:
        frames, audio = video.streams.video[0], video.streams.audio[0]
        assert (frames.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (frames.width, frames.height, frames.average_rate) == (size, size, 30)
        assert sum(1 for _ in video.decode(frames)) == round(seconds * 30)


def test_an_upload_becomes_a_video(stack: Stack, clip: Path) -> None:
    job_id = stack.submit(clip, takes=2, seed=5, size="96", outputs="video,motion")

    job = stack.until(job_id, done, seconds=60)

    assert job["state"] == "succeeded", job
    names = [output["name"] for output in job["outputs"]]
    of_takes = [("take-1.mp4", "motion-1.npz"), ("take-2.mp4", "motion-2.npz")]
    assert names == [
        name for video, motion in of_takes for name in (video, motion, f"{motion}.c2pa")
    ]
    for output in job["outputs"][::3]:
        check_video(stack.http.get(output["path"]).content, seconds=2.0, size=96)
        check_video(stack.http.get(output["url"]).content, seconds=2.0, size=96)
    assert all(stage["progress"] == 1.0 for stage in job["stages"])


def test_the_same_request_gives_the_same_motion(stack: Stack, clip: Path) -> None:
    ids = [stack.submit(clip, seed=5, outputs="motion") for _ in range(2)]

    ends = [stack.until(job_id, done, seconds=60) for job_id in ids]

    first, second = (stack.http.get(end["outputs"][0]["path"]).content for end in ends)
    assert first == second


def test_invalid_uploads_are_rejected_and_the_service_keeps_running(
    stack: Stack, clip: Path, tmp_path: Path
) -> None:
    flac = write_clip(tmp_path / "clip.flac").read_bytes()
    invalid = [
        (b"", 422, "audio_empty"),
        (b"#EXTM3U\nhttp://127.0.0.1/", 415, "audio_type_unsupported"),
        (flac[:50] + bytes(500), 422, None),
        (write_clip(tmp_path / "three.wav", channels=3).read_bytes(), 422, "audio_channels"),
        (write_clip(tmp_path / "long.mp3", seconds=60).read_bytes(), 422, "clip_too_long"),
        (bytes(3_000_000), 413, "upload_too_large"),
    ]
    for content, status, code in invalid:
        answer = stack.http.post("/generate", files={"audio": content})
        problem(answer, status, code or answer.json()["code"])

    job_id = stack.submit(clip)
    assert stack.until(job_id, done, seconds=60)["state"] == "succeeded"


@pytest.mark.parametrize("stage", ["face", "render"])
def test_a_job_succeeds_on_its_second_attempt_after_its_worker_was_killed(
    stack: Stack, clip: Path, stage: str
) -> None:
    fields = {"steps": STEPS} if stage == "face" else {"size": "384", "takes": 2}
    job_id = stack.submit(clip, **fields)
    stack.until(job_id, lambda job: job["stage"] == stage, seconds=60)

    stack.child("worker").kill()
    killed_at = time.monotonic()

    stack.until(job_id, lambda job: job["attempt"] == 2, seconds=RECOVERY_SECONDS)
    assert time.monotonic() - killed_at < RECOVERY_SECONDS
    job = stack.until(job_id, done, seconds=90)
    assert (job["state"], job["attempt"]) == ("succeeded", 2), job
    stored = stack.stored(job_id)
    attempts = [int(output.key.split("/attempt-")[1].split("/")[0]) for output in stored.outputs]
    assert attempts == sorted(attempts)  # finished takes are not rendered again
    assert attempts[-1] == 2
    assert len(stored.outputs) == fields.get("takes", 1)
    sampled_by = 1 if stage == "render" else 2  # finished motion is not sampled again
    assert stored.motion_key == f"jobs/{job_id}/attempt-{sampled_by}/motion.npz"
    for output in job["outputs"]:
        size = int(fields.get("size", 64))
        check_video(stack.http.get(output["path"]).content, seconds=2.0, size=size)
    assert list(stack.settings.scratch.glob("worker-*/job-*")) == []


def test_killing_the_api_and_redis_loses_no_job_and_no_webhook(
    stack: Stack, clip: Path, receiver: Receiver
) -> None:
    job_id = stack.submit(clip, steps=STEPS, callback_url=receiver.url("/killed"))
    stack.child("api").kill()
    redis = next(child for child in _descendants(stack) if "redis" in child.name())
    redis.kill()

    deadline = time.monotonic() + 60
    while True:
        try:
            if done(stack.job(job_id)):
                break
        except (httpx.TransportError, KeyError):
            pass
        assert time.monotonic() < deadline
        time.sleep(0.2)
    (webhook,) = receiver.wait_for(1, path="/killed")
    event = Webhook(webhook_secret(stack.settings.signing_key())).verify(
        webhook.body, webhook.headers
    )
    assert (event["type"], event["data"]["id"]) == ("job.succeeded", job_id)
    after = stack.submit(clip)
    assert stack.until(after, done, seconds=60)["state"] == "succeeded"


def test_sigterm_requeues_the_job_and_leaves_no_process(
    environment: Environment, clip: Path, tmp_path: Path
) -> None:
    data = str(tmp_path / "data")
    other = {**environment, "VISAVIS_DATA": data, "VISAVIS_LEASE_SECONDS": "60"}  # no lease ends
    with started(other, tmp_path) as stack:
        job_id = stack.submit(clip, steps=STEPS)
        stack.until(job_id, lambda job: job["stage"] == "face", seconds=60)
        stack.process.send_signal(signal.SIGTERM)
        assert stack.process.wait(30) == 0, stack.log.read_text()

        job = stack.stored(job_id)

    assert (job.state, job.attempt, job.max_attempts) == (State.QUEUED, 1, 4)
    assert list((tmp_path / "data" / "scratch").iterdir()) == []


def _descendants(stack: Stack) -> list[psutil.Process]:
    return psutil.Process(stack.process.pid).children(recursive=True)
