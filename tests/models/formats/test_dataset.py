"""Released layout of a dataset: memory mapping, completeness, errors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.formats.dataset import DatasetError, SceneFiles, find_scenes, listed_scenes
from models.formats.wav import SAMPLES_PER_FRAME
from tests.training.scenes import write_two_scenes
from training.data.audio import write_wav


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_two_scenes(tmp_path)


def test_scenes_are_sorted_by_name(folder: Path) -> None:
    (folder / "data_stats.pth").touch()
    assert [files.name for files in find_scenes(folder)] == ["a", "b"]
    assert find_scenes(folder)[1].missing == folder / "b_missing_face_frames.npy"


def test_a_scene_is_memory_mapped_and_cut_by_frames(folder: Path) -> None:
    scene = SceneFiles(folder, "b").open()
    assert all(isinstance(each, np.memmap) for each in (scene.pose, scene.face, scene.audio.raw))
    assert (scene.frames, scene.pose.shape, scene.face.shape) == (40, (40, 104), (40, 256))
    assert np.flatnonzero(~scene.present()).tolist() == [3, 4]
    assert scene.samples(2, 4).shape == (2 * SAMPLES_PER_FRAME, 2)
    whole = scene.audio.read()
    np.testing.assert_array_equal(scene.samples(2, 4), whole[3200:6400])


@pytest.mark.parametrize("kind", [np.int32, np.float64, np.uint8])
def test_missing_frames_may_have_any_numeric_type(folder: Path, kind: type) -> None:
    np.save(folder / "b_missing_face_frames.npy", np.array([39, 0], kind))
    assert np.flatnonzero(~SceneFiles(folder, "b").open().present()).tolist() == [0, 39]


def test_an_empty_list_of_missing_frames_may_have_any_type(folder: Path) -> None:
    np.save(folder / "b_missing_face_frames.npy", np.array([]))
    assert SceneFiles(folder, "b").open().present().all()


def test_a_folder_without_scenes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no scenes \(\*_audio\.wav\); .*make-demo"):
        find_scenes(tmp_path)
    with pytest.raises(DatasetError, match="nowhere: folder not found"):
        find_scenes(tmp_path / "nowhere")


def test_the_error_names_missing_files_of_scenes(folder: Path) -> None:
    (folder / "a_body_pose.npy").unlink()
    (folder / "b_audio.wav").unlink()
    with pytest.raises(DatasetError, match=r"missing a_body_pose\.npy, b_audio\.wav; a scene has"):
        find_scenes(folder)
    assert [files.name for files in listed_scenes(folder)] == ["a", "b"]


def save(name: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, array)


def audio(seconds: float, *, channels: int = 2, rate: int = 48_000) -> Callable[[Path], None]:
    samples = np.zeros((round(seconds * rate), channels), np.float32)
    return lambda folder: write_wav(folder / "b_audio.wav", samples, rate=rate)


def truncate(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:150])


POSE, FACE, MISSING = "b_body_pose.npy", "b_face_expression.npy", "b_missing_face_frames.npy"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (save(POSE, np.zeros((40, 103), np.float32)), r"must be \[frames, 104\] of floats, found"),
        (save(POSE, np.zeros((40, 104), np.int16)), r"found \[40, 104\] of int16"),
        (
            save(FACE, np.zeros((39, 256), np.float32)),
            "39 frames of face codes for 40 frames",
        ),
        (save(FACE, np.array([{}])), "contains Python objects, which are not loaded"),
        (save(MISSING, np.array([3, None])), "contains Python objects"),
        (
            save(MISSING, np.array([3, 40])),
            "frame 40 does not exist; the scene has 40, counted",
        ),
        (save(MISSING, np.array([-1])), "frame -1 does not exist"),
        (save(MISSING, np.array([1.5])), "must be integers"),
        (save(MISSING, np.array(["3"])), "must be integers"),
        (truncate(FACE), "truncated or not a numpy array"),
        (truncate("b_audio.wav"), "truncated, 106 of"),
        (audio(1.0), "48000 samples for 40 frames of motion; 64000 are needed, 1600 per frame"),
        (audio(40 / 30, rate=44_100), "44100 Hz and 2 channel"),
        (audio(40 / 30, channels=1), "48000 Hz and 1 channel"),
    ],
)
def test_files_that_do_not_match_are_refused(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    with pytest.raises(DatasetError, match=message) as caught:
        SceneFiles(folder, "b").open()
    assert str(folder) in str(caught.value)
