"""Previews of a job, before it has ended and after a render of them."""

import json
from pathlib import Path

import pytest

from jobs.model import Output
from jobs.storage.keys import attempt_key
from jobs.webhooks.signing import event_body
from tests.api.routes.test_render import job_with_motion, render
from tests.api_server import Served

pytestmark = pytest.mark.usefixtures("queue")


def publish(served: Served, job_id: str, folder: Path) -> Output:
    """Publish the preview of a running job, as its worker does."""
    key = attempt_key(job_id, 1, "preview-1.mp4")
    (folder / "preview-1.mp4").write_bytes(b"small video")
    served.services.storage.put(key, folder / "preview-1.mp4", "video/mp4")
    output = Output("preview-1.mp4", key, "video/mp4", 11)
    assert served.services.database.attempts.record_outputs(job_id, 1, [output])
    return output


def test_a_running_job_lists_its_previews_and_serves_them(
    served: Served, clip: bytes, tmp_path: Path
) -> None:
    job = job_with_motion(served, tmp_path, clip=clip)  # type: ignore[arg-type]
    publish(served, job.id, tmp_path)

    view = served.http.get(f"/jobs/{job.id}").json()

    assert (view["state"], len(view["outputs"])) == ("running", 1)
    for address in (view["outputs"][0]["path"], view["outputs"][0]["url"]):
        assert served.http.get(address).content == b"small video"
    other = served.http.get(f"/jobs/{job.id}/outputs/take-1.mp4")
    assert other.json()["code"] == "job_not_finished"


def test_a_failed_job_keeps_its_previews_and_its_webhook_has_no_outputs(
    served: Served, clip: bytes, tmp_path: Path
) -> None:
    source = job_with_motion(served, tmp_path, clip=clip)  # type: ignore[arg-type]
    preview = publish(served, source.id, tmp_path)
    served.services.database.attempts.fail(source.id, 1, "out_of_memory", "Too large.")

    job = served.services.database.jobs.get(source.id)

    assert job.outputs == (preview,)
    assert served.http.get(f"/jobs/{job.id}/outputs/preview-1.mp4").content == b"small video"
    assert job.finished_at is not None
    assert json.loads(event_body(job, job.finished_at))["data"]["outputs"] == []


def test_an_early_preview_of_another_attempt_is_refused(
    served: Served, clip: bytes, tmp_path: Path
) -> None:
    job = job_with_motion(served, tmp_path, clip=clip)  # type: ignore[arg-type]
    output = Output("preview-1.mp4", "key", "video/mp4", 1)

    assert not served.services.database.attempts.record_outputs(job.id, 2, [output])
    assert served.services.database.jobs.get(job.id).outputs == ()


def test_previews_alone_are_rendered_as_videos_unless_the_request_says_otherwise(
    served: Served, clip: bytes, tmp_path: Path
) -> None:
    source = job_with_motion(served, tmp_path, clip=clip, outputs="preview")  # type: ignore[arg-type]

    assert render(served, source.id, takes=[2]).json()["request"]["outputs"] == ["video"]
    asked = render(served, source.id, outputs=["preview", "motion"])
    assert asked.json()["request"]["outputs"] == ["preview", "motion"]


def test_other_jobs_are_rendered_with_their_outputs(
    served: Served, clip: bytes, tmp_path: Path
) -> None:
    source = job_with_motion(served, tmp_path, clip=clip, outputs="preview,motion")  # type: ignore[arg-type]

    assert render(served, source.id).json()["request"]["outputs"] == ["preview", "motion"]
