"""Persons, read from their directories."""

import json
from pathlib import Path

import pytest

from jobs.persons import (
    ControlUnsupported,
    PeopleMissing,
    list_people,
    read_people,
    require_people,
)
from jobs.request.model import GenerateRequest

DEFAULTS = {
    "steps": 50,
    "guidance_face": 1.5,
    "guidance_body": 1.5,
    "diversity": 0.97,
    "size": "512x512",
}


def write_person(folder: Path, name: str, **changed: object) -> None:
    manifest = {
        "schema": 1,
        "name": name,
        "title": name.title(),
        "licence": "CC0-1.0",
        "limits": {"max_seconds": 20.0},
        "defaults": DEFAULTS,
        "files": {},
    } | changed
    (folder / name).mkdir(parents=True)
    (folder / name / "person.json").write_text(json.dumps(manifest))


def test_persons_are_read_from_their_person_json(tmp_path: Path) -> None:
    write_person(tmp_path, "demo")
    write_person(tmp_path, "ada", limits={"max_seconds": 60})

    ada, demo = list_people(tmp_path)

    assert (ada.name, ada.max_seconds, demo.title) == ("ada", 60.0, "Demo")
    assert demo.defaults.steps == 50
    assert "student" not in demo.samplers
    assert ada.digest != demo.digest
    assert (ada.views, ada.default_views) == ((), ())  # without cameras.json the worker decides


def test_the_first_camera_is_the_default_unless_person_json_sets_views(tmp_path: Path) -> None:
    for name, more in (("ada", {}), ("demo", {"views": ["side", "front"]})):
        write_person(tmp_path, name, defaults=DEFAULTS | more)
        cameras = {"cameras": [{"name": "front"}, {"name": "side"}]}
        (tmp_path / name / "cameras.json").write_text(json.dumps(cameras))

    ada, demo = list_people(tmp_path)

    assert ada.views == demo.views == ("front", "side")
    assert (ada.default_views, ada.defaults.views) == (("front",), None)
    assert demo.default_views == demo.defaults.views == ("side", "front")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b'{"cameras": 1}', b'{"cameras": [{}]}', b'{"cameras": ["a"]}'],
)
def test_a_person_with_unreadable_cameras_is_still_listed(tmp_path: Path, content: bytes) -> None:
    write_person(tmp_path, "demo")
    (tmp_path / "demo" / "cameras.json").write_bytes(content)

    assert [person.views for person in list_people(tmp_path)] == [()]


def test_an_invalid_person_is_left_out_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_person(tmp_path, "demo")
    write_person(tmp_path, "mute", limits={})
    write_person(tmp_path, "liar")
    (tmp_path / "liar").rename(tmp_path / "moved")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "person.json").write_bytes(b'{"name": "to\xff')

    assert [person.name for person in list_people(tmp_path)] == ["demo"]
    left_out = {Path(record.path).parent.name for record in caplog.records}
    assert left_out == {"mute", "moved", "torn"}
    assert list_people(tmp_path / "nowhere") == []


def test_each_person_that_is_left_out_has_a_reason(tmp_path: Path) -> None:
    write_person(tmp_path, "demo")
    write_person(tmp_path, "slow", defaults={**DEFAULTS, "steps": "many"})
    write_person(tmp_path, "nameless", title=None)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "person.draft.json").write_text("{}")
    (tmp_path / "demo" / "person.draft.json").write_text("{}")  # left by an interrupted command

    people = read_people(tmp_path)

    assert [person.name for person in people.valid] == ["demo"]
    assert list(people.left_out) == ["nameless", "new", "slow"]
    assert people.reason("nameless") == (
        f"nameless is left out: {tmp_path}/nameless/person.json: title: missing; add it to "
        "person.json"
    )
    assert "new is left out: its training is not complete" in people.reason("new")
    assert "person.json: defaults.steps: Input should be a valid integer" in people.reason("slow")
    assert people.reason("unknown").count(" is left out: ") == 3
    assert read_people(tmp_path / "nowhere").reason("unknown") == ""


def test_a_person_stays_listed_while_person_json_is_replaced(tmp_path: Path) -> None:
    write_person(tmp_path, "demo")
    before = list_people(tmp_path)
    path = tmp_path / "demo" / "person.json"
    path.write_bytes(path.read_bytes()[:50])

    assert list_people(tmp_path) == before
    assert list(read_people(tmp_path).left_out) == ["demo"]


def test_a_missing_and_an_empty_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(PeopleMissing, match="is missing; mount it"):
        require_people(tmp_path / "people")
    (tmp_path / "people").mkdir()
    with pytest.raises(PeopleMissing, match="no valid person"):
        require_people(tmp_path / "people")
    write_person(tmp_path / "people", "demo")

    assert [person.name for person in require_people(tmp_path / "people").valid] == ["demo"]


def test_a_student_is_one_of_the_samplers_of_a_person(tmp_path: Path) -> None:
    made = {"steps": 4, "guidance_face": 1.5, "guidance_body": 1.5}
    write_person(tmp_path, "demo", student=made)
    (demo,) = list_people(tmp_path)
    assert "student" in demo.samplers
    assert vars(demo.defaults.student) == made
    assert "student" not in demo.model_dump()["defaults"]


def test_a_person_lists_the_controls_that_she_supports(tmp_path: Path) -> None:
    write_person(tmp_path, "ada")
    write_person(tmp_path, "demo", controls=["gestures"])
    ada, demo = list_people(tmp_path)
    assert (ada.controls, demo.controls) == ((), ("gestures",))
    demo.check_controls(GenerateRequest(gestures=1.5))
    ada.check_controls(GenerateRequest(gestures=1, expressiveness=1.0))
    with pytest.raises(ControlUnsupported, match="gestures: 'ada' does not support it; leave it"):
        ada.check_controls(GenerateRequest(gestures=1.5))
    write_person(tmp_path, "eve", controls=["volume"])
    assert "person.json is damaged" in read_people(tmp_path).left_out["eve"]


@pytest.mark.parametrize("wrong", [{"steps": 4}, "yes", {"steps": "x"}])
def test_a_person_with_a_damaged_student_is_left_out(tmp_path: Path, wrong: object) -> None:
    write_person(tmp_path, "demo", student=wrong)
    assert "person.json is damaged" in read_people(tmp_path).left_out["demo"]
