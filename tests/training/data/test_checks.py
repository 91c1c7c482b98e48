"""Faults are found with file and frame; intact datasets have none."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator

from models.formats.dataset import DatasetError
from tests.fake_speech import KEYS, HummingEngine
from tests.training.scenes import read_wav
from training.data.audio import SAMPLES_PER_FRAME, write_wav
from training.data.checks import ERROR, NOTE, WARNING, Finding, check, clipped_frames, ranges
from training.demo.speech import conversations
from training.demo.speech.voices import Voice

BASIS = np.linalg.qr(np.random.default_rng(0).standard_normal((256, 52)))[0].astype(np.float32)
POSE, FACE, AUDIO, MISSING = (
    f"scene000_{ending}"
    for ending in (
        "body_pose.npy", "face_expression.npy", "audio.wav", "missing_face_frames.npy",
    )
)  # fmt: skip


def two_hums(_rng: Generator) -> tuple[Voice, Voice]:
    return Voice(HummingEngine("low", 120.0)), Voice(HummingEngine("high", 220.0), 1.1)


@pytest.fixture(scope="module")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of `data make-demo`, with voices that need no engine."""
    folder = tmp_path_factory.mktemp("demo")
    conversations.make_dataset(
        folder, minutes=0.8, seed=3, keys=KEYS, basis=BASIS, pick=two_hums, scene_seconds=24.0
    )
    return folder


