"""`python -m training`, from the command line to a file that workers load."""

import json
import sys
from pathlib import Path

import pytest
import torch

from contracts.person import check_files
from models.motion.tokenizer import load_tokenizer
from tests import tiny_person
from tests.training.scenes import write_turns
from training.__main__ import main
from training.loop.checkpoints import States
from training.networks.recipes import read_recipe

CPU = torch.device("cpu")
NETWORKS = {
    "tokenizer": "width = 8\ncodes = 8",
    "body": f"audio_channels = {tiny_person.AUDIO}\nwidth = 16\nlayers = 1\nheads = 2\nhidden = 16",
}


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


def test_a_recipe_of_a_user_is_trained_and_the_best_weights_are_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        write_turns(tmp_path / "data", name, 150)
    person, recipe = tiny_person.write_tiny_person(tmp_path), tmp_path / "mine.toml"
    recipe.write_text(
        'base = "demo"\nvalidation_scenes = 1\nkept_as = "float32"\n[network]\nwidth = 8\n'
        "codes = 8\n[[windows]]\nframes = 60\nbatch = 4\n"
        '[loop]\nvalidate_steps = 2\npublish = "best"\n'
        'schedule = { kind = "constant", rate = 0.5 }\n'  # so large that later ones are worse
    )
    words = ("tokenizer", "--data", tmp_path / "data", "--out", person, "--config", recipe)
    command(monkeypatch, *words, "--steps", 9, "--device", "cpu")
    work = person / ".training" / "tokenizer"
    published = person / "tokenizer.safetensors"
    assert published.read_bytes() == (work / "best.safetensors").read_bytes()
    check_files(person)
    state = States(work).newest()
    assert state is not None
    best = state["progress"]["best_step"]
    assert best in (2, 4, 6, 8)
    told = json.loads((person / "person.json").read_text())["provenance"]["tokenizer"]
    assert told == f"9 steps, 0 min, best at {best}"
    assert load_tokenizer(published, device=CPU).config.width == 8


def test_the_last_network_of_a_person_tells_how_all_were_made(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = tiny_person.write_tiny_person(tmp_path)
    (person / "person.json").unlink()
    (person / "guide.safetensors").rename(tmp_path / "guide")
    for name, steps in (("tokenizer", 1), ("body", 2)):
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(
            f'base = "demo"\n[network]\n{NETWORKS[name]}\n[[windows]]\nframes = 60\nbatch = 2\n'
        )
        words = (name, "--data", data, "--out", person, "--steps", steps, "--no-board")
        command(monkeypatch, *words, "--config", recipe, "--device", "cpu")
        assert not (person / "person.json").exists()
    (tmp_path / "guide").rename(person / "guide.safetensors")
    command(monkeypatch, *words, "--config", recipe, "--device", "cpu")
    told = json.loads((person / "person.json").read_text())["provenance"]
    assert told == {"tokenizer": "1 steps, 0 min", "body": "2 steps, 0 min"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--config", "nowhere.toml"), "no recipe at nowhere.toml"),
        pytest.param(
            ("--device", "cuda"),
            "--device cuda, but torch finds no GPU here; try --device cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU"),
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        command(monkeypatch, "face", "--data", data, "--out", tmp_path / "ada", *words)
    assert str(caught.value).startswith(f"python -m training: {said}")


def test_a_person_who_was_whole_is_whole_after_more_training(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = tiny_person.write_tiny_person(tmp_path)
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
    person, figures = tiny_person.write_tiny_person(tmp_path), tmp_path / "figures.json"
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
