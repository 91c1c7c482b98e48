"""A user's mistake on any command line: one sentence on stderr, exit status 2, nothing written."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bench.__main__ import main as bench
from cli.main import app
from tests import tiny_person
from tests.audio_clips import write_clip
from tests.training.scenes import write_scene
from training.__main__ import main as training
from training.data.audio import write_wav

Main = Callable[[], None]

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
MAINS: dict[str, Main] = {"training": training, "bench": bench}
TRAIN = "--out new --data"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with datasets, people and a clip, good ones and bad ones; no mistake changes it."""
    folder = tmp_path_factory.mktemp("mistakes")
    for name in ("good", "rate", "length", "few", "damaged"):
        write_scene(folder / name, "a", 150)
    write_scene(folder / "good", "b", 150)
    write_scene(folder / "short", "a", 20)
    (folder / "empty").mkdir()
    (folder / "file").write_text("not a folder")
    mono = np.zeros((150 * 1600, 1), np.float32)
    write_wav(folder / "rate" / "a_audio.wav", mono)
    np.save(folder / "length" / "a_body_pose.npy", np.zeros((149, 104), np.float32))
    (folder / "few" / "a_face_expression.npy").unlink()
    (folder / "damaged" / "a_face_expression.npy").write_bytes(b"\x93NUMPY")
    tiny_person.write_tiny_person(folder / "people", "ada")
    (folder / "untrained").mkdir()
    shutil.copytree(folder / "people" / "ada", folder / "people" / "bob")
    shutil.copytree(folder / "people" / "ada", folder / "torn")
    (folder / "torn" / "avatar.safetensors").write_bytes(b"torn")
    (folder / "people" / "draft").mkdir()
    (folder / "people" / "draft" / "person.draft.json").write_text('{"title": "D"}')
    (folder / "bad.toml").write_text('base = "demo"\nmelody = 1\n')
    (folder / "small.toml").write_text('base = "demo"\n[[windows]]\nframes = 60\nbatch = 1\n')
    write_clip(folder / "talk.wav", seconds=0.2)
    (folder / "talk.txt").write_text("hello")
    return folder


