"""`python -m training data ...`: what it says, what it writes, and its exit status."""

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


class Said(str):
    """What a command wrote, with its exit status."""

    status: int
    complaint: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["training", "data", *map(str, words)])
        status, complaint = 0, ""
        try:
            main()
        except SystemExit as left:
            status, complaint = (
                (left.code, "") if isinstance(left.code, int) else (1, str(left.code))
            )
        said = Said(capsys.readouterr().out)
        said.status, said.complaint = status, complaint
        return said

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_scene(tmp_path / "data", "a", 90)
    write_scene(tmp_path / "data", "b", 60, missing=[3, 4])
    return tmp_path / "data"


def test_check_tells_every_finding_and_fails_where_one_is_an_error(command, data: Path) -> None:
    fine = command("check", data)
    assert fine.status == 0
    assert fine.splitlines() == [
        "note: b_missing_face_frames.npy frame 3: 2 of 60 frames (3.3%) have no face: 3-4",
        "2 scenes, 0.1 min: 0 errors, 0 warnings, 1 notes",
    ]
    (data / "a_body_pose.npy").unlink()
    bad = command("check", data)
    assert bad.status == 1
    assert "error: a_body_pose.npy: it is not there" in bad.splitlines()
    listed = command("check", data, "--json")
    assert listed.status == 1
    first = json.loads(listed)["findings"][0]
    assert (first["level"], first["file"], first["frame"]) == ("error", "a_body_pose.npy", None)


def test_stats_are_written_in_both_forms(command, data: Path, tmp_path: Path) -> None:
    assert command("stats", data) == f"{data / 'stats.json'}\n"
    statistics = load_statistics(data / "stats.json", device=torch.device("cpu"))
    path = tmp_path / "data_stats.pth"
    assert command("stats", data, "--released", "--out", path) == f"{path}\n"
    released = networks.statistics(read_torch(path), path)
    np.testing.assert_allclose(statistics.pose_mean, released["pose_mean"], rtol=1e-6)
    assert [each.name for each in data.glob(".*")] == []


def test_features_are_made_once(command, data: Path, tmp_path: Path) -> None:
    person = tiny_person.write_tiny_person(tmp_path)
    first = command("features", data, "--person", person, "--device", "cpu")
    assert first.splitlines()[:2] == ["  a  1 of 2", "  b  2 of 2"]
    assert "speech: 2 scenes, 2 heard now, 0.00 GB in" in first
    again = command("features", data, "--person", person, "--device", "cpu")
    assert "speech: 2 scenes, 0 heard now" in again
    assert LIPS not in again
    (place,) = (data / "features").iterdir()
    assert np.load(next(place.glob("a.*.npy"))).shape == (1, 90, tiny_person.AUDIO)


def test_features_may_be_of_other_pieces_and_elsewhere(command, data: Path, tmp_path: Path) -> None:
    person, out = tiny_person.write_tiny_person(tmp_path), tmp_path / "out"
    command(
        *("features", data, "--person", person, "--out", out, "--device", "cpu"),
        *("--piece-seconds", 2, "--hop-seconds", 1, "--dtype", "float16"),
    )
    (place,) = out.iterdir()
    found = np.load(next(place.glob("a.*.npy")))
    assert (found.shape, found.dtype) == ((2, 60, tiny_person.AUDIO), np.float16)
    assert not (data / "features").exists()


@pytest.mark.parametrize("words", [("check",), ("stats",), ("features", "--person", ".")])
def test_what_is_wrong_is_one_sentence(command, tmp_path: Path, words: tuple[str, ...]) -> None:
    said = command(words[0], tmp_path, *words[1:])
    assert said.status == 1
    assert ("no scenes" in said.complaint) or ("weights not found" in said.complaint)
    assert "\n" not in said.complaint


def archive(data: Path, *, inside: str = f"{PERSON}/", statistics: bytes | None = None) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        file.writestr(f"{inside}README.md", "not wanted")
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
    host.server.shutdown()
    host.server.server_close()


def test_recordings_are_fetched_after_the_licence_was_accepted(
    command, host: FaultyHttpServer, tmp_path: Path
) -> None:
    words = ("download", PERSON, "--to", tmp_path / "dataset", "--from", host.url)
    refused = command(*words)
    assert (refused.status, host.requests) == (1, [])
    assert "CC BY-NC 4.0" in refused
    assert "--accept-licence" in refused.complaint
    host.faults = iter(["break"])
    done = command(*words, "--accept-licence")
    place = tmp_path / "dataset" / PERSON
    assert done.status == 0, done.complaint
    assert done.splitlines()[-1] == f"2 scenes in {place}"
    assert sorted(path.name for path in place.iterdir())[-1] == "data_stats.pth"
    assert [files.name for files in find_scenes(place)] == ["a", "b"]
    assert not (place / "README.md").exists()
    assert list((tmp_path / "dataset" / "downloads").glob("*.zip")) == []
    asked = len(host.requests)
    assert f"{place} is there already" in command(*words, "--accept-licence")
    assert len(host.requests) == asked


def test_statistics_in_the_archive_are_kept_and_it_goes_without_any(
    command, host: FaultyHttpServer, data: Path, tmp_path: Path
) -> None:
    words = ("download", PERSON, "--from", host.url, "--accept-licence", "--to")
    del host.files[STATISTICS]
    without = command(*words, tmp_path / "one", "--keep-archive")
    assert without.status == 0
    assert f"{STATISTICS}: status 404" in without
    assert "it goes without" in without
    assert (tmp_path / "one" / "downloads" / f"{PERSON}.zip").is_file()
    host.files[f"{PERSON}.zip"] = archive(data, inside="", statistics=b"inside")
    command(*words, tmp_path / "two")
    assert (tmp_path / "two" / PERSON / "data_stats.pth").read_bytes() == b"inside"


def test_an_archive_that_is_there_needs_no_host(command, data: Path, tmp_path: Path) -> None:
    (tmp_path / f"{PERSON}.zip").write_bytes(archive(data))
    words = ("download", PERSON, "--to", tmp_path / "dataset", "--accept-licence", "--from")
    assert f"2 scenes in {tmp_path / 'dataset' / PERSON}" in command(*words, tmp_path)
    assert (tmp_path / f"{PERSON}.zip").is_file()
    assert "there is no" in command(*words[:2], "--to", tmp_path, *words[4:], data).complaint


def test_what_cannot_be_fetched_leaves_nothing_half_done(
    command, host: FaultyHttpServer, data: Path, tmp_path: Path
) -> None:
    (data / "a_body_pose.npy").unlink()
    for content, words in (
        (None, "status 404, the file is not available; use --from"),
        (b"PK\x03\x04 cut off", "damaged or truncated"),
        (archive(data, inside="../"), "a path outside its folder"),
        (archive(data), "missing a_body_pose.npy"),
    ):
        to = tmp_path / "dataset"
        (to / "downloads" / f"{PERSON}.zip").unlink(missing_ok=True)
        host.files[f"{PERSON}.zip"] = content
        said = command("download", PERSON, "--to", to, "--from", host.url, "--accept-licence")
        assert said.status == 1
        assert words in said.complaint
        assert not (to / PERSON).exists()
        assert list(to.glob(f".{PERSON}*")) == []


def test_nobody_else_was_released(command, tmp_path: Path) -> None:
    said = command("download", "ada", "--to", tmp_path, "--accept-licence")
    assert said.complaint == (
        "there are no released recordings of 'ada'; there are PXB184, RLW104, TXB805, GQS883"
    )
