"""The command `export`, and `render-results` with motion that comes back from other tools."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from models.animation.npz import write_npz
from models.avatar.blendshape.kind import load_blendshape_avatar
from tests.audio_clips import write_clip
from tests.cli.conftest import Call
from tests.models.animation.conftest import motion_of
from tests.models.animation.gltf_reader import assert_valid


@pytest.fixture
def motion(people: Path, tmp_path: Path) -> Path:
    """Motion of 12 frames, as the output `motion` has it."""
    figure = load_blendshape_avatar(people / "demo", device=torch.device("cpu")).figure("demo")
    write_npz(tmp_path / "talk.npz", figure, motion_of(figure, 12), person="demo", seed=5)
    return tmp_path / "talk.npz"


def pictures(path: Path) -> NDArray[np.int16]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        shown = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names]
    return np.stack(shown).astype(np.int16)


def test_motion_is_written_in_several_formats(
    call: Call, people: Path, motion: Path, tmp_path: Path
) -> None:
    done = call(
        "export", "talk.npz", "--format", "glb,bvh,csv,obj,npz", "--frame", "3",
        "--out", "again.glb", VISAVIS_PEOPLE=str(people),
    )  # fmt: skip

    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "again.glb", "again.bvh", "again.csv", "again.obj", "again.npz",
    ]  # fmt: skip
    assert_valid(tmp_path / "again.glb")
    assert "demo, frame 3;" in (tmp_path / "again.obj").read_text()
    with np.load(motion) as old, np.load(tmp_path / "again.npz") as new:
        assert all(np.array_equal(old[name], new[name]) for name in old.files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "fbx"], "--format: unknown format 'fbx'; choose from motion, bvh"),
        (["--format", "mp4"], "--format: unknown format 'mp4'"),
        (["--format", "bvh", "--out", "x.glb"], "--out: x.glb is not a .bvh file"),
        (["--format", "bvh", "--person", "ada"], "Unknown person 'ada'"),
        (["--format", "obj", "--frame", "12"], "Frame: the motion has no frame 12; choose 0 to 11"),
        (["--format", "vrma"], "Skeleton: joints of demo for spine"),
    ],
)
def test_invalid_arguments_are_reported_and_leave_no_file(
    call: Call, people: Path, motion: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    before = set(tmp_path.iterdir())

    done = call("export", "talk.npz", *arguments, VISAVIS_PEOPLE=str(people))

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert set(tmp_path.iterdir()) == before


def test_motion_through_bvh_and_csv_gives_the_pictures_of_the_motion_itself(
    call: Call, people: Path, motion: Path, tmp_path: Path
) -> None:
    write_clip(tmp_path / "sound.wav", seconds=0.4)
    environment = {"VISAVIS_PEOPLE": str(people), "VISAVIS_WATERMARK": "off"}
    call("export", "talk.npz", "--format", "bvh,csv", **environment)
    options = ["--person", "demo", "--format", "png", "--audio", "sound.wav"]
    options += ["--background", "#336699"]

    direct = call("render-results", "talk.npz", "--out", "direct", *options, **environment)
    edited = call(
        "render-results", "talk.bvh", "--face", "talk.csv", "--out", "edited", *options,
        **environment,
    )  # fmt: skip

    assert (direct.exit_code, edited.exit_code) == (0, 0), direct.output + edited.output
    ours, theirs = (pictures(tmp_path / name / "talk.zip") for name in ("direct", "edited"))
    assert len(ours) == 12
    assert (np.abs(theirs - ours) > 2).mean() < 1e-3  # single pixels at edges
    with zipfile.ZipFile(tmp_path / "edited" / "talk.zip") as archive:
        assert any(archive.read("sound.wav")[44:])


def test_audio_and_truth_belong_to_one_kind_of_motion_each(
    call: Call, people: Path, motion: Path
) -> None:
    environment = {"VISAVIS_PEOPLE": str(people)}
    command = ["render-results", "talk.npz", "--person", "demo", "--out", "out"]

    truth = call(*command, "--truth", **environment)
    audio = call(*command, "--audio", "absent.wav", **environment)

    assert truth.stderr.startswith("--truth: motion of one take has no recorded motion")
    assert audio.stderr.startswith("--audio: no recording at absent.wav")


def test_a_person_is_exported_as_vrm(call: Call, people: Path, tmp_path: Path) -> None:
    demo = Path(__file__).parents[3] / "people" / "demo"

    done = call("export-person", str(demo), "--format", "vrm", "--out", "demo.vrm")
    other = call("export-person", str(demo), "--format", "fbx", "--out", "demo.fbx")

    assert done.exit_code == 0, done.output
    assert_valid(tmp_path / "demo.vrm")
    assert other.stderr.startswith("--format: unknown format 'fbx'; choose released or vrm")
