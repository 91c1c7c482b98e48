"""Cuts of a dataset, their order and content."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.scenes import read_wav, write_scene
from training.data.cuts import find_cuts, partner_folder, read_clips, shuffled, split_scenes

NAMES = [f"scene{n:02}" for n in range(1, 11)]


def test_the_last_four_scenes_are_for_tests_and_the_two_before_for_validation() -> None:
    assert split_scenes(NAMES, "train") == NAMES[:4]
    assert split_scenes(NAMES, "val") == NAMES[4:6]
    assert split_scenes(NAMES, "test") == NAMES[6:]
    assert split_scenes(NAMES, "all") == NAMES


@pytest.mark.parametrize("count", [7, 26, 30])
def test_scenes_are_split_in_order(count: int) -> None:
    names = list(range(count))
    train, val, test = (split_scenes(names, part) for part in ("train", "val", "test"))
    assert [*train, *val, *test] == names
    assert (len(val), len(test)) == (2, 4)


def test_six_scenes_leave_none_to_train_on() -> None:
    with pytest.raises(ValueError, match="6 scenes are too few for a train split"):
        split_scenes(range(6), "train")
    assert split_scenes(range(6), "all") == range(6)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_with_few_scenes_the_test_split_has_all(count: int) -> None:
    assert split_scenes(NAMES[:count], "test") == NAMES[:count]
    for split in ("train", "val"):
        with pytest.raises(ValueError, match=f"{count} scenes are too few for a {split} split"):
            split_scenes(NAMES[:count], split)


def test_a_fifth_scene_is_for_validation() -> None:
    assert split_scenes(NAMES[:5], "val") == NAMES[:1]
    assert split_scenes(NAMES[:5], "test") == NAMES[1:5]


def test_cuts_are_consecutive_and_one_that_ends_with_its_scene_is_dropped(
    tmp_path: Path,
) -> None:
    write_scene(tmp_path, "a", 90)
    write_scene(tmp_path, "b", 91)
    write_scene(tmp_path, "c", 29)
    cuts = find_cuts(tmp_path, "all", 30)
    assert [(cut.scene.name, cut.first_frame) for cut in cuts] == [
        ("a", 0), ("a", 30), ("b", 0), ("b", 30), ("b", 60),
    ]  # fmt: skip
    assert [cut.index for cut in cuts] == [0, 1, 2, 3, 4]


def test_a_scene_without_a_visible_face_is_skipped(tmp_path: Path) -> None:
    write_scene(tmp_path, "a", 40, missing=list(range(40)))
    write_scene(tmp_path, "b", 40, missing=[3])
    assert [cut.scene.name for cut in find_cuts(tmp_path, "all", 30)] == ["b"]


def test_cuts_longer_than_every_scene_are_rejected(tmp_path: Path) -> None:
    write_scene(tmp_path, "a", 30)
    with pytest.raises(ValueError, match=r"no scene of the test split .* longer than 30 frames"):
        find_cuts(tmp_path, "test", 30)
    with pytest.raises(ValueError, match="folder not found"):
        find_cuts(tmp_path / "nowhere", "test", 30)


def test_a_clip_has_the_audio_and_the_motion_of_its_frames(tmp_path: Path) -> None:
    write_scene(tmp_path, "a", 70, missing=[31, 69])
    second = find_cuts(tmp_path, "all", 30)[1]
    clip = next(read_clips([second], 30))
    assert clip.face[:, 0].tolist() == [30, 0, *range(32, 60)]
    assert np.array_equal(clip.pose, np.load(tmp_path / "a_body_pose.npy")[30:60])
    assert np.array_equal(clip.audio, read_wav(tmp_path / "a_audio.wav")[48_000:96_000])
    assert np.flatnonzero(~clip.present).tolist() == [1]


def test_flipping_a_clip_only_swaps_its_audio_channels(tmp_path: Path) -> None:
    write_scene(tmp_path, "a", 40)
    cuts = find_cuts(tmp_path, "all", 30)
    plain, flipped = (next(read_clips(cuts, 30, flipped=flip)) for flip in (False, True))
    assert np.array_equal(flipped.audio, plain.audio[:, ::-1])
    assert np.array_equal(flipped.pose, plain.pose)


@pytest.mark.parametrize(("name", "wraps"), [("PXB184", True), ("GQS883", False)])
def test_full_rotations_are_wrapped_for_people_whose_recordings_contain_them(
    tmp_path: Path, name: str, wraps: bool
) -> None:
    write_scene(tmp_path / name, "a", 40)
    raw = np.load(tmp_path / name / "a_body_pose.npy")[:30, 3]
    assert raw.min() < 0
    clip = next(read_clips(find_cuts(tmp_path / name, "all", 30), 30))
    assert np.allclose(clip.pose[:, 3], np.mod(raw, 2 * np.pi) if wraps else raw, atol=1e-6)


def test_partners_of_released_people_are_known_and_others_must_be_passed(tmp_path: Path) -> None:
    assert partner_folder(tmp_path / "PXB184") == tmp_path / "RLW104"
    assert partner_folder(tmp_path / "GQS883") == tmp_path / "TXB805"
    with pytest.raises(ValueError, match=r"the partner of ada is unknown .* --flip-person DIR"):
        partner_folder(tmp_path / "ada")


def test_the_seed_selects_the_cuts(tmp_path: Path) -> None:
    write_scene(tmp_path, "a", 400)
    cuts = find_cuts(tmp_path, "all", 30)
    assert shuffled(cuts, 5, 1) == shuffled(cuts, 9, 1)[:5]
    assert shuffled(cuts, 5, 1) != shuffled(cuts, 5, 2)
    everything = shuffled(cuts, 99, 1)
    assert sorted(cut.index for cut in everything) == list(range(len(cuts)))
