"""Scenes, statistics and windows of the dataset layout."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.scenes import write_scene
from training.data import FACE, POSE, draw_windows, load_scenes, measure, scene_names
from training.sound import write_wav


def two_rows_a_frame(sound: Tensor) -> Tensor:
    return sound[::800].mean(1, keepdim=True)


def scenes(folder: Path, kind: str = FACE):
    width = 256 if kind == FACE else 104
    mean, std = torch.zeros(width), torch.ones(width)
    return load_scenes(folder, kind, two_rows_a_frame, mean=mean, std=std)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_scene(tmp_path, "b", 40, missing=[3, 4])
    write_scene(tmp_path, "a", 90)
    return tmp_path


def test_scenes_come_in_the_order_of_their_names(folder: Path) -> None:
    assert scene_names(folder) == ["a", "b"]
    assert [scene.frames for scene in scenes(folder, POSE)] == [90, 40]


def test_an_empty_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make-demo"):
        scene_names(tmp_path)


def test_statistics_normalise_the_data(folder: Path) -> None:
    found = measure(folder)
    mean, std = (torch.tensor(found[f"pose_{name}"]) for name in ("mean", "std"))
    loaded = load_scenes(folder, POSE, two_rows_a_frame, mean=mean, std=std)
    motion = torch.cat([scene.motion for scene in loaded])
    assert motion.mean(0).abs().max() < 1e-3
    assert torch.allclose(motion.std(0, correction=0)[:7], torch.ones(7), atol=1e-3)
    assert motion[:, 7].abs().max() == 0
    assert found["audio_std_flat"] == pytest.approx(1 / np.sqrt(12), rel=0.02)


def test_missing_face_frames_are_marked_and_zero(folder: Path) -> None:
    scene = scenes(folder)[1]
    assert scene.present[3:5].sum() == 0
    assert scene.motion[3:5].abs().max() == 0
    assert scene.present.sum() == 38


def test_sound_and_motion_of_a_window_belong_together(folder: Path) -> None:
    loaded = scenes(folder)
    batch = draw_windows(loaded[:1], 30, 5, torch.Generator().manual_seed(1))
    assert batch.features.shape == (5, 60, 1)
    assert batch.motion.shape == (5, 30, 256)
    for features, motion in zip(batch.features, batch.motion, strict=True):
        start = int(motion[0, 0])
        assert torch.equal(features, loaded[0].features[2 * start : 2 * start + 60])


def test_windows_start_where_the_step_allows(folder: Path) -> None:
    batch = draw_windows(scenes(folder)[:1], 30, 40, torch.Generator().manual_seed(1), step=30)
    assert set(batch.motion[:, 0, 0].tolist()) == {0.0, 30.0, 60.0}


def test_a_window_longer_than_every_scene_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="100 frames"):
        draw_windows(scenes(folder), 100, 1, torch.Generator())


def test_sound_that_does_not_fit_its_motion_is_refused(folder: Path) -> None:
    write_wav(folder / "a_audio.wav", np.zeros((1000, 2), np.float32))
    with pytest.raises(ValueError, match="1000 samples for 90 frames"):
        scenes(folder)
