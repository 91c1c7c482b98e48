"""The command `distill` with a tiny person: what it writes, and when a student is left out."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.person import MANIFEST, check_files, read_manifest
from models.motion.pipeline import STUDENTS, Sampling, load_animator
from tests.tiny_person import write_tiny_person
from tests.training.scenes import write_scene
from training.__main__ import parser
from training.commands import distill as distill_command
from training.networks import distillation
from training.person_directory import complete

CPU = torch.device("cpu")


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny person, a recording of five seconds, and clips of four and five."""
    write_scene(tmp_path / "data", "a", 150)
    monkeypatch.setattr(distill_command, "LENGTHS", (120, 150))
    return write_tiny_person(tmp_path)


def distill(person: Path, *options: str) -> None:
    arguments = ["distill", "--person", str(person), "--data", str(person.parent / "data")]
    chosen = parser().parse_args([*arguments, "--device", "cpu", *options])
    chosen.run(chosen)


def facts(person: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((person / MANIFEST).read_text(encoding="utf-8"))
    return content


def test_a_student_is_trained_declared_and_used(
    person: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_manifest(person).student is None

    distill(person, "--calls", "2", "--clips", "3", "--steps", "2")

    printed = capsys.readouterr().out
    assert "face: predictions times" in printed
    assert "sampler=student" in printed
    assert facts(person)["student"] == {"steps": 2, "guidance_face": 1.5, "guidance_body": 1.5}
    assert set(STUDENTS.values()) <= facts(person)["files"].keys()
    assert facts(person)["provenance"]["student"].startswith("2 calls, 3 clips; face 2 steps")
    check_files(person)
    animator = load_animator(person, device=CPU)
    sampling = Sampling((1,), 2, 1.5, 1.5, 0.9, "student")
    assert animator.animate(torch.zeros(48_000, 2), sampling)[0].face.isfinite().all()

    def refuse(*_: object) -> None:
        raise AssertionError("a clip that exists is sampled again")

    monkeypatch.setattr(distillation, "_sample_clip", refuse)
    distill(person, "--calls", "2", "--clips", "3", "--steps", "3")
    assert "face 3 steps" in facts(person)["provenance"]["student"]


def test_a_student_of_other_networks_is_not_declared(person: Path) -> None:
    distill(person, "--calls", "1", "--clips", "2", "--steps", "1")
    with (person / "face.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")
    assert complete(person)
    assert "student" not in facts(person)
    assert not set(STUDENTS.values()) & facts(person)["files"].keys()


def test_recordings_that_are_too_short_are_refused(person: Path) -> None:
    write_scene(person.parent / "data", "a", 140)
    with pytest.raises(ValueError, match=r"no training scene has 5 s"):
        distill(person, "--steps", "1")
    assert not (person / ".training").exists()
