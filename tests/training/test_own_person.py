"""docs/your-own-person.md: its commands, from conversations to a video, with tiny settings."""

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import av
import pytest
from numpy.random import Generator
from typer.testing import CliRunner

from cli.main import app
from contracts.person import check_files
from models.motion.lips import LipRegressor
from models.motion.speech import ConvSpeech
from tests import released_layout
from tests.audio_clips import write_clip
from tests.fake_speech import HummingEngine
from tests.house.source import ROOT
from tests.released_layout import state_of, write_assets
from tests.training.tiny_training import AUDIO, NETWORKS, write_recipe
from training.__main__ import main
from training.demo.body import DEMO_FACTS
from training.demo.speech import conversations
from training.demo.speech.voices import Voice

MANUAL = ROOT / "docs" / "your-own-person.md"
BLOCKS = [
    [line for line in block.splitlines() if not line.startswith(("pip ", "sudo "))]
    for block in re.findall(r"```sh\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.S)
]
FOUR, EXTRAS, CHECK, ONE_BY_ONE, RELEASED = BLOCKS
TINY = ["--steps", "1", "--config", "recipes", "--device", "cpu", "--no-board"]


def humming_voices(_rng: Generator) -> tuple[Voice, Voice]:
    return Voice(HummingEngine("low", 120.0)), Voice(HummingEngine("high", 220.0), 1.1)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with tiny recipes, and voices that need no extra."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISAVIS_DEVICE", "cpu")
    monkeypatch.setattr(conversations, "training_voices", humming_voices)
    monkeypatch.setattr("training.commands.data._check_speech_engines", lambda: None)
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
    if "--config" in arguments and arguments[0] == "person" and "released" in arguments:
        place = arguments.index("--config")
        arguments[place : place + 2] = [
            "released-recipes" if word == "recipes" else word for word in TINY
        ]
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    main()


def members(person: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((person / "person.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.slow
def test_the_commands_of_the_manual_make_a_person_and_a_video(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(FOUR) <= 6
    for line in FOUR:
        run(line, monkeypatch)

    person = folder / "people" / "ada"
    check_files(person)
    assert not (person / "person.draft.json").exists()
    written = members(person)
    assert written["name"] == "ada"
    assert written["title"] == "Ada"
    assert written["licence"] == "All rights reserved, Ada Example"
    assert written["avatar"] == {"kind": "blendshape"}
    assert written["provenance"].keys() == {"avatar", "tokenizer", "face", "body", "guide"}
    text = (person / "person.json").read_text(encoding="utf-8")
    assert not any(DEMO_FACTS[name] in text for name in ("title", "licence"))
    assert '"demo"' not in text
    with av.open(str(folder / "conversation.mp4")) as video:
        assert video.streams.video[0].frames == 15
    assert "people/ada is complete: `VISAVIS_PEOPLE=people visavis-server generate" in (
        capsys.readouterr().out
    )


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


@pytest.mark.slow
def test_the_released_recipe_trains_on_imported_speech_networks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = state_of("speech_vq", ConvSpeech(released_layout.SPEECH))
    write_assets(folder, speech, state_of("lip", LipRegressor(released_layout.LIPS)))
    (folder / "released-recipes").mkdir()
    widths = {"face": released_layout.FACE, "body": released_layout.BODY}
    for name in NETWORKS:
        path = write_recipe(folder / "released-recipes" / f"{name}.toml", name)
        width = widths.get(name, released_layout.GUIDE).audio_channels
        text = path.read_text().replace(f"audio_channels = {AUDIO}", f"audio_channels = {width}")
        text = text.replace("longest_rows = 120", "longest_rows = 1998")
        path.write_text(text.replace("longest_keys = 4", "longest_keys = 20"))

    for line in (FOUR[0], *RELEASED, FOUR[-1]):
        run(line, monkeypatch)

    person = folder / "people" / "ada"
    check_files(person)
    written = members(person)
    assert "lips.safetensors" in written["files"]
    assert written["defaults"]["guidance_face"] == 10.0
    assert written["licence"] == "CC BY-NC 4.0"
    assert (folder / "conversation.mp4").is_file()
    capsys.readouterr()
    line = "python -m training face --data recordings --out people/ada --minutes 1"
    with pytest.raises(SystemExit, match="2"):  # the log-mel recipe does not fit any more
        run(line, monkeypatch)
    assert "front end of this person (released speech network and lips) has 22" in (
        capsys.readouterr().err
    )
