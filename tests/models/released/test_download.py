"""Released files from a host that misbehaves."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.released.download import (
    ATTEMPTS,
    Download,
    DownloadError,
    dataset_downloads,
    fetch,
    person_downloads,
)
from tests.faulty_http_server import FaultyHttpServer
from tests.released_layout import PERSON

CONTENT = bytes(range(256)) * 4000
ZEROS = "0" * 64
STATISTICS = f"dataset/{PERSON}/data_stats.pth"


@pytest.fixture
def host() -> Iterator[FaultyHttpServer]:
    host = FaultyHttpServer({"file.tar": CONTENT})
    yield host
    host.server.shutdown()
    host.server.server_close()


def parcel(host: FaultyHttpServer, **more: str) -> Download:
    return Download("in/file.tar", f"{host.url}/file.tar", **more)  # type: ignore[arg-type]


def patiently(host: FaultyHttpServer, folder: Path, **more: str) -> tuple[bytes, list[float]]:
    """What was fetched, and the pauses; nobody waits."""
    pauses: list[float] = []
    path = fetch(parcel(host, **more), folder, pause=pauses.append)
    assert [each.name for each in path.parent.iterdir()] == ["file.tar"]
    return path.read_bytes(), pauses


def test_a_file_is_fetched_once(host: FaultyHttpServer, tmp_path: Path) -> None:
    assert patiently(host, tmp_path) == (CONTENT, [])
    assert patiently(host, tmp_path) == (CONTENT, [])
    assert host.requests == [("/file.tar", None)]


def test_what_breaks_off_is_continued(host: FaultyHttpServer, tmp_path: Path) -> None:
    host.faults = iter(["break", "break", ""])
    content, pauses = patiently(host, tmp_path)
    assert content == CONTENT
    assert len(pauses) == 2
    half = len(CONTENT) // 2
    assert [asked for _, asked in host.requests] == [
        None, f"bytes={half}-", f"bytes={half + half // 2}-",
    ]  # fmt: skip


def test_a_later_call_continues_too(host: FaultyHttpServer, tmp_path: Path) -> None:
    host.faults = iter(["break"] + ["503"] * ATTEMPTS)
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:\d+ cannot be reached or breaks off"):
        fetch(parcel(host), tmp_path, pause=lambda _: None)
    assert patiently(host, tmp_path)[0] == CONTENT
    assert host.requests[-1][1] == f"bytes={len(CONTENT) // 2}-"


def test_a_host_that_knows_no_ranges_sends_it_again(host: FaultyHttpServer, tmp_path: Path) -> None:
    host.faults = iter(["break", "no ranges"])
    assert patiently(host, tmp_path)[0] == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(
    host: FaultyHttpServer, tmp_path: Path
) -> None:
    host.faults = iter(["break"] + ["500"] * ATTEMPTS)
    with pytest.raises(DownloadError):
        fetch(parcel(host), tmp_path, pause=lambda _: None)
    host.tag, host.files = '"second"', {"file.tar": CONTENT[::-1]}
    assert patiently(host, tmp_path)[0] == CONTENT[::-1]


def test_a_part_that_is_whole_already_is_taken(host: FaultyHttpServer, tmp_path: Path) -> None:
    part = tmp_path / "in" / "file.tar.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    assert patiently(host, tmp_path)[0] == CONTENT


def test_a_part_that_does_not_belong_to_it_is_thrown_away(
    host: FaultyHttpServer, tmp_path: Path
) -> None:
    part = tmp_path / "in" / "file.tar.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT + b"more")
    assert patiently(host, tmp_path)[0] == CONTENT


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("404", "answers 404: the file is no longer there; say --from with a mirror, or"),
        ("403", "answers 403: the file is no longer there"),
        ("page", "answers with a web page, not with the file; say --from"),
    ],
)
def test_a_file_that_is_gone_is_told_at_once(
    host: FaultyHttpServer, tmp_path: Path, how: str, words: str
) -> None:
    host.faults = iter([how])
    with pytest.raises(DownloadError, match=words):
        fetch(parcel(host), tmp_path, pause=lambda _: pytest.fail("no use in waiting"))
    assert len(host.requests) == 1


def test_a_host_that_is_gone_is_told_after_some_attempts(tmp_path: Path) -> None:
    host = FaultyHttpServer({})
    host.server.server_close()
    pauses: list[float] = []
    with pytest.raises(DownloadError) as caught:
        fetch(parcel(host), tmp_path, pause=pauses.append)
    assert len(pauses) == ATTEMPTS - 1
    told = str(caught.value)
    assert told.startswith(host.url.removeprefix("http://"))
    assert "kept and continued: try again later, or say --from with a mirror" in told


def test_a_file_is_held_against_its_sha256(host: FaultyHttpServer, tmp_path: Path) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    assert patiently(host, tmp_path, sha256=right)[0] == CONTENT
    with pytest.raises(DownloadError, match="is not the file that was released"):
        fetch(parcel(host, sha256=ZEROS), tmp_path / "other", pause=lambda _: None)
    assert list((tmp_path / "other" / "in").glob("*.part")) == []


def test_progress_is_told(host: FaultyHttpServer, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    fetch(parcel(host), tmp_path, progress=lambda *what: told.append(what))
    assert told[-1] == ("in/file.tar", len(CONTENT), len(CONTENT))


def test_addresses_are_those_of_the_authors_or_of_a_mirror() -> None:
    known = {each.place: each for each in person_downloads(PERSON)}
    assert known[f"{PERSON}_models.tar"].address == (
        f"http://audio2photoreal_models.berkeleyvision.org/{PERSON}_models.tar"
    )
    assert all(each.address.endswith(each.place) for each in known.values())
    assert [each.place for each in known.values() if not each.needed] == ["asset_models.tar"]
    assert [each.place for each in known.values() if each.sha256] == [STATISTICS]
    mirrored = person_downloads(PERSON, "https://mirror.example/a2p/")
    assert [each.address for each in mirrored] == [
        f"https://mirror.example/a2p/{place}" for place in known
    ]


def test_recordings_are_an_archive_and_its_statistics() -> None:
    archive, statistics = dataset_downloads(PERSON)
    assert archive.address == (
        f"https://github.com/facebookresearch/audio2photoreal/releases/download/v1.0/{PERSON}.zip"
    )
    assert statistics.sha256
    assert [each.address for each in dataset_downloads(PERSON, "https://mirror.example/a2p/")] == [
        f"https://mirror.example/a2p/{PERSON}.zip",
        f"https://mirror.example/a2p/{STATISTICS}",
    ]


def test_without_the_library_it_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(DownloadError, match=r"needs httpx; `pip install httpx`, or say --from"):
        fetch(Download("a.tar", "http://127.0.0.1:9/a.tar"), tmp_path)
