"""Statistics of all scenes, read in pieces, in both file formats."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from models.formats.dataset import DatasetError, find_scenes
from models.released import networks
from models.released.export import write_data_stats
from models.released.reader import read_torch
from tests.training.scenes import read_wav, write_two_scenes
from training.data import statistics
from training.data.statistics import measure, spread

REAL = Path(__file__).parents[4] / "shared" / "released"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_two_scenes(tmp_path)


def test_statistics_cover_all_scenes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "PIECE", 7)
    monkeypatch.setattr(statistics, "AUDIO_PIECE", 1001)
    measured = measure(folder)
    pose = np.concatenate([np.load(folder / f"{name}_body_pose.npy") for name in "ab"])
    np.testing.assert_allclose(measured["pose_mean"], pose.mean(0, dtype=np.float64), atol=1e-12)
    np.testing.assert_allclose(measured["pose_std"][:7], pose.astype(np.float64).std(0)[:7])
    assert measured["pose_std"][7] == statistics.SMALLEST_STD
    np.testing.assert_allclose(measured["pose_std_flat"], [pose.astype(np.float64).std()])
    audio = np.concatenate([read_wav(folder / f"{name}_audio.wav") for name in "ab"])
    np.testing.assert_allclose(measured["audio_mean"], audio.mean(0, dtype=np.float64), atol=1e-12)
    assert measured["audio_std_flat"] == pytest.approx(audio.astype(np.float64).std())


def test_frames_without_a_face_do_not_count(folder: Path) -> None:
    before = measure(folder)
    path = folder / "b_face_expression.npy"
    face = np.load(path)
    face[3:5] = np.nan
    np.save(path, face)
    assert measure(folder) == before
    whole = np.concatenate([np.load(folder / "a_face_expression.npy"), np.delete(face, [3, 4], 0)])
    np.testing.assert_allclose(before["code_mean"], whole.mean(0, dtype=np.float64))


@pytest.mark.parametrize(
    ("file", "name"), [("face_expression", "code: some"), ("body_pose", "pose: some")]
)
def test_nan_and_infinity_are_rejected(folder: Path, file: str, name: str) -> None:
    path = folder / f"a_{file}.npy"
    motion = np.load(path)
    motion[5, 2] = np.inf
    np.save(path, motion)
    with pytest.raises(DatasetError, match=name + r" scene contains NaN or infinity; .* check"):
        measure(folder)


def test_a_small_spread_about_a_large_mean_is_precise() -> None:
    rows = 1e6 + np.array([[-1e-3], [1e-3]])
    assert spread("rows", lambda: [rows] * 1000).std[0] == pytest.approx(1e-3, rel=1e-6)


def test_a_long_dataset_is_read_in_pieces(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 s: as doubles, 6 MB of face codes and 77 MB of audio."""
    frames = 3000
    monkeypatch.setattr(statistics, "PIECE", 300)
    for ending, width in (("face_expression", 256), ("body_pose", 104)):
        path = folder / f"a_{ending}.npy"
        np.lib.format.open_memmap(path, "w+", np.float32, (frames, width)).flush()
    head = bytearray((folder / "a_audio.wav").read_bytes()[:44])
    head[40:44] = (frames * 6400).to_bytes(4, "little")
    with (folder / "a_audio.wav").open("wb") as file:
        file.write(head)
        file.truncate(44 + frames * 6400)
    scenes = [files.open() for files in find_scenes(folder)]
    tracemalloc.start()
    try:
        spread("code", lambda: statistics.codes(scenes))
        _, codes = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        spread("audio", lambda: statistics.audio_pieces(scenes[:1]))
        _, peak_audio = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert codes < 3 << 20
    assert peak_audio < 40 << 20


def test_the_released_format_is_read_by_the_importer(folder: Path, tmp_path: Path) -> None:
    measured, path = measure(folder), tmp_path / "data_stats.pth"
    write_data_stats(path, measured)
    read = networks.statistics(read_torch(path), path)
    for name, values in read.items():
        np.testing.assert_allclose(values, measured[name], rtol=1e-6, err_msg=name)


@pytest.mark.skipif(not REAL.is_dir(), reason="the released statistics are not available")
@pytest.mark.parametrize("person", ["PXB184", "RLW104", "TXB805", "GQS883"])
def test_the_released_format_is_that_of_the_real_files(folder: Path, person: str) -> None:
    """Names, types and shapes; and `flat` equals the stored value."""
    real = read_torch(REAL / f"data_stats_{person}.pth")
    write_data_stats(folder / "data_stats.pth", measure(folder))
    ours = read_torch(folder / "data_stats.pth")
    for name, array in ours.items():
        assert (array.dtype, array.shape) == (real[name].dtype, real[name].shape), name
    assert real.keys() - ours.keys() <= {
        f"{kind}_{what}"
        for kind in ("fullaudio", "fullcode", "fullpose", "facekp")
        for what in ("mean", "std", "std_flat")
    }
    for kind, rtol in (("pose", 1e-6), ("code", 1e-6), ("audio", 1e-4)):
        mean, std = (real[f"{kind}_{what}"].astype(np.float64) for what in ("mean", "std"))
        flat = statistics.Spread(mean, std).flat
        np.testing.assert_allclose(flat, real[f"{kind}_std_flat"][0], rtol=rtol)
