"""GET /jobs and /jobs/{id}: progress, outputs, and signed links that expire."""

import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from jobs.model import Output, State
from jobs.settings import Settings
from jobs.storage.keys import attempt_key
from tests.api.rows import VIDEO, running, submit, succeeded
from tests.api_server import Served, serving
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")


def test_a_queued_job_has_its_position(served: Served) -> None:
    first, second = submit(served), submit(served)

    answer = served.http.get(f"/jobs/{second.id}")

    assert answer.json()["position"] == 2
    assert served.http.get(f"/jobs/{first.id}").json()["position"] == 1
    assert int(answer.headers["retry-after"]) >= 1
    assert {stage["progress"] for stage in answer.json()["stages"]} == {0}


def test_a_running_job_has_its_stage(served: Served) -> None:
    job = running(served)
    served.services.database.attempts.progress(job.id, job.attempt, "face", 0.5)

    view = served.http.get(f"/jobs/{job.id}").json()

    stages = {stage["name"]: stage["progress"] for stage in view["stages"]}
    assert list(stages) == [
        "queued", "decode", "speech", "face", "guide", "body", "render", "publish",
    ]  # fmt: skip
    assert (view["state"], view["stage"], view["position"]) == ("running", "face", None)
    assert (stages["speech"], stages["face"], stages["guide"]) == (1, 0.5, 0)
    assert 0.1 < view["progress"] < 0.5
    assert view["started_at"] and not view["finished_at"]


def test_a_failed_job_has_its_error(served: Served) -> None:
    job = running(served)
    served.services.database.attempts.fail(
        job.id, job.attempt, "clip_silent", "The clip is silent."
    )

    answer = served.http.get(f"/jobs/{job.id}")

    assert answer.json()["state"] == State.FAILED
    assert answer.json()["error"] == {"code": "clip_silent", "detail": "The clip is silent."}
    assert "retry-after" not in answer.headers


def test_a_job_that_is_queued_again_has_no_error(served: Served) -> None:
    job = running(served)
    served.services.database.attempts.release(
        job.id, job.attempt, "the worker shuts down", counts=False
    )

    assert served.http.get(f"/jobs/{job.id}").json()["error"] is None


def test_links_of_a_succeeded_job_work(served: Served, tmp_path: Path) -> None:
    job = succeeded(served, tmp_path)

    view = served.http.get(f"/jobs/{job.id}").json()
    (output,) = view["outputs"]
    answer = served.http.get(output["url"])

    assert (view["state"], view["progress"]) == ("succeeded", 1)
    assert (output["name"], output["bytes"]) == ("take-1.mp4", len(VIDEO))
    assert output["url"].startswith(str(served.http.base_url).rstrip("/"))
    assert answer.content == VIDEO
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"].startswith('attachment; filename="demo-')
    assert served.http.get(output["path"]).content == VIDEO


def test_a_range_of_an_output_can_be_downloaded(served: Served, tmp_path: Path) -> None:
    path = f"/jobs/{succeeded(served, tmp_path).id}/outputs/take-1.mp4"

    part = served.http.get(path, headers={"range": "bytes=250-259"})

    assert part.status_code == 206
    assert part.content == VIDEO[250:260]
    assert part.headers["content-range"] == f"bytes 250-259/{len(VIDEO)}"
    for wrong in ("bytes=99999-", "bytes=x", "lines=1-2"):
        answer = served.http.get(path, headers={"range": wrong})
        problem(answer, 416, "range_not_satisfiable")


