"""Resumable downloads of released files.

The hosts belong to others, and one of them has been unavailable for weeks, so each URL can be
replaced by a mirror.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from contracts.errors import InputError
from contracts.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    import httpx

    Progress = Callable[[str, int, int | None], None]  # path, bytes received, bytes in total

CODE = "https://github.com/facebookresearch/audio2photoreal/raw/HEAD"
MODELS = "http://audio2photoreal_models.berkeleyvision.org"
RECORDINGS = "https://github.com/facebookresearch/audio2photoreal/releases/download/v1.0"
AVATARS = "https://github.com/facebookresearch/ca_body/releases/download/v0.0.1-alpha"
STATISTICS = {  # SHA-256 of data_stats.pth as released
    "PXB184": "66d7f087762ace56257cf3201761b50e3bc9690ec43a672155f80a3208f4b486",
    "RLW104": "308d3938ca9ecf01bcf32d283c0a360f1a485fdd790255c18ecc9590cd9f607d",
    "TXB805": "519502dc5fe5ac7e2b753dd6870943041847791e48011bd27d56f72133b50bab",
    "GQS883": "37ee30078b7fa24d745c57f075661a1062ac7bd6b59405d31bfe2a855ac66b66",
}
PEOPLE = tuple(STATISTICS)
ATTEMPTS = 6
MAX_DELAY = 30.0  # seconds between attempts
TIMEOUT, CONNECT_TIMEOUT = 60.0, 20.0  # seconds
SERVER_ERROR, TOO_MANY_REQUESTS, BAD_REQUEST = 500, 429, 400
PARTIAL, NOT_SATISFIABLE = 206, 416
WEB_PAGE = "text/html"
LICENCE = """\
{person} was released by Meta with the paper "From Audio to Photoreal Embodiment" (Ng et al., arXiv 2401.01885)
under CC BY-NC 4.0: you may use and share the files with the authors' names, and not commercially.
They show a real person. https://creativecommons.org/licenses/by-nc/4.0/"""  # noqa: E501


class DownloadError(InputError):
    """Failed download."""


class _Interrupted(Exception):
    """Missing or incomplete response; the request can be retried."""


@dataclass(frozen=True)
class Download:
    """One file: its URL and its path below the folder of downloads."""

    path: str
    url: str
    sha256: str | None = None
    required: bool = True


def person_downloads(person: str, origin: str | None = None) -> list[Download]:
    """Files of a person. origin: URL of a mirror that has the files under their paths."""
    downloads = [
        Download(f"{person}_models.tar", f"{MODELS}/{person}_models.tar"),
        Download(f"{person}.tar.gz", f"{AVATARS}/{person}.tar.gz"),
        Download("asset_models.tar", f"{MODELS}/asset_models.tar", required=False),
        _code(f"assets/render_defaults_{person}.pth"),
        _code(f"dataset/{person}/data_stats.pth", STATISTICS.get(person)),
    ]
    return _from(origin, downloads)


def dataset_downloads(person: str, origin: str | None = None) -> list[Download]:
    """Files of the dataset of a person: an archive of scenes and their statistics."""
    archive = Download(f"{person}.zip", f"{RECORDINGS}/{person}.zip")
    statistics = _code(f"dataset/{person}/data_stats.pth", STATISTICS.get(person))
    return _from(origin, [archive, statistics])


def _from(origin: str | None, downloads: list[Download]) -> list[Download]:
    """Replace the URLs by those of a mirror, if one is given."""
    if origin is None:
        return downloads
    base = origin.rstrip("/")
    return [replace(each, url=f"{base}/{each.path}") for each in downloads]


def fetch(
    download: Download,
    folder: Path,
    *,
    progress: Progress = lambda _path, _received, _total: None,
    pause: Callable[[float], None] = time.sleep,
) -> Path:
    """Download a file unless it exists, and resume a partial download.

    Raises: DownloadError: when the file cannot be downloaded, with advice.
    """
    path = folder / download.path
    if not path.is_file():
        httpx = _client_library(download)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        limits = httpx.Timeout(TIMEOUT, connect=CONNECT_TIMEOUT)
        with httpx.Client(timeout=limits, follow_redirects=True) as http:
            _download(http, download, part, progress, pause)
        _check(download, part)
        part.replace(path)
        _tag(part).unlink(missing_ok=True)
    return path