@pytest.fixture
def folder(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the prepared folder the working directory."""
    monkeypatch.chdir(prepared)
    monkeypatch.setenv("VISAVIS_DATA", str(prepared / "data"))
    monkeypatch.setenv("VISAVIS_PEOPLE", str(prepared / "people"))
    monkeypatch.setenv("VISAVIS_DEVICE", "cpu")
    return prepared


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (f"face {TRAIN} nowhere", "nowhere: folder not found"),
        (f"face {TRAIN} empty", "empty: no scenes"),
        (f"body {TRAIN} rate", "must have 48000 Hz and 2 channels"),
        (f"body {TRAIN} length", "150 frames of face codes for 149 frames of pose"),
        (f"tokenizer {TRAIN} few", "missing a_face_expression.npy"),
        (f"tokenizer {TRAIN} damaged", "truncated or not a numpy array"),
        (f"tokenizer {TRAIN} short", "the longest training scene has 20 frames"),
        (f"guide {TRAIN} good --config small.toml", "first run `python -m training tokenizer"),
        (f"face {TRAIN} good --config released", "the face recipe expects 2038 audio channels"),
        (f"body {TRAIN} good --config nowhere.toml", "no recipe at nowhere.toml"),
        (f"body {TRAIN} good --config bad.toml", "melody"),
        (f"body {TRAIN} good --steps 0", "--steps: must be at least 1, got 0"),
        (f"body {TRAIN} good --minutes -3", "--minutes: must be above 0, got -3"),
        (f"body {TRAIN} good --minutes soon", "--minutes: must be a number, got 'soon'"),
        (f"body {TRAIN} good --threads 0", "--threads: must be at least 1"),
        (f"person {TRAIN} nowhere", "nowhere: folder not found"),
        ("face --data good --out file/new", "file is not a folder"),
        ("face --data good", "the following arguments are required: --out"),
        ("singer", "invalid choice: 'singer'"),
        pytest.param(f"face {TRAIN} good --device cuda", "torch finds no GPU here", marks=NO_GPU),
        ("new-person new --title Ada", "--licence: missing"),
        ("new-person new --title Ada --licence mine --name eve", "must be the name of the folder"),
        (
            "new-person new --title Ada --licence mine --avatar empty",
            "empty/avatar.safetensors not",
        ),
        ("new-person new --title Ada --licence mine --speech released", "needs --assets"),
        ("new-person new --title A --licence B --speech released --assets empty", "vq-wav2vec.pt"),
        ("new-person people/ada --title Ada --licence mine", "person.json exists"),
        ("data check nowhere", "nowhere: folder not found"),
        ("data stats empty", "empty: no scenes"),
        ("data stats good --out nowhere/stats.json", "no folder nowhere"),
        ("data features good --person untrained", "speech.safetensors: weights not found"),
        ("data features good --person people/ada --piece-seconds 0", "--piece-seconds: must be"),
        ("data make-demo new --minutes 0", "--minutes: must be above 0"),
        ("data download nobody", "no recordings of 'nobody' were released"),
        ("sample --person untrained --data good --out new", "no person at untrained"),
        ("sample --person people/ada --data good --out new --split train", "too few for a train"),
        ("sample --person people/ada --data good --out new", "longer than 600 frames"),
        ("evaluate --person people/ada", "needs either --data to sample, or --results"),
        ("evaluate --person people/ada --results nowhere.npz", "results not found"),
        ("new-person new --title A --licence B --avatar torn", "torn/avatar.safetensors: damaged"),
        ("judge --person untrained --data good", "no person at untrained"),
        ("judge --person torn --data good --seconds 2", "invalid blendshape avatar"),
        ("judge --person people/ada --data good --seconds 60", "no scene has 60 s"),
        ("judge --person people/ada --data good --json nowhere/x.json", "no folder nowhere"),
    ],
)
def test_a_mistake_with_training_is_one_sentence(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    sentence: str,
) -> None:
    check_python_command(folder, monkeypatch, capsys, "training", line, sentence)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("motion --seconds 2", "must be 4 to 20 s"),
        ("motion --steps many", "must be a whole number, got 'many'"),
        ("motion --json nowhere/x.json", "no folder nowhere"),
        pytest.param("motion --device cuda", "torch finds no GPU here", marks=NO_GPU),
        ("training --frames 5", "must be 60 to 600, got 5"),
        ("avatar --sizes large", "must be WxH, such as 512x512, got 'large'"),
        ("avatar --person nowhere", "no avatar at nowhere/avatar.safetensors"),
        ("avatar --kind codec --person nowhere", "nowhere/avatar.safetensors: weights not found"),
        ("service --clients 0", "--clients: must be at least 1"),
        ("speed", "invalid choice: 'speed'"),
    ],
)
def test_a_mistake_with_bench_is_one_sentence(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    sentence: str,
) -> None:
    check_python_command(folder, monkeypatch, capsys, "bench", line, sentence)


def check_python_command(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    package: str,
    line: str,
    sentence: str,
) -> None:
    monkeypatch.setattr(sys, "argv", [package, *line.split()])
    before = snapshot(folder)
    with pytest.raises(SystemExit) as caught:
        MAINS[package]()
    printed = capsys.readouterr()
    assert caught.value.code == 2
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1, printed.err
    assert printed.err.startswith(f"python -m {package}")
    assert sentence in printed.err
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("generate nowhere.wav", "no recording at nowhere.wav"),
        ("generate talk.txt --person ada", "no supported audio format"),
        ("generate talk.wav --person eve", "Unknown person 'eve'; available: ada; bob is left out"),
        ("generate talk.wav --person bob", "name: 'ada' is not the name of its folder"),
        ("generate talk.wav --person draft", "its training is not complete"),
        ("generate talk.wav --person ada --out nowhere/v.mp4", "no folder nowhere"),
        ("generate talk.wav --person ada --steps 0", "--steps: should be greater than or equal"),
        ("render-dataset nowhere --person ada --out new", "nowhere: folder not found"),
        ("render-dataset empty --person ada --out new", "empty: no scenes"),
        ("render-dataset rate --person ada --out new", "must have 48000 Hz and 2 channels"),
        ("render-dataset length --person ada --out new", "149 frames of pose"),
        ("render-dataset good --person eve --out new", "Unknown person 'eve'"),
        ("render-dataset good --person ada --out file/new", "file/new: Not a directory"),
        ("render-results nowhere.npz --person ada --out new", "results not found"),
        ("import-person nowhere --person PXB184", "nowhere: neither a folder nor"),
        ("import-person empty --person PXB184", "not found in"),
        ("export-person untrained --out new", "no person at untrained"),
        ("download-person XYZ", "no released person 'XYZ'"),
        ("up --submit nowhere.wav", "--submit: file not found"),
        ("up --submit talk.wav --out file/new", "file is not a folder"),
    ],
)
def test_a_mistake_with_visavis_server_is_one_sentence(
    folder: Path, line: str, sentence: str
) -> None:
    before = snapshot(folder)
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 2, (done.output, done.exception)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert sentence in done.stderr
    assert snapshot(folder) == before


def test_an_invalid_database_address_is_one_sentence(folder: Path) -> None:
    for address in ("nonsense", "oracles://host/name"):
        done = CliRunner().invoke(app, ["migrate"], env={"VISAVIS_DATABASE_URL": address})
        assert done.exit_code == 2
        assert done.stderr.startswith("VISAVIS_DATABASE_URL: ")
    assert not (folder / "data").exists()


@NO_GPU
def test_a_missing_gpu_is_one_sentence(folder: Path) -> None:
    done = CliRunner().invoke(
        app, ["generate", "talk.wav", "--person", "ada"], env={"VISAVIS_DEVICE": "cuda"}
    )
    assert done.exit_code == 2
    assert done.stderr.startswith("VISAVIS_DEVICE: cuda is not available")
    assert not (folder / "talk.mp4").exists()


def test_conversations_need_an_extra_and_two_programs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "data make-demo new --minutes 0.1"
    monkeypatch.setattr("training.commands.data.find_spec", lambda _name: None)
    sentence = "run `pip install 'visavis-server[demo-person]'`"
    check_python_command(folder, monkeypatch, capsys, "training", line, sentence)
    monkeypatch.setattr("training.commands.data.find_spec", lambda _name: "found")
    monkeypatch.setattr("training.commands.data.shutil.which", lambda _name: None)
    sentence = "make-demo needs flite, which is not installed; on Debian run `apt install flite"
    check_python_command(folder, monkeypatch, capsys, "training", line, sentence)


def test_a_fault_of_the_program_keeps_its_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("training.commands.data.check", fail)
    monkeypatch.setattr(sys, "argv", ["training", "data", "check", "good"])
    with pytest.raises(KeyError, match="a bug"):
        training()
