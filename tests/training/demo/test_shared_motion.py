"""People with the motion networks of another: links, manner, person.json."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.files import sha256_of
from contracts.person import FINISHING, MANIFEST, check_files, read_manifest
from models.finishing.animator import load_finished_animator
from tests.tiny_avatar import write_tiny_avatar
from tests.tiny_person import write_tiny_person
from training.demo.body import facts_of
from training.demo.manner import MANNERS
from training.demo.mesh.looks import LOOKS
from training.demo.shared_motion import link_motion, share_motion
from training.person_directory import complete

PEOPLE = Path(__file__).parents[3] / "people"
CPU = torch.device("cpu")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_tiny_person(tmp_path)


@pytest.fixture
def sam(tmp_path: Path, base: Path) -> Path:
    person = tmp_path / "sam"
    person.mkdir()
    write_tiny_avatar(person)
    share_motion(person, base, facts_of("sam"))
    return person


def members(person: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((person / MANIFEST).read_text(encoding="utf-8"))
    return content


def test_the_person_is_complete_and_loads(sam: Path, base: Path) -> None:
    check_files(sam)
    written, theirs = members(sam), members(base)
    assert (written["name"], written["title"]) == ("sam", LOOKS["sam"].title)
    assert written["defaults"] == theirs["defaults"]
    assert written["provenance"]["motion"] == "networks of the person 'demo'"
    links = {path.name for path in sam.iterdir() if path.is_symlink()}
    assert links == theirs["files"].keys() - {"avatar.safetensors", "cameras.json"}
    assert load_finished_animator(sam, device=CPU).max_seconds > 0


def test_new_files_of_the_other_person_are_shared_and_old_ones_are_not(
    sam: Path, base: Path
) -> None:
    (base / "lips.safetensors").write_bytes((base / "face.safetensors").read_bytes())
    complete(base)
    share_motion(sam, base, facts_of("sam"))
    assert members(sam)["files"]["lips.safetensors"] == sha256_of(base / "face.safetensors")
    (base / "lips.safetensors").unlink()
    complete(base)
    share_motion(sam, base, facts_of("sam"))
    assert "lips.safetensors" not in members(sam)["files"]
    assert not (sam / "lips.safetensors").is_symlink()
    check_files(sam)


def test_a_network_that_is_written_over_a_link_belongs_to_the_person(sam: Path, base: Path) -> None:
    before = sha256_of(base / "stats.json")
    link_motion(sam, base)
    draft = sam / "draft"
    draft.write_text((base / "stats.json").read_text() + "\n")
    draft.replace(sam / "stats.json")
    assert complete(sam)
    assert sha256_of(base / "stats.json") == before != members(sam)["files"]["stats.json"]


@pytest.mark.parametrize("name", MANNERS)
def test_shipped_people_are_intact_and_share_the_motion_of_the_demo_person(name: str) -> None:
    person, demo = PEOPLE / name, read_manifest(PEOPLE / "demo")
    check_files(person)
    found = read_manifest(person)
    shared = {path.name for path in person.iterdir() if path.is_symlink()}
    assert shared and all(demo.files[file] == found.files[file] for file in shared)
    assert (found.defaults, found.controls) == (demo.defaults, demo.controls)
    named = {*found.files, MANIFEST}
    assert {path.name for path in person.iterdir()} == named


@pytest.mark.parametrize("name", MANNERS)
def test_a_shipped_manner_is_that_of_the_other_person_with_its_changes(name: str) -> None:
    steps, theirs = (
        json.loads((PEOPLE / each / FINISHING).read_text())["steps"] for each in (name, "demo")
    )
    for step, values in theirs.items():
        changed = {each for each in steps[step] if steps[step][each] != values.get(each)}
        declared = MANNERS[name].steps.get(step, {})
        assert changed - {"rest"} == declared.keys(), step
        assert all(json.loads(json.dumps(declared[each])) == steps[step][each] for each in declared)
