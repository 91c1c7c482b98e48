"""Persons are loaded on first use, and again after a change."""

import gc
import hashlib
import json
from pathlib import Path

import pytest

from contracts.person import PersonError
from tests.api_server import write_person
from tests.worker.fakes import FakeAnimator, FakeAvatar
from worker.pipeline.persons import (
    Models,
    NoPeople,
    PersonCache,
    PersonDamaged,
    PersonUnknown,
)


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


def test_reference_cycles_are_not_searched_while_a_person_is_loaded(tmp_path: Path) -> None:
    enabled = []

    def load(folder: Path) -> Models:
        enabled.append(gc.isenabled())
        if len(enabled) == 1:
            raise MemoryError
        return Models(FakeAnimator(), FakeAvatar())

    people = PersonCache(write_person(tmp_path), load=load)
    with pytest.raises(MemoryError):
        people.get("demo")
    assert gc.isenabled()
    people.get("demo")

    assert enabled == [False, False]
    assert gc.isenabled()


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


def with_files(folder: Path, content: bytes) -> None:
    """Copy one new version of the person, file by file, person.json last."""
    (folder / "demo" / "body.safetensors").write_bytes(content)


def manifest(folder: Path, content: bytes) -> bytes:
    members = json.loads((folder / "demo" / "person.json").read_text())
    members["files"] = {"body.safetensors": hashlib.sha256(content).hexdigest()}
    return json.dumps(members).encode()


@pytest.mark.parametrize("last", ["person.json", "the files"])
def test_the_version_before_is_used_while_the_next_is_copied(tmp_path: Path, last: str) -> None:
    loader = Loader()
    folder = write_person(tmp_path)
    person_json = folder / "demo" / "person.json"
    with_files(folder, b"old")
    person_json.write_bytes(manifest(folder, b"old"))
    people = PersonCache(folder, load=loader)
    before = people.get("demo")
    new = manifest(folder, b"new")
    if last == "person.json":
        with_files(folder, b"new")
        assert people.get("demo") is before
        person_json.write_bytes(new[:40])  # half of it has arrived
    else:
        person_json.write_bytes(new)

    assert people.get("demo") is before
    assert people.get("demo") is before
    assert loader.loaded == ["demo"]

    with_files(folder, b"new")
    person_json.write_bytes(new)
    assert people.get("demo").digest != before.digest
    assert loader.loaded == ["demo", "demo"]


def test_an_incomplete_version_is_not_loaded(tmp_path: Path) -> None:
    loader = Loader()
    folder = write_person(tmp_path)
    (folder / "demo" / "person.json").write_bytes(manifest(folder, b"new"))
    people = PersonCache(folder, load=loader)
    for content in (None, b"ne"):
        if content is not None:
            with_files(folder, content)
        with pytest.raises(PersonError):
            people.get("demo")
        assert not people.usable("demo")
    with_files(folder, b"new")

    assert people.usable("demo")
    assert people.get("demo").name == "demo"


@pytest.mark.parametrize("readable", [True, False])
def test_a_version_that_changes_while_it_is_loaded_is_not_used(
    tmp_path: Path, readable: bool
) -> None:
    folder = write_person(tmp_path)
    with_files(folder, b"old")
    (folder / "demo" / "person.json").write_bytes(manifest(folder, b"old"))

    def load(path: Path) -> Models:
        with_files(folder, b"newer")
        if not readable:
            raise ValueError("half of a file")
        return Loader()(path)

    with pytest.raises(PersonError, match="changed while it was read"):
        PersonCache(folder, load=load).get("demo")


def test_people_that_are_not_mounted_are_no_unknown_person(tmp_path: Path) -> None:
    folder = write_person(tmp_path / "people")
    people = PersonCache(folder, load=Loader())
    before = people.get("demo")
    folder.rename(tmp_path / "elsewhere")

    assert people.get("demo") is before
    with pytest.raises(NoPeople):
        PersonCache(folder, load=Loader()).get("demo")


def test_a_damaged_person_is_no_unknown_person(tmp_path: Path) -> None:
    folder = write_person(tmp_path)
    write_person(tmp_path, "torn")
    (folder / "torn" / "person.json").write_text("{")
    people = PersonCache(folder, load=Loader())

    with pytest.raises(PersonDamaged):
        people.get("torn")
    assert not people.usable("torn")
    assert people.usable("nobody")  # its job learns that nobody has this name
