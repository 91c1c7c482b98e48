"""Person directories: statistics and speech once, person.json when complete."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.files import sha256_of
from contracts.person import DRAFT, FINISHING, MANIFEST, check_files, read_manifest
from models import checkpoint
from models.motion.pipeline import LONGEST_SECONDS, load_animator
from models.motion.speech import MelSpeech, load_speech
from models.motion.statistics import load_statistics
from tests import tiny_person
from tests.training.scenes import read_wav, write_scene
from training.data.scenes import FACE, POSE, window
from training.data.statistics import measure
from training.demo.body import DEMO_FACTS
from training.person_directory import (
    DEMO_SPEECH,
    FILES,
    complete,
    next_step,
    person_scenes,
    prepare,
)
from training.person_facts import DEFAULTS, write_draft

CPU = torch.device("cpu")
FACTS = {"name": "ada", "title": "Ada", "licence": "All rights reserved"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_scene(tmp_path / "data", "a", 40, missing=[3, 4])
    write_scene(tmp_path / "data", "b", 60)
    return tmp_path / "data"


@pytest.fixture
def person(tmp_path: Path) -> Path:
    return tiny_person.write_tiny_person(tmp_path)


def manifest(person: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((person / MANIFEST).read_text(encoding="utf-8"))
    return content


def test_a_finishing_is_a_file_of_the_person_and_names_her_controls(person: Path) -> None:
    steps = {"gestures": {"rest": {}, "limits": {}, "trunk": [2, 2]}, "smoothing": {"head": 3.0}}
    (person / FINISHING).write_text(json.dumps({"steps": steps}))
    assert complete(person)
    assert manifest(person)["controls"] == ["gestures"]
    assert FINISHING in manifest(person)["files"]
    (person / FINISHING).unlink()
    complete(person)
    assert "controls" not in manifest(person)


def test_a_new_person_gets_statistics_and_a_front_end(tmp_path: Path, data: Path) -> None:
    person = tmp_path / "people" / "ada"
    prepare(person, data)
    statistics = load_statistics(person / "stats.json", device=CPU)
    torch.testing.assert_close(statistics.code_mean, torch.tensor(measure(data)["code_mean"]))
    speech = load_speech(person / "speech.safetensors", device=CPU)
    assert isinstance(speech, MelSpeech)
    assert speech.config == DEMO_SPEECH


def test_existing_files_of_a_person_are_kept(tmp_path: Path, data: Path) -> None:
    person = tmp_path / "ada"
    prepare(person, data)
    before = {path.name: path.read_bytes() for path in person.iterdir()}
    write_scene(data, "c", 90)
    prepare(person, data)
    assert {path.name: path.read_bytes() for path in person.iterdir()} == before


def test_scenes_have_the_features_and_normalisation_of_the_worker(
    tmp_path: Path, data: Path
) -> None:
    person = tmp_path / "ada"
    prepare(person, data)
    scenes = person_scenes(person, data, POSE)
    assert [scene.frames for scene in scenes] == [40, 60]
    motion = torch.cat([scene.motion[:] for scene in scenes])
    assert motion.mean(0).abs().max() < 1e-3
    speech = load_speech(person / "speech.safetensors", device=CPU)
    audio = load_statistics(person / "stats.json", device=CPU).normalised_audio(
        torch.from_numpy(read_wav(data / "b_audio.wav"))
    )
    features = window(scenes[1], 0, 60)
    assert torch.equal(features.features, speech(audio[None])[0])
    assert not features.features.is_inference()
    face = window(person_scenes(person, data, FACE)[0], 0, 40)
    assert face.motion.shape == (40, 256)
    assert face.present.sum() == 38


@pytest.mark.parametrize("name", FILES)
def test_a_person_is_complete_only_with_all_files(person: Path, name: str) -> None:
    (person / MANIFEST).unlink()
    write_draft(person, DEMO_FACTS)
    (person / name).unlink()
    assert not complete(person, face="3 steps")
    assert not (person / MANIFEST).exists()


def test_a_complete_person_passes_its_checks_and_has_the_members_of_the_demo_person(
    person: Path,
) -> None:
    (person / MANIFEST).unlink()
    write_draft(person, DEMO_FACTS)
    assert complete(person, face="3 steps")
    check_files(person)
    assert not (person / DRAFT).exists()
    written = manifest(person)
    assert written["files"] == {name: sha256_of(person / name) for name in FILES}
    assert written["provenance"] == {"face": "3 steps"}
    for name, fact in DEMO_FACTS.items():
        assert written[name] == fact
    assert read_manifest(person).max_seconds == LONGEST_SECONDS
    assert load_animator(person, device=CPU).max_seconds == LONGEST_SECONDS


def test_a_person_without_title_and_licence_is_not_published(person: Path) -> None:
    (person / MANIFEST).unlink()
    assert not complete(person)
    assert not (person / MANIFEST).exists()
    assert "lacks title and licence; next: `python -m training new-person" in next_step(person)


def test_a_new_person_has_the_facts_of_the_owner_and_the_limits_of_the_networks(
    tmp_path: Path,
) -> None:
    person = tiny_person.write_tiny_person(tmp_path, "ada")
    (person / MANIFEST).unlink()
    write_draft(person, FACTS)
    assert complete(person)
    written = manifest(person)
    assert {name: written[name] for name in FACTS} == FACTS
    assert written["avatar"] == {"kind": "blendshape"}
    assert written["limits"] == {"max_seconds": LONGEST_SECONDS}
    assert written["defaults"] == DEFAULTS["mel"]


def test_a_copied_person_json_of_another_person_is_not_hers(tmp_path: Path) -> None:
    copy = tmp_path / "ada"
    shutil.copytree(tiny_person.write_tiny_person(tmp_path), copy)
    before = (copy / MANIFEST).read_bytes()
    assert not complete(copy)
    assert (copy / MANIFEST).read_bytes() == before
    assert "lacks title and licence" in next_step(copy)


def test_lips_are_a_file_of_the_person(person: Path) -> None:
    checkpoint.write(
        person / "lips.safetensors", asdict(tiny_person.LIPS), tiny_person.tiny_lips().state_dict()
    )
    assert complete(person)
    assert "lips.safetensors" in manifest(person)["files"]


def test_members_of_person_json_stay_except_the_digests(person: Path) -> None:
    before = manifest(person)
    (person / "face.safetensors").write_bytes((person / "body.safetensors").read_bytes())
    assert complete(person, face="3 steps")
    after = manifest(person)
    assert after["title"] == before["title"] != DEMO_FACTS["title"]
    assert after["defaults"] == before["defaults"]
    assert after["files"]["face.safetensors"] == after["files"]["body.safetensors"]
    check_files(person)


def test_provenance_is_stored_for_each_network(person: Path) -> None:
    complete(person, face="3 steps", body="5 steps")
    complete(person, face="6 steps")
    assert manifest(person)["provenance"] == {"face": "6 steps", "body": "5 steps"}


def test_another_version_of_a_file_is_another_version_of_the_person(person: Path) -> None:
    complete(person)
    before = read_manifest(person).digest
    complete(person)
    assert read_manifest(person).digest == before
    (person / "face.safetensors").write_bytes(b"better")
    complete(person)
    assert read_manifest(person).digest != before
