"""`python -m training`, from the command line to a file that workers load."""

import json
import sys
from pathlib import Path

import pytest
import torch

from models.motion.tokenizer import load_tokenizer
from models.person import check_files
from tests import tiny
from tests.training.scenes import write_turns
from training.__main__ import main
from training.recipes import read_recipe
from training.states import States

CPU = torch.device("cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_turns(tmp_path / "data", "a", 601)
    return tmp_path / "data"


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["training", *map(str, words)])
    main()


def test_a_tokenizer_is_trained_into_a_new_person_and_goes_on(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, work = tmp_path / "ada", tmp_path / "work"
    for steps in (2, 3):
        command(
            monkeypatch,
            *("tokenizer", "--data", data, "--out", person, "--work", work, "--steps", steps),
        )
        state = States(work / "tokenizer").newest()
        assert state is not None
        assert state["progress"]["step"] == steps
    assert load_tokenizer(person / "tokenizer.safetensors", device=CPU).config == (
        read_recipe("tokenizer", "demo").network
    )
    assert sorted(path.name for path in person.iterdir()) == [
        "speech.safetensors",
        "stats.json",
        "tokenizer.safetensors",
    ]


def test_a_person_who_was_whole_is_whole_after_more_training(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = tiny.write_tiny_person(tmp_path)
    command(monkeypatch, "tokenizer", "--data", data, "--out", person, "--steps", 1)
    check_files(person)
    provenance = json.loads((person / "person.json").read_text())["provenance"]
    assert provenance == {"tokenizer": "1 steps, 0 min"}
    assert States(person / ".training" / "tokenizer").newest() is not None


def test_the_judge_prints_its_figures_and_writes_them(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    person, figures = tiny.write_tiny_person(tmp_path), tmp_path / "figures.json"
    command(
        monkeypatch,
        *("judge", "--person", person, "--data", data, "--clips", 1, "--seconds", 4),
        *("--steps", 1, "--json", figures),
    )
    written = json.loads(figures.read_text())
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert printed.keys() == written.keys()
    assert float(printed["body_spread_ratio"]) == pytest.approx(
        written["body_spread_ratio"], abs=1e-3
    )


@pytest.mark.parametrize(
    "words",
    [[], ["singer"], ["face"], ["face", "--data", "d", "--out", "o", "--steps", "many"],
     ["face", "--data", "d", "--out", "o", "--steps", "3", "--minutes", "1"]],
)  # fmt: skip
def test_a_command_that_cannot_be_says_how_it_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, *words)
    assert "usage: python -m training" in capsys.readouterr().err


def test_a_folder_without_scenes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"no scenes .* make-demo"):
        command(monkeypatch, "face", "--data", tmp_path, "--out", tmp_path / "ada", "--steps", 1)