def test_missing_outputs_have_different_codes(served: Served, tmp_path: Path) -> None:
    done, failed, queued = succeeded(served, tmp_path), running(served), submit(served)
    served.services.database.attempts.fail(
        failed.id, failed.attempt, "clip_silent", "The clip is silent."
    )

    def get(job_id: str, name: str = "take-1.mp4"):
        return served.http.get(f"/jobs/{job_id}/outputs/{name}")

    problem(get("nobody"), 404, "job_not_found")
    problem(get(queued.id), 409, "job_not_finished")
    problem(get(failed.id), 409, "job_without_outputs")
    assert "take-1.mp4" in problem(get(done.id, "take-2.mp4"), 404, "output_not_found")["detail"]
    problem(get(done.id, "..%2f..%2fsecret"), 404, "route_not_found")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("signature", "0" * 64),
        ("expires", "99999999999"),
        ("name", "other.mp4"),
        ("signature", "%C3%BC"),
    ],
)
def test_an_altered_link_is_refused(served: Served, tmp_path: Path, part: str, value: str) -> None:
    job = succeeded(served, tmp_path)
    url = served.http.get(f"/jobs/{job.id}").json()["outputs"][0]["url"]

    answer = served.http.get(re.sub(rf"{part}=[^&]*", f"{part}={value}", url))

    problem(answer, 403, "link_invalid")


def test_a_link_is_valid_for_its_file_only(served: Served, tmp_path: Path) -> None:
    first, second = succeeded(served, tmp_path), succeeded(served, tmp_path)
    url = served.http.get(f"/jobs/{first.id}").json()["outputs"][0]["url"]

    problem(served.http.get(url.replace(first.id, second.id)), 403, "link_invalid")
    problem(served.http.get(url.replace("/jobs/", "/jobs/%2e%2e/")), 403, "link_invalid")


def test_a_link_without_its_signature_is_refused(served: Served) -> None:
    body = problem(served.http.get("/files/jobs/a/b.mp4"), 422, "invalid_request")

    assert {each["field"] for each in body["errors"]} == {"name", "expires", "signature"}


def test_an_expired_link_is_refused(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = succeeded(served, tmp_path)
    url = served.http.get(f"/jobs/{job.id}").json()["outputs"][0]["url"]
    assert served.http.get(url).status_code == 200
    expires = int(parse_qs(urlsplit(url).query)["expires"][0])
    assert expires <= time.time() + served.services.settings.link_seconds

    monkeypatch.setattr(served.services.storage, "_now", lambda: expires + 1)

    problem(served.http.get(url), 403, "link_invalid")


def test_a_link_to_a_deleted_file_is_not_found(served: Served, tmp_path: Path) -> None:
    job = succeeded(served, tmp_path)
    output = served.http.get(f"/jobs/{job.id}").json()["outputs"][0]
    served.services.storage.delete(f"jobs/{job.id}")

    problem(served.http.get(output["url"]), 404, "file_not_found")
    problem(served.http.get(output["path"]), 404, "file_not_found")


def test_the_newest_jobs_come_first(served: Served) -> None:
    first, second = submit(served), submit(served)

    view = served.http.get("/jobs", params={"limit": 2}).json()["jobs"]

    assert [job["id"] for job in view] == [second.id, first.id]
    for limit in (0, 101, "all"):
        answer = served.http.get("/jobs", params={"limit": limit})
        problem(answer, 422, "invalid_request")


def test_an_unknown_job_is_not_found(served: Served) -> None:
    problem(served.http.get("/jobs/0198"), 404, "job_not_found")
    problem(served.http.get("/jobs/" + "a" * 65), 422, "invalid_request")


def test_outputs_in_a_bucket_are_fetched_there(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    bucket = {"data": tmp_path, "storage_url": "s3://b/p?endpoint_url=http://127.0.0.1:9"}
    with serving(settings.model_copy(update=bucket)) as served:
        job = running(served)
        key = attempt_key(job.id, 1, "take-1.mp4")
        served.services.database.attempts.succeed(
            job.id, 1, [Output("take-1.mp4", key, "video/mp4", 9)]
        )

        answer = served.http.get(f"/jobs/{job.id}/outputs/take-1.mp4")
        page = served.http.get("/")

        problem(served.http.get(f"/files/{key}?name=a&expires=9&signature=b"), 403, "link_invalid")
    assert answer.status_code == 307
    assert answer.headers["location"].startswith(f"http://127.0.0.1:9/b/p/{key}?")
    assert "X-Amz-Signature=" in answer.headers["location"]
    assert "media-src 'self' blob: http://127.0.0.1:9;" in page.headers["content-security-policy"]
