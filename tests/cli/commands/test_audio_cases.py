"""Recordings of many kinds by `generate` and as scenes, and the timeline of a video."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from contracts.person import write_manifest
from models.avatar.camera import read_cameras
from models.avatar.loading import load_avatar
from models.formats.wav import SAMPLE_RATE, open_wav, write_float_wav
from tests.cli.conftest import Call
from tests.jobs.sandbox.test_audio_cases import CASES, FILES, Case, offset_in, peak_in
from tests.tiny_person import write_tiny_person
from training.data.checks import Finding, check

AUDIO = "scene01_audio.wav"
FRAME = SAMPLE_RATE // 30


def with_motion(folder: Path, frames: int) -> Path:
    """Write motion beside the audio of a scene."""
    np.save(folder / "scene01_body_pose.npy", np.zeros((frames, 104), np.float32))
    np.save(folder / "scene01_face_expression.npy", np.zeros((frames, 256), np.float32))
    np.save(folder / "scene01_missing_face_frames.npy", np.zeros(0, np.int64))
    return folder


def errors(folder: Path) -> list[Finding]:
    return [finding for finding in check(folder).findings if finding.level == "error"]


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.name)
def test_a_recording_has_the_same_length_in_a_video_and_in_a_scene(
    call: Call, people: Path, tmp_path: Path, case: Case
) -> None:
    clip, frames = str(CASES / case.name), -(-case.samples // FRAME)

    made = call("generate", clip, "--out", "take.npz", "--seed", "1", VISAVIS_PEOPLE=str(people))
    converted = call("convert-audio", clip, "--out", AUDIO)

    warnings = case.warnings or ("",)
    for done in (made, converted):
        assert done.exit_code == 0, done.output
        assert len(done.stderr.splitlines()) == len(case.warnings)
        assert all(code.split("_")[0] in done.stderr for code in warnings)
    with np.load(tmp_path / "take.npz") as motion:
        assert len(motion["face"]) == len(motion["pose"]) == frames
    assert f"{AUDIO}  {case.samples} samples: {case.samples // FRAME} frames" in converted.stdout
    samples = open_wav(tmp_path / AUDIO).read()
    assert len(samples) == case.samples
    assert case.left is None or peak_in(samples[:, 0], case.left) > 0.1
    assert case.silent is None or peak_in(samples[:, 0], case.silent) < 0.002
    assert case.right is None or peak_in(samples[:, 1], case.right) > 0.1
    found = errors(with_motion(tmp_path, case.samples // FRAME))
    whole = case.samples % FRAME == 0
    needed = f"{case.samples} samples for {case.samples // FRAME} frames of motion"
    assert [needed in finding.message for finding in found] == ([] if whole else [True])


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.name)
def test_a_recording_that_is_no_scene_is_one_sentence_with_the_command_that_converts_it(
    tmp_path: Path, case: Case
) -> None:
    shutil.copy(CASES / case.name, tmp_path / AUDIO)

    (finding,) = errors(with_motion(tmp_path, case.samples // FRAME))

    assert (finding.kind, finding.file) == ("unreadable", AUDIO)
    assert finding.message.startswith(f"{tmp_path / AUDIO}: ")
    assert finding.message.endswith("convert it by `visavis-server convert-audio`")


def test_the_audio_of_a_scene_is_cut_or_padded_to_its_motion(call: Call, tmp_path: Path) -> None:
    for frames, change in ((122, "padded with silence"), (60, "cut")):
        done = call(
            "convert-audio", str(CASES / "raw_adts.aac"), "--out", AUDIO, "--frames", str(frames)
        )

        assert done.stdout == f"{AUDIO}  {frames * FRAME} samples: {frames} frames\n"
        assert done.stderr == f"warning: The recording has 193536 samples; it was {change}.\n"
        assert errors(with_motion(tmp_path, frames)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.wav", "--out", AUDIO], "no recording at none.wav; check the path"),
        (["text.wav", "--out", AUDIO], "The file has no supported audio format; send wav"),
        ([str(CASES / "id3.flac"), "--out", "a.flac"], "--out: a.flac must end in .wav"),
        ([str(CASES / "id3.flac"), "--out", "no/a.wav"], "no folder no for a.wav; create it"),
        (
            [str(CASES / "id3.flac"), "--out", AUDIO, "--person-channel", "right"],
            "Audio has 1 channel and person_channel is right",
        ),
        (
            [str(CASES / "two_tracks.m4a"), "--partner", "text.wav", "--out", AUDIO],
            "The file has no supported audio format",
        ),
    ],
)
def test_mistakes_of_a_conversion_are_one_sentence(
    call: Call, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "text.wav").write_text("this is a letter")

    done = call("convert-audio", *arguments)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"text.wav"}


def bursts(seconds: float, seed: int, channels: int = 2) -> np.ndarray:
    """Noise that swells six times a second, as 16-bit integers."""
    count = round(seconds * SAMPLE_RATE)
    swell = np.abs(np.sin(np.arange(count) * np.pi * 6 / SAMPLE_RATE))[:, None]
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (count, channels)) * swell
    return np.round(noise * 32768).astype(np.int16)


def write_flac_movie(path: Path, parts: dict[int, np.ndarray]) -> None:
    """Write samples of each part at its time, in samples, with nothing between the parts."""
    with av.open(str(path), "w", format="mp4") as movie:
        channels = next(iter(parts.values())).shape[1]
        layout = "mono" if channels == 1 else "stereo"
        stream = movie.add_stream("flac", rate=SAMPLE_RATE, layout=layout)
        stream.codec_context.options = {"frame_size": "1600"}
        stream.time_base = Fraction(1, SAMPLE_RATE)
        for start, samples in parts.items():
            for at in range(0, len(samples), 1600):
                part = np.ascontiguousarray(samples[at : at + 1600])
                frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), "s16", layout)
                frame.sample_rate, frame.pts = SAMPLE_RATE, start + at
                frame.time_base = stream.time_base
                movie.mux(stream.encode(frame))
        movie.mux(stream.encode(None))


def test_audio_and_frames_of_a_video_lie_on_the_timeline_of_the_recording(
    call: Call, tmp_path: Path
) -> None:
    """A late start, a pause without packets and a joined mono recording, all without loss.

    That motion follows the audio of its frame is a test of the demo person.
    """
    people = write_lively_person(tmp_path / "people")
    first, second, third = bursts(1.2, 1), bursts(1.0, 2), bursts(0.8, 3, channels=1)
    write_flac_movie(tmp_path / "a.mp4", {16_800: first, 112_000: second})
    write_flac_movie(tmp_path / "b.mp4", {0: third})
    (tmp_path / "talk.mp4").write_bytes(
        (tmp_path / "a.mp4").read_bytes() + (tmp_path / "b.mp4").read_bytes()
    )
    truth = np.zeros((160_000 + len(third), 2), np.float32)
    for start, part in ((16_800, first), (112_000, second), (160_000, third)):
        truth[start : start + len(part), : part.shape[1]] = part / np.float32(32768)
    write_float_wav(tmp_path / "truth.wav", truth, length=len(truth))

    for name, outputs, out in (
        ("talk.mp4", "video,motion", "video.mp4"), ("truth.wav", "motion", "truth.npz")
    ):  # fmt: skip
        options = ("--outputs", outputs, "--out", out, "--seed", "3", "--size", "128")
        done = call("generate", name, *options, VISAVIS_PEOPLE=str(people))
        assert (done.exit_code, done.stderr) == (0, "")

    with np.load(tmp_path / "video.npz") as found, np.load(tmp_path / "truth.npz") as expected:
        np.testing.assert_array_equal(found["face"], expected["face"])
        np.testing.assert_array_equal(found["pose"], expected["pose"])
        motion = [torch.from_numpy(found[name]) for name in ("face", "pose")]
    frames, audio = read_video(tmp_path / "video.mp4")
    for half in (slice(0, len(truth) // 2), slice(len(truth) // 2, None)):
        # Both voices are in the left channel of the video.
        mixed = 0.6 * truth[half, 0] + 0.4 * truth[half, 1]
        assert offset_in(audio, mixed) == half.start
    rendered = render(people / "demo", *motion, size=128)
    assert len(frames) == len(rendered) == len(truth) // FRAME
    for half in (slice(0, 60), slice(60, None)):
        assert frames_off(frames[half], rendered[half]) == 0
        assert frames_off(frames[half][1:], rendered[half]) == 1  # one frame is noticed


def write_lively_person(people: Path) -> Path:
    """Write a person whose mouth moves in every frame."""
    person = write_tiny_person(people)
    stats = json.loads((person / "stats.json").read_text())
    stats["code_std"] = [10.0] * len(stats["code_std"])
    (person / "stats.json").write_text(json.dumps(stats))
    facts = json.loads((person / "person.json").read_text())
    write_manifest(person, facts, facts.pop("files").keys())
    return people


def read_video(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames [T, H, W], green, and the left channel, both at their timestamps."""
    with av.open(str(path)) as video:
        shown = list(video.decode(video=0))
    with av.open(str(path)) as video:
        heard = list(video.decode(audio=0))
    assert [frame.time for frame in shown] == pytest.approx(np.arange(len(shown)) / 30, abs=1e-3)
    start = round(float(heard[0].pts * heard[0].time_base) * SAMPLE_RATE)
    assert start <= 0
    samples = np.concatenate([frame.to_ndarray()[0] for frame in heard])[-start:]
    return np.stack([frame.to_ndarray(format="rgb24")[..., 1] for frame in shown]), samples


def render(person: Path, face: torch.Tensor, pose: torch.Tensor, *, size: int) -> np.ndarray:
    """Return frames [T, H, W], green, drawn from motion without the code of the worker."""
    camera = next(iter(read_cameras(person / "cameras.json").values())).resized(size, size)
    avatar = load_avatar(person, device=torch.device("cpu"))
    return np.concatenate(list(avatar.render(face, pose, [camera], batch=8)))[..., 1]


def frames_off(found: np.ndarray, expected: np.ndarray, most: int = 3) -> int:
    """Offset at which the frames differ least."""
    size = min(len(found), len(expected)) - 2 * most
    middle = found[most : most + size].astype(np.float32)
    faults = [
        np.abs(middle - expected[start : start + size]).mean() for start in range(2 * most + 1)
    ]
    return int(np.argmin(faults)) - most
