"""`both`: each of the two people is checked, stored and rendered again."""

from pathlib import Path

import pytest

from contracts.provenance import joint_digest
from jobs.persons import list_people
from jobs.request.model import motion_digest
from tests.api.routes.test_render import job_with_motion, render
from tests.api_server import Served
from tests.audio_clips import write_clip
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")


def test_a_job_of_two_persons_has_the_consent_of_both(served: Served, clip: bytes) -> None:
    form = {"both": "true", "partner_person": "ada", "layout": "files", "seed": "3"}

    answer = served.http.post("/generate", files={"audio": clip}, data=form)

    assert answer.status_code == 202, answer.text
    view = answer.json()
    request = view["request"]
    assert (request["both"], request["partner_person"]) == (True, "ada")
    assert (request["layout"], request["size"]) == ("files", "512x512")
    assert view["consent"] == view["partner_consent"] is not None
    for name in ("demo", "ada"):
        listed = served.http.get("/jobs", params={"person": name}).json()["jobs"]
        assert view["id"] in [job["id"] for job in listed]
    alone = served.http.post("/generate", files={"audio": clip}).json()
    assert alone["partner_consent"] is None


@pytest.mark.parametrize(
    ("form", "code", "field"),
    [
        ({"partner_person": "nobody"}, "person_unknown", "partner_person"),
        ({"size": "2048", "views": "front,side"}, "size_unsupported", "size"),
        ({"both": "false", "partner_person": "ada"}, "invalid_request", "partner_person"),
    ],
)
def test_what_only_one_of_them_allows_is_refused(
    served: Served, clip: bytes, form: dict[str, str], code: str, field: str
) -> None:
    answer = served.http.post("/generate", files={"audio": clip}, data={"both": "true"} | form)

    assert [each["field"] for each in problem(answer, 422, code)["errors"]] == [field]


def test_a_clip_is_not_longer_than_the_shorter_limit(served: Served, tmp_path: Path) -> None:
    longer = write_clip(tmp_path / "longer.wav", seconds=2.0).read_bytes()
    form = {"both": "true", "partner_person": "ada"}

    answer = served.http.post("/generate", files={"audio": longer}, data=form)

    problem(answer, 422, "clip_too_long")


def test_the_motion_of_both_is_rendered_in_another_layout(
    served: Served, clip: bytes, tmp_path: Path
) -> None:
    one = job_with_motion(served, tmp_path, clip=clip)  # type: ignore[arg-type]
    problem(render(served, one.id, layout="files"), 422, "invalid_request")
    served.services.database.attempts.fail(one.id, 1, "code", "Why.")
    two = job_with_motion(served, tmp_path, clip=clip, both="true")  # type: ignore[arg-type]
    problem(render(served, two.id), 409, "motion_outdated")
    demo = next(p for p in list_people(served.services.settings.people) if p.name == "demo")
    digest = motion_digest(two.request, joint_digest([demo.digest] * 2))
    assert two.motion_key is not None
    served.services.database.attempts.record_motion(
        two.id, 1, motion_key=two.motion_key, digest=digest
    )

    answer = render(served, two.id, layout="files")

    assert answer.status_code == 202, answer.text
    view = answer.json()
    assert (view["request"]["both"], view["request"]["layout"]) == (True, "files")
    assert view["partner_consent"] == view["consent"]