@pytest.fixture
def data(demo_data: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    for path in demo_data.glob("scene*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_demo_dataset_has_no_fault(demo_data: Path) -> None:
    finding = check(demo_data)
    assert finding.findings == ()
    assert finding.scenes == 2
    assert finding.frames == sum(len(np.load(path)) for path in demo_data.glob("*_body_pose.npy"))


@dataclass(frozen=True)
class Fault:
    """Damage to a dataset, and the expected finding."""

    damage: Callable[[Path], None]
    level: str
    file: str
    frame: int | None
    message: str


def array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


def audio(
    change: Callable[[np.ndarray], np.ndarray], *, rate: int = 48_000
) -> Callable[[Path], None]:
    return lambda folder: write_wav(folder / AUDIO, change(read_wav(folder / AUDIO)), rate=rate)


def with_value(name: str, frame: int, channel: int, value: float) -> Callable[[Path], None]:
    def change(motion: np.ndarray) -> np.ndarray:
        motion[frame, channel] = value
        return motion

    return array(name, change)


def jumping(motion: np.ndarray) -> np.ndarray:
    motion[200:, 20] += 2.0
    return motion


def silent(samples: np.ndarray) -> np.ndarray:
    samples[:, 1] = 0
    return samples


def clipped(samples: np.ndarray) -> np.ndarray:
    samples[300 * SAMPLES_PER_FRAME + 7 : 300 * SAMPLES_PER_FRAME + 40, 0] = 1
    return samples


def missing(frames: list[int]) -> Callable[[Path], None]:
    return array(MISSING, lambda _: np.array(frames))


FAULTS = {
    "no pose": Fault(lambda folder: (folder / POSE).unlink(), ERROR, POSE, None, "not found"),
    "no list": Fault(lambda folder: (folder / MISSING).unlink(), ERROR, MISSING, None, "not found"),
    "cut off": Fault(
        lambda folder: (folder / FACE).write_bytes((folder / FACE).read_bytes()[:5000]),
        ERROR, FACE, None, "truncated or not a numpy array",
    ),
    "other width": Fault(array(POSE, lambda m: m[:, :100]), ERROR, POSE, None, "[frames, 104]"),
    "face too short": Fault(
        array(FACE, lambda m: m[:500]), ERROR, FACE, 500, "500 frames of face codes for"
    ),
    "sound too short": Fault(
        audio(lambda s: s[: 321 * SAMPLES_PER_FRAME + 5]), ERROR, AUDIO, 321,
        "are needed, 1600 per frame",
    ),
    "one channel": Fault(audio(lambda s: s[:, :1]), ERROR, AUDIO, None, "1 channel"),
    "another rate": Fault(audio(lambda s: s, rate=44_100), ERROR, AUDIO, None, "44100 Hz"),
    "not a number in the pose": Fault(
        with_value(POSE, 123, 4, np.nan), ERROR, POSE, 123, "in 1 frames: 123"
    ),
    "infinite face": Fault(with_value(FACE, 77, 255, np.inf), ERROR, FACE, 77, "in 1 frames: 77"),
    "frame outside": Fault(missing([4, 100_000]), ERROR, MISSING, 100_000, "counted from 0"),
    "frame below 0": Fault(missing([-2, 4]), ERROR, MISSING, -2, "frame -2 does not exist"),
    "frame named twice": Fault(missing([4, 9, 4]), WARNING, MISSING, 4, "listed twice or more"),
    "missing frames": Fault(
        missing([5, 6, 7, 40]), NOTE, MISSING, 5, "have no face: 5-7, 40"
    ),
    "most frames missing": Fault(
        missing(list(range(690))), WARNING, MISSING, 0, "have no face: 0-689"
    ),
    "a jump": Fault(array(POSE, jumping), WARNING, POSE, 200, "pose channel 20 jumps by 2."),
    "silence": Fault(audio(silent), WARNING, AUDIO, 0, "channel 1 (the partner) is silent"),
    "clipping": Fault(
        audio(clipped), WARNING, AUDIO, 300, "channel 0 (the person) is clipped in 1 frames"
    ),
    "swapped channels": Fault(
        audio(lambda s: s[:, ::-1]), WARNING, AUDIO, None, "are they swapped?"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_with_its_file_and_frame(data: Path, name: str) -> None:
    fault = FAULTS[name]
    fault.damage(data)
    (finding, *notes) = check(data).findings
    assert {each.level for each in notes} <= {NOTE}  # of valid missing frames
    assert (finding.level, finding.file, finding.frame) == (fault.level, fault.file, fault.frame)
    assert fault.message in finding.message
    place = fault.file if fault.frame is None else f"{fault.file} frame {fault.frame}"
    assert str(finding).startswith(f"{fault.level}: {place}: ")


@settings(max_examples=15, deadline=None)
@given(frame=st.integers(1, 600), channel=st.integers(0, 103), step=st.floats(3, 50))
def test_any_jump_is_found_at_its_frame(
    demo_data: Path, tmp_path_factory: pytest.TempPathFactory, frame: int, channel: int, step: float
) -> None:
    folder = tmp_path_factory.mktemp("jump")
    pose = np.load(demo_data / POSE)
    pose[frame:, channel] += step
    np.save(folder / POSE, pose)
    jumps = [finding for finding in check(folder).findings if finding.kind == "jump"]
    turn = 2 * np.pi
    if channel == 3 and min(step % turn, turn - step % turn) < 0.3:
        return  # about a full rotation of the wrapped channel
    assert [finding.frame for finding in jumps] == [frame]


def test_a_full_rotation_is_not_a_jump(data: Path) -> None:
    def turn(motion: np.ndarray) -> np.ndarray:
        motion[100:, 3] += 2 * np.pi
        return motion

    array(POSE, turn)(data)
    assert check(data).findings == ()


def test_a_scene_without_a_face_is_reported(data: Path) -> None:
    array(MISSING, lambda _: np.arange(len(np.load(data / POSE))))(data)
    (finding,) = check(data).findings
    assert finding.message == "no frame has a face; training skips this scene"


def test_nan_in_a_frame_without_a_face_is_ignored(data: Path) -> None:
    with_value(FACE, 77, 3, np.nan)(data)
    missing([77])(data)
    assert [finding.level for finding in check(data).findings] == [NOTE]


def test_nan_in_audio_is_found(data: Path) -> None:
    """Only float files can contain NaN."""
    samples = read_wav(data / AUDIO)
    samples[50 * SAMPLES_PER_FRAME + 3, 1] = np.nan
    head = bytearray((data / AUDIO).read_bytes()[:44])
    head[20:22] = (3).to_bytes(2, "little")
    head[32:36] = (8).to_bytes(2, "little") + (32).to_bytes(2, "little")
    head[40:44] = (samples.nbytes).to_bytes(4, "little")
    (data / AUDIO).write_bytes(bytes(head) + samples.tobytes())
    (finding,) = check(data).findings
    assert (finding.level, finding.kind, finding.frame) == (ERROR, "not a number", 50)


def test_the_number_of_reported_jumps_is_limited(tmp_path: Path) -> None:
    pose = np.zeros((9000, 104), np.float32)
    pose[np.arange(100, 1600, 60), 20] = 2.0  # 25 frames, there and back
    np.save(tmp_path / POSE, pose)
    jumps = [finding for finding in check(tmp_path).findings if finding.kind == "jump"]
    assert [finding.frame for finding in jumps[:3]] == [100, 101, 160]
    assert len(jumps) == 21
    assert jumps[-1].message == "30 more jumps"


def test_a_folder_without_scenes_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="make-demo"):
        check(tmp_path)


def test_ranges_are_short() -> None:
    assert ranges(np.array([3])) == "3"
    assert ranges(np.array([1, 2, 3, 7, 9, 10])) == "1-3, 7, 9-10"
    assert ranges(np.arange(0, 40, 2)) == "0, 2, 4, 6, 8, 10, 12, 14 and 12 more"


def test_a_single_sample_at_full_scale_is_not_clipped() -> None:
    samples = np.zeros((3, SAMPLES_PER_FRAME), np.float32)
    samples[0, 10:13] = 1
    samples[1, 10:14] = -1
    samples[2, -3:] = 1
    assert clipped_frames(samples) == [1]


def test_findings_can_be_stored_as_json() -> None:
    finding = Finding(ERROR, "jump", "a.npy", 3, "far")
    assert json.loads(json.dumps(vars(finding)))["frame"] == 3
