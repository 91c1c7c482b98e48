"""The released layout of a dataset: mapped, whole, and what is said where it is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.formats.dataset import DatasetError, SceneFiles, find_scenes, listed_scenes
from models.formats.wav import SAMPLES_PER_FRAME
from tests.training.scenes import write_scene
from training.data.audio import write_wav


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_scene(tmp_path, "b", 40, missing=[3, 4])
    write_scene(tmp_path, "a", 90)
    return tmp_path


def test_scenes_come_in_the_order_of_their_names(folder: Path) -> None:
    (folder / "data_stats.pth").touch()
    assert [files.name for files in find_scenes(folder)] == ["a", "b"]
    assert find_scenes(folder)[1].missing == folder / "b_missing_face_frames.npy"


def test_a_scene_is_mapped_and_cut_by_frames(folder: Path) -> None:
    scene = SceneFiles(folder, "b").open()
    assert all(isinstance(each, np.memmap) for each in (scene.pose, scene.face, scene.audio.raw))
    assert (scene.frames, scene.pose.shape, scene.face.shape) == (40, (40, 104), (40, 256))
    assert np.flatnonzero(~scene.present()).tolist() == [3, 4]
    assert scene.samples(2, 4).shape == (2 * SAMPLES_PER_FRAME, 2)
    whole = scene.audio.read()
    np.testing.assert_array_equal(scene.samples(2, 4), whole[3200:6400])


@pytest.mark.parametrize("kind", [np.int32, np.float64, np.uint8])
def test_missing_frames_may_be_any_whole_numbers(folder: Path, kind: type) -> None:
    np.save(folder / "b_missing_face_frames.npy", np.array([39, 0], kind))
    assert np.flatnonzero(~SceneFiles(folder, "b").open().present()).tolist() == [0, 39]


def test_an_empty_list_of_missing_frames_may_be_of_any_type(folder: Path) -> None:
    np.save(folder / "b_missing_face_frames.npy", np.array([]))
    assert SceneFiles(folder, "b").open().present().all()


def test_a_folder_without_scenes_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no scenes \(\*_audio\.wav\) in .*make-demo"):
        find_scenes(tmp_path)
    with pytest.raises(DatasetError, match="nowhere is no folder"):
        find_scenes(tmp_path / "nowhere")


def test_scenes_that_lack_a_file_are_told(folder: Path) -> None:
    (folder / "a_body_pose.npy").unlink()
    (folder / "b_audio.wav").unlink()
    with pytest.raises(DatasetError, match=r"lacks a_body_pose\.npy, b_audio\.wav; a scene is"):
        find_scenes(folder)
    assert [files.name for files in listed_scenes(folder)] == ["a", "b"]


def save(name: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, array)


def sound(seconds: float, *, channels: int = 2, rate: int = 48_000) -> Callable[[Path], None]:
    samples = np.zeros((round(seconds * rate), channels), np.float32)
    return lambda folder: write_wav(folder / "b_audio.wav", samples, rate=rate)


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:150])


POSE, FACE, MISSING = "b_body_pose.npy", "b_face_expression.npy", "b_missing_face_frames.npy"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (save(POSE, np.zeros((40, 103), np.float32)), r"must be \[frames, 104\] of floats, found"),
        (save(POSE, np.zeros((40, 104), np.int16)), r"found \[40, 104\] of int16"),
        (save(FACE, np.zeros((39, 256), np.float32)), "40 frames of pose and 39 of face codes"),
        (save(FACE, np.array([{}])), "holds Python objects, which are not opened"),
        (save(MISSING, np.array([3, None])), "holds Python objects"),
        (save(MISSING, np.array([3, 40])), "names frame 40; the scene has 40, counted from 0"),
        (save(MISSING, np.array([-1])), "names frame -1"),
        (save(MISSING, np.array([1.5])), "whole numbers"),
        (save(MISSING, np.array(["3"])), "whole numbers"),
        (cut(FACE), "cut off or no array"),
        (cut("b_audio.wav"), "cut off: it has 106 of"),
        (sound(1.0), "48000 samples for 40 frames of motion; 1600 samples belong to a frame"),
        (sound(40 / 30, rate=44_100), "44100 Hz and 2 channel"),
        (sound(40 / 30, channels=1), "48000 Hz and 1 channel"),
    ],
)
def test_files_that_do_not_fit_are_told(
    folder: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(folder)
    with pytest.raises(DatasetError, match=words) as caught:
        SceneFiles(folder, "b").open()
    assert str(folder) in str(caught.value)
