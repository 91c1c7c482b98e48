"""Downloads of released files from a faulty server."""

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
    host.close()


def download_of(host: FaultyHttpServer, **more: str) -> Download:
    return Download("in/file.tar", f"{host.url}/file.tar", **more)  # type: ignore[arg-type]


def fetch_from(host: FaultyHttpServer, folder: Path, **more: str) -> tuple[bytes, list[float]]:
    """Fetch the file without waiting; return its content and the pauses."""
    pauses: list[float] = []
    path = fetch(download_of(host, **more), folder, pause=pauses.append)
    assert [each.name for each in path.parent.iterdir()] == ["file.tar"]
    return path.read_bytes(), pauses


def test_a_file_is_fetched_once(host: FaultyHttpServer, tmp_path: Path) -> None:
    assert fetch_from(host, tmp_path) == (CONTENT, [])
    assert fetch_from(host, tmp_path) == (CONTENT, [])
    assert host.requests == [("/file.tar", None)]


def test_an_interrupted_download_is_resumed(host: FaultyHttpServer, tmp_path: Path) -> None:
    host.faults = iter(["break", "break", ""])
    content, pauses = fetch_from(host, tmp_path)
    assert content == CONTENT
    assert len(pauses) == 2
    half = len(CONTENT) // 2
    assert [requested for _, requested in host.requests] == [
        None, f"bytes={half}-", f"bytes={half + half // 2}-",
    ]  # fmt: skip


def test_a_later_call_resumes_the_download(host: FaultyHttpServer, tmp_path: Path) -> None:
    host.faults = iter(["break"] + ["503"] * ATTEMPTS)
    with pytest.raises(DownloadError, match=r"^127\.0\.0\.1:\d+: 6 attempts failed"):
        fetch(download_of(host), tmp_path, pause=lambda _: None)
    assert fetch_from(host, tmp_path)[0] == CONTENT
    assert host.requests[-1][1] == f"bytes={len(CONTENT) // 2}-"


def test_without_support_for_ranges_the_file_is_downloaded_again(
    host: FaultyHttpServer, tmp_path: Path
) -> None:
    host.faults = iter(["break", "no ranges"])
    assert fetch_from(host, tmp_path)[0] == CONTENT


def test_a_file_that_changed_is_downloaded_from_the_start(
    host: FaultyHttpServer, tmp_path: Path
) -> None:
    host.faults = iter(["break"] + ["500"] * ATTEMPTS)
    with pytest.raises(DownloadError):
        fetch(download_of(host), tmp_path, pause=lambda _: None)
    host.tag, host.files = '"second"', {"file.tar": CONTENT[::-1]}
    assert fetch_from(host, tmp_path)[0] == CONTENT[::-1]


def test_a_complete_partial_file_is_used(host: FaultyHttpServer, tmp_path: Path) -> None:
    part = tmp_path / "in" / "file.tar.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    assert fetch_from(host, tmp_path)[0] == CONTENT


def test_a_partial_file_that_does_not_match_is_deleted(
    host: FaultyHttpServer, tmp_path: Path
) -> None:
    part = tmp_path / "in" / "file.tar.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT + b"more")
    assert fetch_from(host, tmp_path)[0] == CONTENT


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("404", "status 404, the file is not available; use --from with the URL of a mirror or"),
        ("403", "status 403, the file is not available"),
        ("page", "the response is a web page, not the file; use --from"),
    ],
)
def test_an_unavailable_file_is_reported_without_a_retry(
    host: FaultyHttpServer, tmp_path: Path, fault: str, message: str
) -> None:
    host.faults = iter([fault])
    with pytest.raises(DownloadError, match=message):
        fetch(download_of(host), tmp_path, pause=lambda _: pytest.fail("a retry cannot help"))
    assert len(host.requests) == 1


def test_an_unreachable_host_is_reported_after_several_attempts(tmp_path: Path) -> None:
    host = FaultyHttpServer({})
    host.close()
    pauses: list[float] = []
    with pytest.raises(DownloadError) as caught:
        fetch(download_of(host), tmp_path, pause=pauses.append)
    assert len(pauses) == ATTEMPTS - 1
    message = str(caught.value)
    assert message.startswith(host.url.removeprefix("http://"))
    assert "kept and will be resumed: try again later, or use --from with the URL" in message


def test_a_file_with_another_sha256_is_refused(host: FaultyHttpServer, tmp_path: Path) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    assert fetch_from(host, tmp_path, sha256=right)[0] == CONTENT
    with pytest.raises(DownloadError, match="not the released file"):
        fetch(download_of(host, sha256=ZEROS), tmp_path / "other", pause=lambda _: None)
    assert list((tmp_path / "other" / "in").glob("*.part")) == []


def test_progress_is_reported(host: FaultyHttpServer, tmp_path: Path) -> None:
    reports: list[tuple[str, int, int | None]] = []
    fetch(download_of(host), tmp_path, progress=lambda *report: reports.append(report))
    assert reports[-1] == ("in/file.tar", len(CONTENT), len(CONTENT))


def test_urls_are_those_of_the_authors_or_of_a_mirror() -> None:
    downloads = {each.path: each for each in person_downloads(PERSON)}
    assert downloads[f"{PERSON}_models.tar"].url == (
        f"http://audio2photoreal_models.berkeleyvision.org/{PERSON}_models.tar"
    )
    assert all(each.url.endswith(each.path) for each in downloads.values())
    assert [each.path for each in downloads.values() if not each.required] == ["asset_models.tar"]
    assert [each.path for each in downloads.values() if each.sha256] == [STATISTICS]
    mirrored = person_downloads(PERSON, "https://mirror.example/a2p/")
    assert [each.url for each in mirrored] == [
        f"https://mirror.example/a2p/{path}" for path in downloads
    ]


def test_a_dataset_is_an_archive_and_its_statistics() -> None:
    archive, statistics = dataset_downloads(PERSON)
    assert archive.url == (
        f"https://github.com/facebookresearch/audio2photoreal/releases/download/v1.0/{PERSON}.zip"
    )
    assert statistics.sha256
    assert [each.url for each in dataset_downloads(PERSON, "https://mirror.example/a2p/")] == [
        f"https://mirror.example/a2p/{PERSON}.zip",
        f"https://mirror.example/a2p/{STATISTICS}",
    ]


def test_the_error_without_httpx_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(DownloadError, match=r"needs httpx; `pip install httpx`, or use --from"):
        fetch(Download("a.tar", "http://127.0.0.1:9/a.tar"), tmp_path)
