"""`views` of POST /generate: the cameras of a person, side by side."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from jobs.settings import Settings
from tests.api_server import Served, serving, write_person
from tests.problems import problem


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("views")
    people = folder / "people"
    write_person(people, "pair", cameras=["left", "right", "top"], views=["left", "right"])
    write_person(people, "blind", cameras=[])
    write_person(people, "demo")
    with serving(Settings(data=folder / "data", people=people)) as server:
        yield server


def generate(served: Served, audio: bytes, **fields: str | list[str]) -> httpx.Response:
    return served.http.post("/generate", files={"audio": ("talk.wav", audio)}, data=fields)


@pytest.mark.parametrize("views", ["side,front", "side, front", ["side", "front"]])
def test_views_are_a_list_in_either_form(
    served: Served, clip: bytes, views: str | list[str]
) -> None:
    answer = generate(served, clip, views=views)

    job = answer.json()
    assert (answer.status_code, job["request"]["views"]) == (202, ["side", "front"])
    stored = served.services.database.jobs.get(job["id"]).request
    assert stored.views == ("side", "front")
    assert served.http.get(f"/jobs/{job['id']}").json()["request"]["views"] == ["side", "front"]


@pytest.mark.parametrize("fields", [{}, {"views": ""}, {"views": " "}])
def test_no_view_means_the_default(served: Served, clip: bytes, fields: dict[str, str]) -> None:
    assert generate(served, clip, **fields).json()["request"]["views"] is None


@pytest.mark.parametrize("views", ["front,", "a,b,c,d,e", "front,front", "../front", "f" * 65])
def test_an_invalid_list_of_views_is_refused(served: Served, clip: bytes, views: str) -> None:
    body = problem(generate(served, clip, views=views), 422, "invalid_request")

    assert body["errors"][0]["field"].split(".")[0] == "views"


def test_a_student_that_the_person_lacks_is_refused(served: Served, clip: bytes) -> None:
    body = problem(generate(served, clip, sampler="student"), 422, "sampler_unsupported")

    assert body["detail"].startswith("sampler: 'demo' has no student; make one with")
    assert [error["field"] for error in body["errors"]] == ["sampler"]
    people = {each["name"]: each for each in served.http.get("/people").json()["people"]}
    assert "student" not in people["demo"]["samplers"]


def test_a_control_that_the_person_lacks_is_refused(served: Served, clip: bytes) -> None:
    body = problem(generate(served, clip, gestures="1.5"), 422, "control_unsupported")

    assert body["detail"] == "gestures: 'demo' does not support it; leave it out."
    assert [error["field"] for error in body["errors"]] == ["gestures"]
    assert generate(served, clip, gestures="1", expressiveness="1.0").status_code == 202


def test_a_shading_that_the_person_lacks_is_refused(served: Served, clip: bytes) -> None:
    body = problem(generate(served, clip, shading="full"), 422, "shading_unsupported")

    assert body["detail"].startswith(
        "shading: 'demo' has only fast, because this person's picture is learned"
    )
    assert [error["field"] for error in body["errors"]] == ["shading"]
    people = {each["name"]: each for each in served.http.get("/people").json()["people"]}
    assert people["demo"]["shadings"] == ["fast"]
    assert generate(served, clip, shading="fast").status_code == 202


def test_an_unknown_view_is_refused_with_the_known_ones(served: Served, clip: bytes) -> None:
    body = problem(generate(served, clip, views="front,below"), 422, "view_unknown")

    assert body["detail"] == "View 'below' of 'demo' not found; available: front, side, back."
    assert body["errors"] == [{"field": "views", "detail": body["detail"]}]


def test_views_are_not_checked_when_cameras_cannot_be_read(served: Served, clip: bytes) -> None:
    assert generate(served, clip, person="blind", views="below").status_code == 202


@pytest.mark.parametrize(
    "fields",
    [
        {"size": "1366x720", "views": "front,side,back"},
        {"size": "2048", "views": "front,side,back"},
    ],
)
def test_views_that_are_too_wide_together_are_refused(
    served: Served, clip: bytes, fields: dict[str, str]
) -> None:
    body = problem(generate(served, clip, **fields), 422, "size_unsupported")

    assert "at most 1364 wide" in body["detail"]
    assert body["errors"][0]["field"] == "size"
    assert generate(served, clip, **fields | {"size": "1364"}).status_code == 202


def test_default_views_count_for_the_width(served: Served, clip: bytes, tmp_path: Path) -> None:
    write_person(served.services.settings.people, "trio", views=["front", "side", "back"])

    problem(generate(served, clip, person="trio", size="2048"), 422, "size_unsupported")
    assert generate(served, clip, person="trio", size="2048", views="front").status_code == 202


def test_another_view_under_the_same_key_is_another_request(served: Served, clip: bytes) -> None:
    files, key = {"audio": ("talk.wav", clip)}, {"idempotency-key": "views"}

    def post(views: str) -> httpx.Response:
        return served.http.post("/generate", files=files, headers=key, data={"views": views})

    assert post("front").status_code == 202
    assert post("front").headers["idempotent-replayed"] == "true"
    problem(post("side"), 409, "idempotency_key_reused")


def test_people_list_their_views(served: Served) -> None:
    people = {each["name"]: each for each in served.http.get("/people").json()["people"]}

    pair, demo = people["pair"], people["demo"]
    assert (pair["views"], pair["default_views"]) == (["left", "right", "top"], ["left", "right"])
    assert (demo["views"], demo["default_views"]) == (["front", "side", "back"], ["front"])
    assert "views" not in pair["defaults"]


def test_the_field_is_documented(served: Served) -> None:
    document = served.http.get("/openapi.json").json()

    form = document["components"]["schemas"]["GenerateForm"]["properties"]["views"]
    assert (form["type"], form["minItems"], form["maxItems"]) == ("array", 1, 4)
    assert "side by side" in form["description"]
    assert "views" in document["components"]["schemas"]["JobRequest"]["properties"]
