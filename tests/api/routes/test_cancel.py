"""POST /jobs/{id}/cancel."""

import base64
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from jobs.db.engine import writing
from jobs.db.tables import jobs
from jobs.model import Output, utc_now
from tests.api.rows import running, submit, succeeded
from tests.api.services.test_multipart_uploads import uploaded
from tests.api_server import Served
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")


def test_a_queued_job_is_canceled_at_once(served: Served) -> None:
    job, next_one = submit(served), submit(served)

    answer = served.http.post(f"/jobs/{job.id}/cancel")

    assert answer.status_code == 200
    view = answer.json()
    assert (view["id"], view["state"], view["position"]) == (job.id, "canceled", None)
    assert view["finished_at"] and view["error"] is None
    assert served.http.get(f"/jobs/{next_one.id}").json()["position"] == 1


def test_the_worker_of_a_canceled_job_publishes_nothing(served: Served) -> None:
    job = running(served)
    database = served.services.database

    assert served.http.post(f"/jobs/{job.id}/cancel").json()["state"] == "canceled"

    assert not database.attempts.progress(job.id, job.attempt, "face", 0.5)
    assert not database.attempts.succeed(
        job.id, job.attempt, [Output("take-1.mp4", "jobs/x", "video/mp4", 1)]
    )
    assert served.http.get(f"/jobs/{job.id}").json()["state"] == "canceled"
    problem(served.http.get(f"/jobs/{job.id}/outputs/take-1.mp4"), 409, "job_without_outputs")


def test_canceling_twice_changes_nothing(served: Served) -> None:
    job = submit(served)
    first = served.http.post(f"/jobs/{job.id}/cancel")

    second = served.http.post(f"/jobs/{job.id}/cancel")

    assert second.status_code == 200
    assert second.json() == first.json()


def test_a_job_that_has_ended_cannot_be_canceled(served: Served, tmp_path: Path) -> None:
    done, failed = succeeded(served, tmp_path), running(served)
    served.services.database.attempts.fail(
        failed.id, failed.attempt, "clip_silent", "The clip is silent."
    )

    for job, state in ((done, "succeeded"), (failed, "failed")):
        body = problem(served.http.post(f"/jobs/{job.id}/cancel"), 409, "job_has_ended")
        assert state in body["detail"]
        assert served.http.get(f"/jobs/{job.id}").json()["state"] == state


def cancel_after(answer: httpx.Response) -> float | None:
    assert answer.status_code == 202, answer.text
    seconds: float | None = answer.json()["cancel_after"]
    return seconds


def test_a_time_is_a_field_of_forms_and_of_json_or_a_header(served: Served, clip: bytes) -> None:
    post, files = served.http.post, {"audio": ("a", clip)}
    as_json = {"audio": base64.b64encode(clip).decode()}
    header = {"Cancel-After": "60"}

    assert cancel_after(post("/generate", files=files)) is None
    assert cancel_after(post("/generate", files=files, data={"cancel_after": "60"})) == 60
    assert cancel_after(post("/generate", json=as_json | {"cancel_after": 1.5})) == 1.5
    assert cancel_after(post("/generate", files=files, headers=header)) == 60
    assert cancel_after(post("/generate", json=as_json, headers=header)) == 60
    both = post("/generate", files=files, data={"cancel_after": "60.0"}, headers=header)
    assert cancel_after(both) == 60
    created, ends = (
        datetime.fromisoformat(both.json()[name]) for name in ("created_at", "cancel_at")
    )
    assert ends - created == timedelta(seconds=60)


@pytest.mark.parametrize("seconds", ["0", "0.5", "-1", "2592001", "nan", "inf", "soon"])
def test_an_invalid_time_is_refused(served: Served, clip: bytes, seconds: str) -> None:
    files = {"audio": ("a", clip)}

    field = served.http.post("/generate", files=files, data={"cancel_after": seconds})
    header = served.http.post("/generate", files=files, headers={"Cancel-After": seconds})

    assert problem(field, 422, "invalid_request")["errors"][0]["field"] == "cancel_after"
    assert problem(header, 422, "invalid_request")["errors"][0]["field"] == "Cancel-After"


