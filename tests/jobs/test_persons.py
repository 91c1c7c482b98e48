"""Persons, read from their directories."""

import json
from pathlib import Path

import pytest

from jobs.persons import list_people, read_people

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
