"""`python -m training data ...`: its output, files and exit status."""

import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.files import sha256_of
from models.formats.dataset import find_scenes
from models.motion.statistics import load_statistics
from models.released import download, networks
from models.released.reader import read_torch
from tests import tiny_person
from tests.faulty_http_server import FaultyHttpServer
from tests.released_layout import PERSON
from tests.training.scenes import write_scene
from training.__main__ import main
from training.data.features import LIPS

STATISTICS = f"dataset/{PERSON}/data_stats.pth"


class Answer(str):
    """Output of a command, with its error and exit status."""

    status: int
    error: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["training", "data", *map(str, arguments)])
        status, error = 0, ""
        try:
            main()
        except SystemExit as exit_:
            status, error = (
                (exit_.code, "") if isinstance(exit_.code, int) else (1, str(exit_.code))
            )
        printed = capsys.readouterr()
        answer = Answer(printed.out)
        answer.status, answer.error = status, error or printed.err
        return answer

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_scene(tmp_path / "data", "a", 90)
    write_scene(tmp_path / "data", "b", 60, missing=[3, 4])
    return tmp_path / "data"


def test_check_prints_every_finding_and_fails_on_errors(command, data: Path) -> None:
    fine = command("check", data)
    assert fine.status == 0
    assert fine.splitlines() == [
        "note: b_missing_face_frames.npy frame 3: 2 of 60 frames (3.3%) have no face: 3-4",
        "2 scenes, 0.1 min: 0 errors, 0 warnings, 1 notes",
    ]
    (data / "a_body_pose.npy").unlink()
    bad = command("check", data)
    assert bad.status == 1
    assert "error: a_body_pose.npy: file not found" in bad.splitlines()
    listed = command("check", data, "--json")
    assert listed.status == 1
    first = json.loads(listed)["findings"][0]
    assert (first["level"], first["file"], first["frame"]) == ("error", "a_body_pose.npy", None)


def test_stats_are_written_in_both_formats(command, data: Path, tmp_path: Path) -> None:
    assert command("stats", data) == f"{data / 'stats.json'}\n"
    statistics = load_statistics(data / "stats.json", device=torch.device("cpu"))
    path = tmp_path / "data_stats.pth"
    assert command("stats", data, "--released", "--out", path) == f"{path}\n"
    released = networks.statistics(read_torch(path), path)
    np.testing.assert_allclose(statistics.pose_mean, released["pose_mean"], rtol=1e-6)
    assert [each.name for each in data.glob(".*")] == []


def test_features_are_computed_once(command, data: Path, tmp_path: Path) -> None:
    person = tiny_person.write_tiny_person(tmp_path)
    first = command("features", data, "--person", person, "--device", "cpu")
    assert first.splitlines()[:2] == ["  a  1 of 2", "  b  2 of 2"]
    assert "speech: 2 scenes, 2 computed now, 0.00 GB in" in first
    again = command("features", data, "--person", person, "--device", "cpu")
    assert "speech: 2 scenes, 0 computed now" in again
    assert LIPS not in again
    (folder,) = (data / "features").iterdir()
    assert np.load(next(folder.glob("a.*.npy"))).shape == (1, 90, tiny_person.AUDIO)


def test_options_change_the_pieces_and_the_folder_of_features(
    command, data: Path, tmp_path: Path
) -> None:
    person, out = tiny_person.write_tiny_person(tmp_path), tmp_path / "out"
    command(
        *("features", data, "--person", person, "--out", out, "--device", "cpu"),
        *("--piece-seconds", 2, "--hop-seconds", 1, "--dtype", "float16"),
    )
    (folder,) = out.iterdir()
    array = np.load(next(folder.glob("a.*.npy")))
    assert (array.shape, array.dtype) == ((2, 60, tiny_person.AUDIO), np.float16)
    assert not (data / "features").exists()


