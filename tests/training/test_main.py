"""`python -m training`, from the command line to files that workers load."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from contracts.person import check_files
from models.motion.tokenizer import load_tokenizer
from tests import tiny_person
from tests.training.scenes import write_turns
from training.__main__ import main
from training.loop.checkpoints import CheckpointStore
from training.networks.recipes import read_recipe
from training.person_facts import write_draft

CPU = torch.device("cpu")
NETWORKS = {
    "tokenizer": "width = 8\ncodes = 8",
    "body": f"audio_channels = {tiny_person.AUDIO}\nwidth = 16\nlayers = 1\nheads = 2\nhidden = 16",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_turns(tmp_path / "data", "a", 601)
    return tmp_path / "data"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["training", *map(str, arguments)])
    main()


def test_a_tokenizer_is_trained_into_a_new_person_and_resumed(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, work = tmp_path / "ada", tmp_path / "work"
    for steps in (2, 3):
        command(
            monkeypatch,
            *("tokenizer", "--data", data, "--out", person, "--work", work, "--steps", steps),
        )
        saved = CheckpointStore(work / "tokenizer").latest()
        assert saved is not None
        assert saved["progress"]["step"] == steps
    assert load_tokenizer(person / "tokenizer.safetensors", device=CPU).config == (
        read_recipe("tokenizer", "demo").network
    )
    assert sorted(path.name for path in person.iterdir()) == [
        "speech.safetensors",
        "stats.json",
        "tokenizer.safetensors",
    ]


def test_the_best_weights_of_a_users_recipe_are_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        write_turns(tmp_path / "data", name, 150)
    person, recipe = tiny_person.write_tiny_person(tmp_path), tmp_path / "mine.toml"
    recipe.write_text(
        'base = "demo"\nvalidation_scenes = 1\nkept_as = "float32"\n[network]\nwidth = 8\n'
        "codes = 8\n[[windows]]\nframes = 60\nbatch = 4\n"
        '[loop]\nvalidate_steps = 2\npublish = "best"\n'
        'schedule = { kind = "constant", rate = 0.5 }\n'  # so high that later weights are worse
    )
    arguments = ("tokenizer", "--data", tmp_path / "data", "--out", person, "--config", recipe)
    command(monkeypatch, *arguments, "--steps", 9, "--device", "cpu")
    work = person / ".training" / "tokenizer"
    published = person / "tokenizer.safetensors"
    assert published.read_bytes() == (work / "best.safetensors").read_bytes()
    check_files(person)
    saved = CheckpointStore(work).latest()
    assert saved is not None
    best = saved["progress"]["best_step"]
    assert best in (2, 4, 6, 8)
    provenance = json.loads((person / "person.json").read_text())["provenance"]["tokenizer"]
    assert provenance == f"9 steps, 0 min, best at {best}"
    assert load_tokenizer(published, device=CPU).config.width == 8


def test_the_last_network_of_a_person_adds_the_provenance_of_all(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = tiny_person.write_tiny_person(tmp_path)
    facts = json.loads((person / "person.json").read_text())
    (person / "person.json").unlink()
    write_draft(person, {name: facts[name] for name in ("title", "licence")})
    (person / "guide.safetensors").rename(tmp_path / "guide")
    for name, steps in (("tokenizer", 1), ("body", 2)):
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(
            f'base = "demo"\n[network]\n{NETWORKS[name]}\n[[windows]]\nframes = 60\nbatch = 2\n'
        )
        arguments = (name, "--data", data, "--out", person, "--steps", steps, "--no-board")
        command(monkeypatch, *arguments, "--config", recipe, "--device", "cpu")
        assert not (person / "person.json").exists()
    (tmp_path / "guide").rename(person / "guide.safetensors")
    command(monkeypatch, *arguments, "--config", recipe, "--device", "cpu")
    provenance = json.loads((person / "person.json").read_text())["provenance"]
    assert provenance == {"tokenizer": "1 steps, 0 min", "body": "2 steps, 0 min"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "nowhere.toml"), "no recipe at nowhere.toml"),
        pytest.param(
            ("--device", "cuda"),
            "--device cuda, but torch finds no GPU here; try --device cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU"),
        ),
    ],
)
def test_an_error_is_one_sentence(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as caught:
        command(monkeypatch, "face", "--data", data, "--out", tmp_path / "ada", *arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"python -m training: {message}")


def test_a_complete_person_is_complete_after_more_training(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = tiny_person.write_tiny_person(tmp_path)
    command(monkeypatch, "tokenizer", "--data", data, "--out", person, "--steps", 1)
    check_files(person)
    provenance = json.loads((person / "person.json").read_text())["provenance"]
    assert provenance == {"tokenizer": "1 steps, 0 min"}
    assert CheckpointStore(person / ".training" / "tokenizer").latest() is not None


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
    printed: dict[str, float] = {}
    for line in capsys.readouterr().out.splitlines():
        name, value, *beside = line.split()
        printed[name] = float(value)
        if beside:
            printed[f"{name}_truth"] = float(beside[1])
    assert printed == pytest.approx(written, rel=1e-3, nan_ok=True)


@pytest.mark.parametrize(
    "arguments",
    [[], ["singer"], ["face"], ["face", "--data", "d", "--out", "o", "--steps", "many"],
     ["face", "--data", "d", "--out", "o", "--steps", "3", "--minutes", "1"]],
)  # fmt: skip
def test_an_invalid_command_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, *arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m training")
    assert line.endswith("; --help lists all options")


def test_a_folder_without_scenes_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, "face", "--data", tmp_path, "--out", tmp_path / "ada", "--steps", 1)
    assert re.search(r"no scenes .* make-demo", capsys.readouterr().err)
    assert not (tmp_path / "ada").exists()
