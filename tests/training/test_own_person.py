"""Commands of docs/your-own-person.md in other orders: what they say is missing, and next.

The page in its own order is run by tests/docs.
"""

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from contracts.person import check_files
from tests.audio_clips import write_clip
from tests.docs.small import humming_voices
from tests.house.source import ROOT
from tests.training.tiny_training import NETWORKS, write_recipe
from training.__main__ import main
from training.demo.speech import conversations

MANUAL = ROOT / "docs" / "your-own-person.md"
BLOCKS = [
    [line for line in block.splitlines() if not line.startswith(("pip ", "sudo "))]
    for block in re.findall(r"```sh\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.S)
]
FOUR, _EXTRAS, CHECK, ONE_BY_ONE, _RELEASED = BLOCKS
TINY = ["--steps", "1", "--config", "recipes", "--device", "cpu", "--no-board"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with tiny recipes, and voices that need no extra."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISAVIS_DEVICE", "cpu")
    monkeypatch.setattr(conversations, "training_voices", humming_voices)
    monkeypatch.setattr("training.commands.data._check_speech_engines", lambda **_: None)
    (tmp_path / "recipes").mkdir()
    for name in NETWORKS:
        write_recipe(tmp_path / "recipes" / f"{name}.toml", name)
    write_clip(tmp_path / "conversation.wav", seconds=0.5)
    return tmp_path


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command of the manual, with tiny settings."""
    words = shlex.split(line)
    environment = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    if words[0] == "visavis-server":
        options = ["--size", "64x64", "--steps", "2"]
        done = CliRunner().invoke(app, [*words[1:], *options], env=environment)
        assert done.exit_code == 0, done.output
        return
    assert words[:3] == ["python", "-m", "training"]
    arguments = words[3:]
    if "--minutes" in arguments:
        place = arguments.index("--minutes")
        arguments[place : place + 2] = ["--minutes", "0.2"] if arguments[0] == "data" else TINY
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    main()


def members(person: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((person / "person.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.slow
def test_trainers_name_what_is_missing_and_the_next_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in FOUR[:2]:
        run(line, monkeypatch)
    printed = [capsys.readouterr().out.splitlines()[-1]]
    for line in [*CHECK, *ONE_BY_ONE]:
        run(line, monkeypatch)
        printed.append(capsys.readouterr().out.splitlines()[-1])

    start, _, tokenizer, face, body, guide = printed
    assert start.endswith(
        "next: `python -m training tokenizer --data DIR --out people/ada --config demo`"
    )
    assert tokenizer == (
        "people/ada lacks body.safetensors, face.safetensors, guide.safetensors; next: `python -m "
        "training face --data recordings --out people/ada --config recipes`"
    )
    assert "lacks body.safetensors, guide.safetensors; next: `python -m training body" in face
    assert "lacks guide.safetensors; next: `python -m training guide" in body
    assert guide.startswith("people/ada is complete")
    check_files(folder / "people" / "ada")


@pytest.mark.slow
def test_title_licence_and_avatar_may_come_last(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, new, train, generate = FOUR
    for line in (data, train):
        run(line, monkeypatch)
    printed = capsys.readouterr().out.splitlines()[-1]
    assert printed == (
        "people/ada lacks title and licence, avatar.safetensors, cameras.json; next: `python -m "
        'training new-person people/ada --title "..." --licence "..." --avatar demo|PATH`'
    )
    for line in (new, generate):
        run(line, monkeypatch)
    assert (folder / "conversation.mp4").is_file()
    assert members(folder / "people" / "ada")["title"] == "Ada"