def test_a_header_that_contradicts_the_field_is_refused(
    served: Served, clip: bytes, tmp_path: Path
) -> None:
    upload = str(uploaded(served, clip)["id"])
    header = {"Cancel-After": "60"}

    form = {"files": {"audio": ("a", clip)}, "data": {"cancel_after": "61"}}
    one = problem(served.http.post("/generate", headers=header, **form), 422, "invalid_request")
    items = {"items": [{"upload_id": upload}, {"upload_id": upload, "cancel_after": 61}]}
    several = served.http.post("/batches", json=items, headers=header)
    path = f"/jobs/{succeeded(served, tmp_path).id}/render"
    again = served.http.post(path, json={"cancel_after": 61}, headers=header)

    assert one["detail"] == (
        "cancel_after: is 61, but the header Cancel-After is 60; send one of them."
    )
    assert problem(again, 422, "invalid_request")["detail"] == one["detail"]
    (error,) = problem(several, 422, "invalid_request")["errors"]
    assert error["field"] == "items.2.cancel_after"


def test_a_batch_has_the_time_of_its_header_and_the_events_of_its_items(
    served: Served, clip: bytes
) -> None:
    upload = str(uploaded(served, clip)["id"])
    items = [{"upload_id": upload, "webhook_events": ["job.failed", "job.failed"]}]

    made = served.http.post("/batches", json={"items": items}, headers={"Cancel-After": "60"})

    job = served.http.get(f"/jobs/{made.json()['items'][0]['job']}").json()
    assert (job["cancel_after"], job["webhook_events"]) == (60, ["job.failed"])


def test_a_job_that_ran_out_of_time_has_the_reason(served: Served, clip: bytes) -> None:
    upload, database = str(uploaded(served, clip)["id"]), served.services.database
    item = {"upload_id": upload, "cancel_after": 1}
    batch = served.http.post("/batches", json={"items": [item]}).json()["id"]
    with writing(database.engine) as connection:
        connection.execute(
            jobs.update().where(jobs.c.batch_id == batch).values(cancel_at=utc_now())
        )
    database.attempts.reap()

    (shown,) = served.http.get(f"/batches/{batch}").json()["items"]

    job = served.http.get(f"/jobs/{shown['job']}").json()
    assert job["state"] == shown["state"] == "canceled"
    assert job["error"] == shown["error"]
    assert job["error"]["code"] == "cancel_after"
    assert "within the 1 s of cancel_after" in job["error"]["detail"]


def test_the_same_key_with_another_time_is_another_request(served: Served, clip: bytes) -> None:
    files, key = {"audio": ("a", clip)}, {"Idempotency-Key": "times"}
    first = served.http.post("/generate", files=files, headers=key | {"Cancel-After": "60"})

    same = served.http.post("/generate", files=files, headers=key, data={"cancel_after": "60"})
    other = served.http.post("/generate", files=files, headers=key)

    assert same.json()["id"] == first.json()["id"]
    problem(other, 409, "idempotency_key_reused")


def test_events_of_a_form_are_a_list(served: Served, clip: bytes) -> None:
    form = {"webhook_events": "job.succeeded, job.canceled"}
    files = {"audio": ("a", clip)}

    sent = served.http.post("/generate", files=files, data=form)
    unknown = served.http.post("/generate", files=files, data={"webhook_events": "job.started"})

    assert sent.json()["webhook_events"] == ["job.succeeded", "job.canceled"]
    problem(unknown, 422, "invalid_request")


def test_an_unknown_job_cannot_be_canceled(served: Served) -> None:
    problem(served.http.post("/jobs/0198/cancel"), 404, "job_not_found")
    problem(served.http.get("/jobs/0198/cancel"), 405, "method_not_allowed")
