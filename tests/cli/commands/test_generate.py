"""The command `generate`: video without servers."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import av
import pytest

from contracts.outputs import OUTPUTS
from jobs.model import JobWarning
from jobs.sandbox.audio_probe import probe
from tests.audio_clips import write_clip
from tests.cli.conftest import Call


def frames_and_width(path: Path) -> tuple[int, int]:
    with av.open(str(path)) as video:
        return video.streams.video[0].frames, video.streams.video[0].width


@pytest.mark.usefixtures("reader_child")
def test_a_clip_becomes_a_video(call: Call, people: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "talk.wav", seconds=1.0)

    done = call("generate", "talk.wav", "--seed", "3", VISAVIS_PEOPLE=str(people))

    assert done.exit_code == 0, done.output
    assert frames_and_width(tmp_path / "talk.mp4") == (30, 64)
    assert done.stdout.splitlines()[-1].startswith("talk.mp4  ")
    stages = [line.split()[0] for line in done.stdout.splitlines()[:-1]]
    assert list(dict.fromkeys(stages)) == [  # a slow stage has several lines
        "decode", "speech", "face", "guide", "body", "render", "publish",
    ]  # fmt: skip
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"talk.wav", "talk.mp4"}  # no data folder of a server


def test_warnings_about_the_clip_are_printed(
    call: Call, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "talk.wav", seconds=0.2, channels=1)
    cut = JobWarning("audio_cut_off", "The file is cut off.")
    monkeypatch.setattr(
        "worker.pipeline.recording_outputs.probe",
        lambda clip, limits: replace(probe(clip, limits=limits), warnings=(cut,)),
    )

    done = call("generate", "talk.wav", "--outputs", "motion", VISAVIS_PEOPLE=str(people))

    assert (done.exit_code, done.stderr) == (0, "warning: The file is cut off.\n")


def test_each_person_can_have_a_file(call: Call, people: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "talk.wav", seconds=0.2, channels=1)
    write_clip(tmp_path / "partner.flac", seconds=1.5, channels=1)
    arguments = ["generate", "talk.wav", "--partner", "partner.flac", "--person-channel", "left"]

    done = call(*arguments, VISAVIS_PEOPLE=str(people))

    assert done.exit_code == 0, done.output
    assert frames_and_width(tmp_path / "talk.mp4")[0] == 45
    assert done.stderr.startswith("warning: The file in audio is 1.30 s shorter")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mono.wav", "--partner", "none.wav"], "no recording at none.wav"),
        (["mono.wav", "--partner", "talk.wav"], "Audio has 1 channel and partner 2 channels"),
        (["talk.wav", "--partner", "mono.wav"], "Audio has 2 channels and partner 1 channel"),
        (["mono.wav", "--person-channel", "right"], "Audio has 1 channel and person_channel"),
        (["talk.wav", "--person-channel", "middle"], "--person-channel: should be 'left' or"),
    ],
)
def test_files_and_channels_that_do_not_fit_are_refused(
    call: Call, people: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    write_clip(tmp_path / "talk.wav", seconds=0.2)
    write_clip(tmp_path / "mono.wav", seconds=0.2, channels=1)

    done = call("generate", *arguments, VISAVIS_PEOPLE=str(people))

    assert (done.exit_code, done.stderr[: len(message)]) == (2, message)
    assert {path.name for path in tmp_path.iterdir()} == {"talk.wav", "mono.wav"}


def test_several_takes_are_numbered(call: Call, people: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "talk.mp3", seconds=0.5)
    arguments = ["generate", "talk.mp3", "--out", "v.mp4", "--takes", "2", "--size", "96x64"]

    done = call(*arguments, VISAVIS_PEOPLE=str(people))

    assert done.exit_code == 0, done.output
    assert [frames_and_width(tmp_path / f"v-take-{take}.mp4")[1] for take in (1, 2)] == [96, 96]
    assert not (tmp_path / "v.mp4").exists()


def test_views_are_side_by_side(call: Call, people: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "talk.wav", seconds=0.2)
    arguments = ["generate", "talk.wav", "--views", "side, front", "--size", "96x64"]

    done = call(*arguments, VISAVIS_PEOPLE=str(people))

    assert done.exit_code == 0, done.output
    assert frames_and_width(tmp_path / "talk.mp4")[1] == 192


@pytest.mark.parametrize(
    ("arguments", "name", "codec"),
    [
        (["--out", "v.mov"], "v.mov", "prores"),
        (["--format", "webm", "--background", "#20242c"], "talk.webm", "vp9"),
        (["--format", "mp4", "--out", "v.MP4", "--supersampling", "3"], "v.MP4", "h264"),
        (["--outputs", "video", "--out", "v.webm"], "v.webm", "vp9"),
    ],
)
def test_the_file_name_or_an_option_selects_the_format(
    call: Call, people: Path, tmp_path: Path, arguments: list[str], name: str, codec: str
) -> None:
    write_clip(tmp_path / "talk.wav", seconds=0.2)

    done = call("generate", "talk.wav", *arguments, VISAVIS_PEOPLE=str(people))

    assert done.exit_code == 0, done.output
    with av.open(str(tmp_path / name)) as video:
        assert video.streams.video[0].codec_context.name == codec


def test_the_same_seed_gives_the_same_video(call: Call, people: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "talk.wav", seconds=0.2)
    for name in ("a.mp4", "b.mp4"):
        call(
            "generate", "talk.wav", "--out", name, "--seed", "3",
            VISAVIS_PEOPLE=str(people), VISAVIS_SIGN="false",
        )  # fmt: skip

    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["none.wav"], 2, "no recording at none.wav"),
        (["talk.wav", "--out", "no/v.mp4"], 2, "no folder no for v.mp4; create it"),
        (["talk.wav", "--person", "ada"], 2, "Unknown person 'ada'; available: demo."),
        (["text.wav"], 2, "The file has no supported audio format; send wav"),
        (["long.mp3"], 2, "The clip is 6.00 s, and the limit is 5 s; cut it."),
        (["talk.wav", "--views", "back"], 2, "Unknown camera 'back'; this person has front, side."),
        (["talk.wav", "--views", "front,front"], 2, "--views: view 'front' is listed 2 times"),
        (["talk.wav", "--views", "front,"], 2, "--views: invalid view name ''; write"),
        (["talk.wav", "--background", "transparent"], 2, "--background: mp4 cannot be"),
        (["talk.wav", "--background", "pink"], 2, "--background: invalid colour 'pink'; write"),
        (["talk.wav", "--format", "gif"], 2, "--format: should be 'mp4', 'fmp4'"),
        (["talk.wav", "--supersampling", "9"], 2, "--supersampling: should be less than"),
        (["talk.wav", "--views", "a,b,c", "--size", "2048"], 2, "3 views of 2048x2048 make a"),
    ],
)
def test_invalid_arguments_and_clips_are_reported_in_one_message(
    call: Call, people: Path, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    write_clip(tmp_path / "talk.wav", seconds=0.2)
    if arguments == ["long.mp3"]:
        write_clip(tmp_path / "long.mp3", seconds=6)
    (tmp_path / "text.wav").write_text("this is a letter")

    done = call("generate", *arguments, VISAVIS_PEOPLE=str(people), VISAVIS_MAX_CLIP_SECONDS="5")

    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr.startswith(message)
    assert list(tmp_path.glob("*.mp4")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "v.avi"], "--out: v.avi has the unknown suffix '.avi'; write one of .mp4, .mov"),
        (["--out", "v.bin", "--format", "mp4"], "--out: v.bin has the unknown suffix '.bin'; wri"),
        (["--out", "v.1"], "--out: v.1 has the unknown suffix '.1'; write one of .mp4, .mov, .web"),
        (["--out", "video"], "--out: video has no suffix; write one of .mp4, .mov, .webm, "),
        (["--out", "."], "--out: . has no suffix; write one of .mp4, .mov, .webm, "),
        (["--out", "v.mov", "--format", "mp4"], "--out: v.mov contradicts --format or --outputs"),
        (["--out", "v.npz", "--format", "webm"], "--out: v.npz contradicts --format or --outputs"),
        (["--out", "v.mp4", "--outputs", "motion"], "--out: v.mp4 contradicts --format or --outpu"),
        (
            ["--out", "v.zip", "--format", "mp4", "--takes", "2"],
            "--out: v.zip contradicts --format or",
        ),
    ],
)
def test_the_suffix_of_the_file_must_be_that_of_an_output(
    call: Call, people: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    write_clip(tmp_path / "talk.wav", seconds=0.2)

    done = call("generate", "talk.wav", *arguments, VISAVIS_PEOPLE=str(people))

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"talk.wav"}


def test_the_list_of_suffixes_has_every_output(call: Call, tmp_path: Path) -> None:
    done = call("generate", "talk.wav", "--out", "v.avi")

    assert all(output.suffix in done.stderr for output in OUTPUTS)


def test_several_outputs_take_the_name_of_the_file(
    call: Call, people: Path, tmp_path: Path
) -> None:
    write_clip(tmp_path / "talk.wav", seconds=0.2)
    arguments = ["--outputs", "video,motion,preview", "--out", "v.npz"]

    done = call("generate", "talk.wav", *arguments, VISAVIS_PEOPLE=str(people))

    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.iterdir()} == {
        "talk.wav", "v.npz", "v.npz.c2pa", "v.mp4", "v-preview.mp4",
    }  # fmt: skip


def test_a_preview_alone_has_the_name_of_the_file(call: Call, people: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "talk.wav", seconds=0.2)

    done = call(
        "generate", "talk.wav", "--outputs", "preview", "--out", "v.mp4", VISAVIS_PEOPLE=str(people)
    )

    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.iterdir()} == {"talk.wav", "v.mp4"}


def test_a_damaged_person_is_reported_with_the_name_of_the_file(
    call: Call, people: Path, tmp_path: Path
) -> None:
    write_clip(tmp_path / "talk.wav", seconds=0.2)
    copy = Path(shutil.copytree(people, tmp_path / "people"))
    (copy / "demo" / "face.safetensors").write_bytes(b"other bytes")

    done = call("generate", "talk.wav", VISAVIS_PEOPLE=str(copy))

    assert done.exit_code == 2
    assert "face.safetensors does not match person.json" in done.stderr


def test_every_output_of_a_command_is_signed_and_detected(
    call: Call, people: Path, tmp_path: Path
) -> None:
    write_clip(tmp_path / "talk.wav", seconds=0.2)
    arguments = ["--format", "webm", "--outputs", "video,preview,motion", "--seed", "3"]
    done = call("generate", "talk.wav", *arguments, VISAVIS_PEOPLE=str(people))
    assert done.exit_code == 0, done.output
    names = ["talk.webm", "talk.npz", "talk.mp4"]
    assert {path.name for path in tmp_path.glob("talk.*")} == {
        *names, "talk.wav", "talk.webm.c2pa", "talk.npz.c2pa",
    }  # fmt: skip

    found = [call("detect", name) for name in names]
    (tmp_path / "talk.webm.c2pa").unlink()
    removed = call("detect", "talk.webm")

    assert [each.stdout.splitlines()[0] for each in found] == ["manifest   valid"] * 3
    assert removed.exit_code == 1 and removed.stdout.startswith("manifest   removed; ")


def test_uses_that_a_consent_does_not_cover_are_refused(
    call: Call, people: Path, tmp_path: Path
) -> None:
    write_clip(tmp_path / "talk.wav", seconds=0.2)
    shutil.copytree(people, tmp_path / "people")
    (manifest,) = (tmp_path / "people").glob("*/person.json")
    members = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({name: members[name] for name in members if name != "consent"}))

    done = call("generate", "talk.wav", "--use", "commercial", VISAVIS_PEOPLE="people")

    assert done.exit_code == 2 and "does not cover commercial use" in done.stderr
    assert not (tmp_path / "talk.mp4").exists()
