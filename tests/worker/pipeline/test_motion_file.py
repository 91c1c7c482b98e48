"""Motion of all takes of a job in one file."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from models.motion.pipeline import Motion
from worker.pipeline.motion_file import MotionFileError, load_takes, save_takes
from worker.pipeline.motion_stream import TakeMotion


def motion(frames: int, seed: int) -> TakeMotion:
    generator = torch.Generator().manual_seed(seed)
    face = torch.randn(frames, 256, generator=generator)
    return TakeMotion.of(Motion(face, torch.randn(frames, 104, generator=generator)))


def equal(one: TakeMotion, other: TakeMotion) -> bool:
    ours, theirs = one.between(0, one.frames), other.between(0, other.frames)
    return torch.equal(ours.face, theirs.face) and torch.equal(ours.pose, theirs.pose)


def test_takes_come_back_as_they_were_written(tmp_path: Path) -> None:
    takes = [motion(3100, 1), motion(3100, 2)]
    save_takes(tmp_path / "motion.npz", takes)
    read = load_takes(tmp_path / "motion.npz")
    assert [equal(*pair) for pair in zip(takes, read, strict=True)] == [True, True]


def test_the_file_is_that_of_numpy(tmp_path: Path) -> None:
    takes = [motion(5, 1), motion(5, 2)]
    save_takes(tmp_path / "motion.npz", takes)
    with np.load(tmp_path / "motion.npz", allow_pickle=False) as archive:
        assert archive["face"].shape == (2, 5, 256)
        assert np.array_equal(archive["pose"][1], takes[1].between(0, 5).pose.numpy())


def test_a_file_with_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "motion.npz"
    np.savez(path, face=np.array([{}], object), pose=np.zeros((1, 2, 104)))
    with pytest.raises(MotionFileError, match="invalid motion file"):
        load_takes(path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "motion.npz"
    save_takes(path, [motion(5, 1)])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more", b"")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(MotionFileError, match="invalid motion file"):
        load_takes(path)