@pytest.mark.parametrize("arguments", [("check",), ("stats",), ("features", "--person", ".")])
def test_errors_are_one_sentence(command, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    answer = command(arguments[0], tmp_path, *arguments[1:])
    assert answer.status == 2
    assert ("no scenes" in answer.error) or ("weights not found" in answer.error)
    assert answer.error.count("\n") == 1


def archive(data: Path, *, inside: str = f"{PERSON}/", statistics: bytes | None = None) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        file.writestr(f"{inside}README.md", "not part of the dataset")
        for path in data.iterdir():
            file.write(path, f"{inside}{path.name}")
        if statistics is not None:
            file.writestr(f"{inside}data_stats.pth", statistics)
    return written.getvalue()


@pytest.fixture
def host(
    data: Path, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyHttpServer]:
    path = tmp_path / "data_stats.pth"
    command("stats", data, "--released", "--out", path)
    monkeypatch.setitem(download.STATISTICS, PERSON, sha256_of(path))
    host = FaultyHttpServer({f"{PERSON}.zip": archive(data), STATISTICS: path.read_bytes()})
    yield host
    host.close()


def test_recordings_are_downloaded_after_the_licence_is_accepted(
    command, host: FaultyHttpServer, tmp_path: Path
) -> None:
    arguments = ("download", PERSON, "--to", tmp_path / "dataset", "--from", host.url)
    refused = command(*arguments)
    assert (refused.status, host.requests) == (2, [])
    assert "CC BY-NC 4.0" in refused
    assert "--accept-licence" in refused.error
    host.faults = iter(["break"])
    done = command(*arguments, "--accept-licence")
    folder = tmp_path / "dataset" / PERSON
    assert done.status == 0, done.error
    assert done.splitlines()[-1] == f"2 scenes in {folder}"
    assert sorted(path.name for path in folder.iterdir())[-1] == "data_stats.pth"
    assert [files.name for files in find_scenes(folder)] == ["a", "b"]
    assert not (folder / "README.md").exists()
    assert list((tmp_path / "dataset" / "downloads").glob("*.zip")) == []
    requests_before = len(host.requests)
    assert f"{folder} exists already" in command(*arguments, "--accept-licence")
    assert len(host.requests) == requests_before


def test_statistics_of_the_archive_are_kept_and_are_optional(
    command, host: FaultyHttpServer, data: Path, tmp_path: Path
) -> None:
    arguments = ("download", PERSON, "--from", host.url, "--accept-licence", "--to")
    del host.files[STATISTICS]
    without = command(*arguments, tmp_path / "one", "--keep-archive")
    assert without.status == 0
    assert f"{STATISTICS}: status 404" in without
    assert "continuing without statistics" in without
    assert (tmp_path / "one" / "downloads" / f"{PERSON}.zip").is_file()
    host.files[f"{PERSON}.zip"] = archive(data, inside="", statistics=b"inside")
    command(*arguments, tmp_path / "two")
    assert (tmp_path / "two" / PERSON / "data_stats.pth").read_bytes() == b"inside"


def test_an_existing_archive_needs_no_host(command, data: Path, tmp_path: Path) -> None:
    (tmp_path / f"{PERSON}.zip").write_bytes(archive(data))
    arguments = ("download", PERSON, "--to", tmp_path / "dataset", "--accept-licence", "--from")
    assert f"2 scenes in {tmp_path / 'dataset' / PERSON}" in command(*arguments, tmp_path)
    assert (tmp_path / f"{PERSON}.zip").is_file()
    assert (
        "not found; pass the folder"
        in command(*arguments[:2], "--to", tmp_path, *arguments[4:], data).error
    )


def test_a_failed_download_leaves_no_partial_dataset(
    command, host: FaultyHttpServer, data: Path, tmp_path: Path
) -> None:
    (data / "a_body_pose.npy").unlink()
    for content, arguments in (
        (None, "status 404, the file is not available; use --from"),
        (b"PK\x03\x04 cut off", "damaged or truncated"),
        (archive(data, inside="../"), "a path outside its folder"),
        (archive(data), "missing a_body_pose.npy"),
    ):
        to = tmp_path / "dataset"
        (to / "downloads" / f"{PERSON}.zip").unlink(missing_ok=True)
        host.files[f"{PERSON}.zip"] = content
        answer = command("download", PERSON, "--to", to, "--from", host.url, "--accept-licence")
        assert answer.status == 2
        assert arguments in answer.error
        assert not (to / PERSON).exists()
        assert list(to.glob(f".{PERSON}*")) == []


def test_recordings_of_other_people_are_not_available(command, tmp_path: Path) -> None:
    answer = command("download", "ada", "--to", tmp_path, "--accept-licence")
    assert answer.error == (
        "python -m training: no recordings of 'ada' were released; available are PXB184, RLW104, "
        "TXB805, GQS883\n"
    )
