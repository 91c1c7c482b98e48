"""Persons are loaded on first use, and again after a change."""

import json
from pathlib import Path

import pytest

from tests.api_server import write_person
from tests.worker.fakes import FakeAnimator, FakeAvatar
from worker.pipeline.persons import Models, PersonCache, PersonUnknown


class Loader:
    """Fake loader that records the names of its folders."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def __call__(self, folder: Path) -> Models:
        self.loaded.append(folder.name)
        return Models(FakeAnimator(), FakeAvatar())


def change_title(folder: Path, title: str) -> None:
    path = folder / "demo" / "person.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"title": title}))


def test_a_person_is_loaded_once_on_first_use(tmp_path: Path) -> None:
    loader = Loader()
    people = PersonCache(write_person(tmp_path), load=loader)
    assert loader.loaded == []

    first, second = people.get("demo"), people.get("demo")

    assert first is second
    assert loader.loaded == ["demo"]
    assert first.defaults.size == "512x512"


def test_a_new_version_is_loaded_without_a_restart(tmp_path: Path) -> None:
    loader = Loader()
    people = PersonCache(write_person(tmp_path), load=loader)
    before = people.get("demo")
    change_title(tmp_path, "Another face")

    after = people.get("demo")

    assert after.digest != before.digest
    assert people.get("demo") is after
    assert loader.loaded == ["demo", "demo"]


def test_the_least_recently_used_person_is_evicted_first(tmp_path: Path) -> None:
    for name in ("ada", "ben", "eve"):
        write_person(tmp_path, name)
    loader = Loader()
    people = PersonCache(tmp_path, load=loader, in_memory=2)

    for name in ("ada", "ben", "ada", "eve", "ada", "ben"):
        people.get(name)

    assert loader.loaded == ["ada", "ben", "eve", "ben"]


def test_the_message_for_an_unknown_person_lists_all_persons(tmp_path: Path) -> None:
    people = PersonCache(write_person(tmp_path), load=Loader())

    with pytest.raises(PersonUnknown, match="unknown person 'ada'; available: demo"):
        people.get("ada")


def test_a_person_that_could_not_be_loaded_is_loaded_again(tmp_path: Path) -> None:
    errors = [ValueError("a file is missing")]
    loader = Loader()

    def load(folder: Path) -> Models:
        if errors:
            raise errors.pop()
        return loader(folder)

    people = PersonCache(write_person(tmp_path), load=load)
    with pytest.raises(ValueError, match="missing"):
        people.get("demo")

    assert people.get("demo").name == "demo"
