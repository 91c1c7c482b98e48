"""Scenes on disk, and the windows sampled from them."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from models.formats.dataset import DatasetError, SceneData
from tests.training.scenes import following, write_scene, write_two_scenes
from training.data.audio import write_wav
from training.data.scenes import (
    FACE,
    POSE,
    Batch,
    Scene,
    Shard,
    chunks,
    load_scenes,
    released_chunks,
    sample_padded,
    sample_windows,
)
from training.data.statistics import measure
from training.networks.losses import motion_loss


def two_rows_a_frame(scene: SceneData) -> Tensor:
    return torch.from_numpy(scene.audio.read()[::800]).mean(1, keepdim=True)


def scenes(folder: Path, kind: str = FACE) -> list[Scene]:
    width = 256 if kind == FACE else 104
    mean, std = torch.zeros(width), torch.ones(width)
    return load_scenes(folder, kind, two_rows_a_frame, mean=mean, std=std)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_two_scenes(tmp_path)


def test_scenes_are_sorted_by_name(folder: Path) -> None:
    assert [scene.frames for scene in scenes(folder, POSE)] == [90, 40]


def test_an_empty_folder_is_rejected_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="make-demo"):
        scenes(tmp_path)


def test_statistics_normalise_the_data(folder: Path) -> None:
    batch = measure(folder)
    mean, std = (torch.tensor(batch[f"pose_{name}"]) for name in ("mean", "std"))
    loaded = load_scenes(folder, POSE, two_rows_a_frame, mean=mean, std=std)
    motion = torch.cat([scene.motion[:] for scene in loaded])
    assert motion.mean(0).abs().max() < 1e-3
    assert torch.allclose(motion.std(0, correction=0)[:7], torch.ones(7), atol=1e-3)
    assert motion[:, 7].abs().max() == 0
    assert batch["audio_std_flat"] == pytest.approx(1 / np.sqrt(12), rel=0.02)


def test_missing_face_frames_are_marked_and_zero(folder: Path) -> None:
    face = np.load(folder / "b_face_expression.npy")
    face[3] = np.nan
    np.save(folder / "b_face_expression.npy", face)
    scene = scenes(folder)[1]
    assert scene.present[3:5].sum() == 0
    assert scene.motion[3:5].abs().max() == 0
    assert scene.present.sum() == 38
    assert scenes(folder, POSE)[1].present.sum() == 40


def test_a_scene_without_any_face_is_left_out_for_face_and_pose(folder: Path) -> None:
    write_scene(folder, "c", 30, missing=list(range(30)))
    for kind in (FACE, POSE):
        assert [scene.name for scene in scenes(folder, kind)] == ["a", "b"]
    for name in ("a", "b"):
        for path in folder.glob(f"{name}_*"):
            path.unlink()
    with pytest.raises(DatasetError, match=r"no scene in .* has a frame with a face"):
        scenes(folder)


@pytest.mark.parametrize(("person", "wraps"), [("PXB184", True), ("TXB805", False)])
def test_full_rotations_are_wrapped_in_recordings_that_contain_them(
    tmp_path: Path, person: str, wraps: bool
) -> None:
    write_scene(tmp_path / person, "a", 30)
    path = tmp_path / person / "a_body_pose.npy"
    pose = np.load(path)
    pose[:, 3] = np.linspace(-20, 20, 30)
    np.save(path, pose)
    motion = scenes(tmp_path / person, POSE)[0].motion[:]
    expected = np.mod(pose[:, 3], 2 * np.pi) if wraps else pose[:, 3]
    np.testing.assert_array_equal(motion[:, 3], expected)
    np.testing.assert_array_equal(motion[:, 4], pose[:, 4])
    assert measure(tmp_path / person)["pose_mean"][3] == pytest.approx(expected.mean(), abs=1e-6)


def test_features_and_motion_of_a_window_belong_together(folder: Path) -> None:
    loaded = scenes(folder)
    batch = sample_windows(loaded[:1], 30, 5, torch.Generator().manual_seed(1))
    assert batch.features.shape == (5, 60, 1)
    assert batch.motion.shape == (5, 30, 256)
    assert batch.inside.all()
    for features, motion in zip(batch.features, batch.motion, strict=True):
        start = int(motion[0, 0])
        assert torch.equal(features, loaded[0].features[2 * start : 2 * start + 60])


def test_windows_start_at_multiples_of_the_step(folder: Path) -> None:
    batch = sample_windows(scenes(folder)[:1], 30, 40, torch.Generator().manual_seed(1), step=30)
    assert set(batch.motion[:, 0, 0].tolist()) == {0.0, 30.0, 60.0}


def test_a_window_longer_than_every_scene_is_rejected(folder: Path) -> None:
    with pytest.raises(ValueError, match="100 frames"):
        sample_windows(scenes(folder), 100, 1, torch.Generator())


def test_audio_of_another_length_than_its_motion_is_rejected(folder: Path) -> None:
    write_wav(folder / "a_audio.wav", np.zeros((1000, 2), np.float32))
    with pytest.raises(DatasetError, match="1000 samples for 90 frames"):
        scenes(folder)


def test_scenes_on_disk_and_in_memory_give_the_same_windows(folder: Path) -> None:
    stored = scenes(folder)
    whole = [replace(scene, motion=scene.motion[:]) for scene in stored]
    one, other = (
        sample_windows(each, 20, 6, Generator().manual_seed(3)) for each in (stored, whole)
    )
    for name in ("features", "motion", "present", "inside"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_a_long_scene_is_not_read_into_memory(tmp_path: Path) -> None:
    """Twenty minutes: 37 MB of face codes and 230 MB of audio, of which a window is sampled."""
    frames = 20 * 60 * 30
    write_scene(tmp_path, "a", 30)
    for ending, width in (("face_expression", 256), ("body_pose", 104)):
        np.lib.format.open_memmap(
            tmp_path / f"a_{ending}.npy", "w+", np.float32, (frames, width)
        ).flush()
    head = bytearray((tmp_path / "a_audio.wav").read_bytes()[:44])
    head[40:44] = (frames * 6400).to_bytes(4, "little")
    with (tmp_path / "a_audio.wav").open("wb") as file:
        file.write(head)
        file.truncate(44 + frames * 6400)
    tracemalloc.start()
    try:
        loaded = load_scenes(
            tmp_path,
            FACE,
            lambda scene: torch.zeros(scene.frames, 1),
            mean=torch.zeros(256),
            std=torch.ones(256),
        )
        batch = sample_windows(loaded, 600, 2, Generator().manual_seed(1))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert batch.motion.shape == (2, 600, 256)
    assert most < 4 << 20


def test_a_padded_sample_ends_in_zeros_without_effect_on_the_loss(folder: Path) -> None:
    write_scene(folder, "c", 200)
    batch = sample_padded(scenes(folder), 60, Generator().manual_seed(1), shortest=40, longest=60)
    assert batch.motion.shape == (60, 60, 256)
    assert batch.features.shape == (60, 120, 1)
    lengths = batch.inside.sum(1)
    assert (int(lengths.min()), int(lengths.max())) == (40, 59)
    for sample, length in enumerate(lengths.tolist()):
        assert batch.motion[sample, length:].abs().sum() == 0
        assert batch.features[sample, 2 * length :].abs().sum() == 0
        assert batch.present[sample, length:].sum() == 0
        visible = batch.motion[sample, batch.present[sample] > 0]
        assert length - 2 <= len(visible) <= length
        assert visible[:, 0].diff().min() > 0
    changed = batch.motion + torch.where(batch.inside, 0.0, 5.0)[..., None]
    same, other = (
        motion_loss(torch.zeros_like(clean), clean, batch.inside, batch.present)
        for clean in (batch.motion, changed)
    )
    assert torch.equal(same.position, other.position)
    assert torch.equal(same.velocity, other.velocity)


def test_padded_samples_come_from_scenes_by_length_and_from_everywhere_in_them() -> None:
    long, short = following(300, seed=1), following(100, seed=2)
    marked = [
        replace(scene, motion=torch.full((scene.frames, 1), float(number)))
        for number, scene in enumerate((long, short))
    ]
    batch = sample_padded(marked, 400, Generator().manual_seed(1), shortest=20, longest=30)
    assert float(batch.motion[:, 0, 0].mean()) == pytest.approx(0.25, abs=0.06)
    counting = replace(short, motion=torch.arange(100.0)[:, None])
    batch = sample_padded([counting], 900, Generator().manual_seed(1), shortest=20, longest=30)
    firsts, lasts = batch.motion[:, 0, 0], batch.motion[..., 0].amax(1)
    assert (int(firsts.min()), int(lasts.max())) == (0, 99)


def test_a_scene_shorter_than_a_padded_sample_is_sampled_whole() -> None:
    batch = sample_padded([following(50)], 30, Generator(), shortest=50, longest=60)
    assert set(batch.inside.sum(1).tolist()) == {50}
    with pytest.raises(ValueError, match="no scene has 51 frames"):
        sample_padded([following(50)], 1, Generator(), shortest=51, longest=60)


def test_a_window_without_a_visible_face_is_sampled_again() -> None:
    scene = following(200)
    scene.present[20:] = 0
    padded = sample_padded([scene], 20, Generator().manual_seed(1), shortest=15, longest=20)
    whole = sample_windows([scene], 15, 20, Generator().manual_seed(1))
    for batch in (padded, whole):
        assert (batch.present.sum(1) > 0).all()


def test_chunks_cover_a_scene_up_to_a_rest() -> None:
    assert list(chunks(1200, 600)) == [0, 600]
    assert list(released_chunks(1200, 600)) == [0]
    assert list(chunks(1199, 600)) == list(released_chunks(1199, 600)) == [0]
    assert list(chunks(599, 600)) == []


@pytest.mark.parametrize("count", [2, 3])
def test_shards_together_are_the_batch_in_the_order_of_scenes(count: int) -> None:
    """Each process loads its rows only, with the same random numbers."""
    scenes = [following(60 + number, seed=number) for number in range(4)]

    def batch(shard: Shard) -> Batch:
        return sample_windows(scenes, 20, 8, torch.Generator().manual_seed(1), shard=shard)

    whole, parts = batch(Shard()), [batch(Shard(rank, count)) for rank in range(count)]

    for rank, part in enumerate(parts):
        rows = Shard(rank, count).rows(8)
        assert torch.equal(
            part.motion[rows.start : rows.stop], whole.motion[rows.start : rows.stop]
        )
        assert part.motion[: rows.start].abs().sum() == part.motion[rows.stop :].abs().sum() == 0
        assert torch.equal(part.inside, whole.inside)
    assert torch.equal(sum(part.features for part in parts), whole.features)