def _client_library(download: Download) -> ModuleType:
    """Import httpx, an optional dependency of models."""
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise DownloadError(
            f"{download.url}: downloading needs httpx; `pip install httpx`, or {_advice(download)}"
        ) from error
    return httpx


def _download(
    http: httpx.Client,
    download: Download,
    part: Path,
    progress: Progress,
    pause: Callable[[float], None],
) -> None:
    """Retry until the file is complete, at most ATTEMPTS times without a new byte."""
    failures = 0
    while True:
        received = _size(part)
        try:
            _request(http, download, part, progress)
        except _Interrupted as error:
            failures = 0 if _size(part) > received else failures + 1
            if failures == ATTEMPTS:
                raise DownloadError(_unreachable(download, error)) from error
            pause(min(2.0**failures, MAX_DELAY))
        else:
            return


def _request(http: httpx.Client, download: Download, part: Path, progress: Progress) -> None:
    """Request the missing bytes.

    Raises: _Interrupted: when the response ends early; the received bytes stay in `part`.
    """
    import httpx

    received, tag = _size(part), _tag(part)
    headers = {"Accept-Encoding": "identity"}
    if received:
        headers["Range"] = f"bytes={received}-"
        if tag.is_file():
            headers["If-Range"] = tag.read_text(encoding="utf-8")
    try:
        with http.stream("GET", download.url, headers=headers) as response:
            _handle(response, download, part, progress)
    except httpx.TransportError as error:
        raise _Interrupted(str(error) or type(error).__name__) from error


def _handle(response: httpx.Response, download: Download, part: Path, progress: Progress) -> None:
    received = _size(part)
    content_range = response.headers.get("Content-Range", "")
    if response.status_code == NOT_SATISFIABLE and received:
        if content_range == f"bytes */{received}":
            return  # the file was already complete
        part.unlink()
        raise _Interrupted("the partial file does not match the file on the server")
    _check_response(download, response)
    if response.status_code != PARTIAL or f"bytes {received}-" not in content_range:
        received = 0
    _receive(response, download, part, received, progress)


def _receive(
    response: httpx.Response, download: Download, part: Path, received: int, progress: Progress
) -> None:
    length = response.headers.get("Content-Length", "")
    total = received + int(length) if length.isdigit() else None
    _check_disk_space(download, part, total, received)
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
    if validator and not validator.startswith("W/"):
        _tag(part).write_text(validator, encoding="utf-8")
    with part.open("r+b" if received else "wb") as file:
        file.seek(received)
        file.truncate()
        for chunk in response.iter_raw():
            file.write(chunk)
            received += len(chunk)
            progress(download.path, received, total)
    if total is not None and received < total:
        raise _Interrupted(f"the connection closed after {received} of {total} bytes")


def _check_response(download: Download, response: httpx.Response) -> None:
    status = response.status_code
    if status >= SERVER_ERROR or status == TOO_MANY_REQUESTS:
        raise _Interrupted(f"status {status}")
    if status >= BAD_REQUEST:
        raise DownloadError(
            f"{download.url}: status {status}, the file is not available; {_advice(download)}"
        )
    if response.headers.get("Content-Type", "").startswith(WEB_PAGE):
        raise DownloadError(
            f"{download.url}: the response is a web page, not the file; {_advice(download)}"
        )


def _check_disk_space(download: Download, part: Path, total: int | None, received: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - received > free:
        raise DownloadError(
            f"{download.path}: needs {(total - received) / 1e9:.1f} GB more, {part.parent} has "
            f"{free / 1e9:.1f} GB; free some space, or name a folder on another disk"
        )


def _check(download: Download, part: Path) -> None:
    """Compare the file with its SHA-256, if known, and delete it if they differ."""
    if download.sha256 is None:
        return
    digest = sha256_of(part)
    if digest != download.sha256:
        part.unlink()
        raise DownloadError(
            f"{download.url}: not the released file (sha256 {digest[:12]}…, expected "
            f"{download.sha256[:12]}…); {_advice(download)}"
        )


def _code(path: str, sha256: str | None = None) -> Download:
    return Download(path, f"{CODE}/{path}", sha256)


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _unreachable(download: Download, error: Exception) -> str:
    host = urlsplit(download.url).netloc
    return (
        f"{host}: {ATTEMPTS} attempts failed ({error}); the received part of {download.path} is "
        f"kept and will be resumed: try again later, or {_advice(download)}"
    )


def _advice(download: Download) -> str:
    return f"use --from with the URL of a mirror or a folder that contains {download.path}"
