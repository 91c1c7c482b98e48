"""POST /jobs/{id}/render: existing motion is rendered again."""

from pathlib import Path

import httpx
import pytest

from jobs.model import Job, State
from jobs.persons import list_people
from jobs.request.model import motion_digest
from jobs.storage.factory import ObjectMissing
from jobs.storage.keys import attempt_key
from tests.api.services.test_multipart_uploads import uploaded
from tests.api_server import Served
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")

MOTION = b"the motion of a job"


def job_with_motion(served: Served, folder: Path, **form: str) -> Job:
    """A running job whose motion is stored."""
    files = {"audio": "clip", "partner": "partner"}
    sent = {field: ("a", form.pop(name)) for field, name in files.items() if name in form}
    answer = served.http.post("/generate", files=sent, data={"takes": "2"} | form)
    assert answer.status_code == 202, answer.text
    database, storage = served.services.database, served.services.storage
    job = database.attempts.claim("worker-1")
    assert job is not None
    assert job.id == answer.json()["id"]
    key = attempt_key(job.id, 1, "motion.npz")
    (folder / "motion.npz").write_bytes(MOTION)
    storage.put(key, folder / "motion.npz", "application/octet-stream")
    person = next(p for p in list_people(served.services.settings.people) if p.name == "demo")
    assert database.attempts.record_motion(
        job.id, 1, motion_key=key, digest=motion_digest(job.request, person.digest)
    )
    return database.jobs.get(job.id)


def render(
    served: Served, job_id: str, key: str | None = None, **request: object
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return served.http.post(f"/jobs/{job_id}/render", json=request, headers=headers)


def test_the_motion_is_rendered_from_another_view(
    served: Served, clip: bytes, tmp_path: Path
) -> None:
    source = job_with_motion(served, tmp_path, clip=clip)  # type: ignore[arg-type]

    answer = render(served, source.id, views=["side"], size=256, takes=[2], metadata={"a": "b"})

    assert answer.status_code == 202, answer.text
    view = answer.json()
    assert answer.headers["location"] == f"/jobs/{view['id']}"
    assert view["id"] != source.id
    request = view["request"]
    assert (request["views"], request["size"], request["shown"]) == (["side"], "256x256", [2])
    assert (request["seed"], request["takes"]) == (source.request.seed, 2)
    assert view["metadata"] == {"a": "b"}
    new_job = served.services.database.jobs.get(view["id"])
    assert new_job.motion_digest == source.motion_digest
    assert new_job.state is State.QUEUED


def test_either_job_may_be_deleted(served: Served, clip: bytes, tmp_path: Path) -> None:
    source = job_with_motion(served, tmp_path, clip=clip)  # type: ignore[arg-type]
    new_job = served.services.database.jobs.get(render(served, source.id).json()["id"])
    storage = served.services.storage
    assert new_job.motion_key is not None

    served.http.delete(f"/jobs/{source.id}")

    assert b"".join(storage.open(new_job.motion_key)) == MOTION
    assert b"".join(storage.open(new_job.input_key)) == clip
    served.http.delete(f"/jobs/{new_job.id}")
    for key in (new_job.motion_key, new_job.input_key):
        with pytest.raises(ObjectMissing):
            storage.stat(key)


def test_an_upload_is_not_copied(served: Served, clip: bytes, tmp_path: Path) -> None:
    source = job_with_motion(served, tmp_path, upload_id=uploaded(served, clip)["id"])

    new_job = served.services.database.jobs.get(render(served, source.id).json()["id"])

    assert new_job.input_key == source.input_key


def test_a_job_that_failed_after_its_motion_can_be_rendered(
    served: Served, clip: bytes, tmp_path: Path
) -> None:
    source = job_with_motion(served, tmp_path, clip=clip)  # type: ignore[arg-type]
    served.services.database.attempts.fail(
        source.id, 1, "out_of_memory", "The GPU cannot hold one frame."
    )

    view = render(served, source.id, size=128, format="webm", background="#fff").json()

    assert (view["request"]["format"], view["request"]["background"]) == ("webm", "#ffffff")


def test_the_same_request_gives_the_same_job(served: Served, clip: bytes, tmp_path: Path) -> None:
    source = job_with_motion(served, tmp_path, clip=clip)  # type: ignore[arg-type]

    first, again = (render(served, source.id, "render-1", size=128) for _ in range(2))

    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    problem(render(served, source.id, "render-1", size=64), 409, "idempotency_key_reused")


def test_invalid_requests_are_refused(served: Served, clip: bytes, tmp_path: Path) -> None:
    source = job_with_motion(served, tmp_path, clip=clip)  # type: ignore[arg-type]
    for request, code in (
        ({"views": ["roof"]}, "view_unknown"),
        ({"size": "2048", "views": ["front", "side", "back"]}, "size_unsupported"),
        ({"takes": [3]}, "take_unknown"),
        ({"takes": [0]}, "invalid_request"),
        ({"takes": []}, "invalid_request"),
        ({"seed": 3}, "invalid_request"),
        ({"background": "transparent"}, "invalid_request"),
        ({"callback_url": "https://10.0.0.1/"}, "callback_url_refused"),
    ):
        problem(render(served, source.id, **request), 422, code)


def test_a_job_without_motion_cannot_be_rendered(served: Served, clip: bytes) -> None:
    job_id = served.http.post("/generate", files={"audio": ("a", clip)}).json()["id"]

    assert "yet" in problem(render(served, job_id), 409, "motion_missing")["detail"]
    served.services.database.jobs.cancel(job_id)
    assert "will have none" in problem(render(served, job_id), 409, "motion_missing")["detail"]
    problem(render(served, "x"), 404, "job_not_found")


def test_motion_of_a_changed_person_is_outdated(
    served: Served, clip: bytes, tmp_path: Path
) -> None:
    source = job_with_motion(served, tmp_path, clip=clip)  # type: ignore[arg-type]
    manifest = served.services.settings.people / "demo" / "person.json"
    before = manifest.read_bytes()
    manifest.write_bytes(before + b"\n")
    try:
        body = problem(render(served, source.id), 409, "motion_outdated")
    finally:
        manifest.write_bytes(before)

    assert "'demo' has changed" in body["detail"]


def test_copies_for_the_new_job_count_as_stored_bytes(
    served: Served, clip: bytes, tmp_path: Path
) -> None:
    source = job_with_motion(served, tmp_path, clip=clip)  # type: ignore[arg-type]

    def stored() -> int:
        tenants = served.services.database.tenants.all(source.created_at.date())
        return next(each.usage.stored_bytes for each in tenants if each.name == source.tenant)

    before = stored()
    assert render(served, source.id).status_code == 202

    assert stored() - before == len(clip) + len(MOTION)
