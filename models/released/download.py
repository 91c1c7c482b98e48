"""Released files over the network: continued where they broke off, and clear words when gone.

The hosts are not ours. One has been down for weeks at a time; every address can be replaced.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    import httpx

    Progress = Callable[[str, int, int | None], None]  # name, bytes so far, bytes in all

CODE = "https://github.com/facebookresearch/audio2photoreal/raw/HEAD"
MODELS = "http://audio2photoreal_models.berkeleyvision.org"
RECORDINGS = "https://github.com/facebookresearch/audio2photoreal/releases/download/v1.0"
AVATARS = "https://github.com/facebookresearch/ca_body/releases/download/v0.0.1-alpha"
STATISTICS = {  # sha256 of the files that were seen
    "PXB184": "66d7f087762ace56257cf3201761b50e3bc9690ec43a672155f80a3208f4b486",
    "RLW104": "308d3938ca9ecf01bcf32d283c0a360f1a485fdd790255c18ecc9590cd9f607d",
    "TXB805": "519502dc5fe5ac7e2b753dd6870943041847791e48011bd27d56f72133b50bab",
    "GQS883": "37ee30078b7fa24d745c57f075661a1062ac7bd6b59405d31bfe2a855ac66b66",
}
PEOPLE = tuple(STATISTICS)
ATTEMPTS = 6
LONGEST_PAUSE = 30.0  # seconds
TIMEOUT, CONNECT_TIMEOUT = 60.0, 20.0  # seconds
SERVER_ERROR, TOO_MANY, BAD_REQUEST = 500, 429, 400
PARTIAL, NOT_SATISFIABLE = 206, 416
WEB_PAGE = "text/html"
LICENCE = """\
{person} was released by Meta with the paper "From Audio to Photoreal Embodiment" (Ng et al., arXiv 2401.01885)
under CC BY-NC 4.0: you may use and share the files with the authors' names, and not commercially.
They show a real person. https://creativecommons.org/licenses/by-nc/4.0/"""  # noqa: E501


class DownloadError(RuntimeError):
    """A file that could not be fetched: one sentence."""


class _BrokenOff(Exception):
    """An answer that did not come or ended early; asking again may help."""


@dataclass(frozen=True)
class Download:
    """One file: where it is, and where it goes below the folder of downloads."""

    place: str
    address: str
    sha256: str | None = None
    needed: bool = True


def person_downloads(person: str, origin: str | None = None) -> list[Download]:
    """What a person is made of. origin: a mirror that has the files under their places."""
    known = [
        Download(f"{person}_models.tar", f"{MODELS}/{person}_models.tar"),
        Download(f"{person}.tar.gz", f"{AVATARS}/{person}.tar.gz"),
        Download("asset_models.tar", f"{MODELS}/asset_models.tar", needed=False),
        _code(f"assets/render_defaults_{person}.pth"),
        _code(f"dataset/{person}/data_stats.pth", STATISTICS.get(person)),
    ]
    return _from(origin, known)


def dataset_downloads(person: str, origin: str | None = None) -> list[Download]:
    """The dataset of a person: scenes in an archive, and their statistics."""
    archive = Download(f"{person}.zip", f"{RECORDINGS}/{person}.zip")
    statistics = _code(f"dataset/{person}/data_stats.pth", STATISTICS.get(person))
    return _from(origin, [archive, statistics])


def _from(origin: str | None, known: list[Download]) -> list[Download]:
    """The same from a mirror, if there is one."""
    if origin is None:
        return known
    base = origin.rstrip("/")
    return [
        Download(each.place, f"{base}/{each.place}", each.sha256, each.needed) for each in known
    ]


def fetch(
    parcel: Download,
    folder: Path,
    *,
    progress: Progress = lambda _name, _done, _all: None,
    pause: Callable[[float], None] = time.sleep,
) -> Path:
    """The file, from an earlier call if it is whole; a part of it is continued.

    DownloadError says what to do.
    """
    path = folder / parcel.place
    if not path.is_file():
        httpx = _client_library(parcel)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        limits = httpx.Timeout(TIMEOUT, connect=CONNECT_TIMEOUT)
        with httpx.Client(timeout=limits, follow_redirects=True) as http:
            _persist(http, parcel, part, progress, pause)
        _check(parcel, part)
        part.replace(path)
        _tag(part).unlink(missing_ok=True)
    return path


def _client_library(parcel: Download) -> ModuleType:
    """httpx, which is not on every machine that has models."""
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise DownloadError(
            f"fetching {parcel.address} needs httpx; `pip install httpx`, or {_advice(parcel)}"
        ) from error
    return httpx


def _persist(
    http: httpx.Client,
    parcel: Download,
    part: Path,
    progress: Progress,
    pause: Callable[[float], None],
) -> None:
    """Until it is whole, or has failed ATTEMPTS times without a byte more."""
    failed = 0
    while True:
        have = _size(part)
        try:
            _ask(http, parcel, part, progress)
        except _BrokenOff as error:
            failed = 0 if _size(part) > have else failed + 1
            if failed == ATTEMPTS:
                raise DownloadError(_unreachable(parcel, error)) from error
            pause(min(2.0**failed, LONGEST_PAUSE))
        else:
            return


def _ask(http: httpx.Client, parcel: Download, part: Path, progress: Progress) -> None:
    """For what is missing. _BrokenOff when it breaks off; what came is kept."""
    import httpx

    have, tag = _size(part), _tag(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.is_file():
            headers["If-Range"] = tag.read_text(encoding="utf-8")
    try:
        with http.stream("GET", parcel.address, headers=headers) as answer:
            _take(answer, parcel, part, progress)
    except httpx.TransportError as error:
        raise _BrokenOff(str(error) or type(error).__name__) from error


def _take(answer: httpx.Response, parcel: Download, part: Path, progress: Progress) -> None:
    have = _size(part)
    said = answer.headers.get("Content-Range", "")
    if answer.status_code == NOT_SATISFIABLE and have:
        if said == f"bytes */{have}":
            return  # it was whole already
        part.unlink()
        raise _BrokenOff("what was kept of it does not belong to it")
    _check_answer(parcel, answer)
    if answer.status_code != PARTIAL or f"bytes {have}-" not in said:
        have = 0
    _receive(answer, parcel, part, have, progress)


def _receive(
    answer: httpx.Response, parcel: Download, part: Path, have: int, progress: Progress
) -> None:
    length = answer.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else None
    _check_room(parcel, part, total, have)
    validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
    if validator and not validator.startswith("W/"):
        _tag(part).write_text(validator, encoding="utf-8")
    with part.open("r+b" if have else "wb") as file:
        file.seek(have)
        file.truncate()
        for chunk in answer.iter_raw():
            file.write(chunk)
            have += len(chunk)
            progress(parcel.place, have, total)
    if total is not None and have < total:
        raise _BrokenOff(f"it broke off after {have} of {total} bytes")


def _check_answer(parcel: Download, answer: httpx.Response) -> None:
    status = answer.status_code
    if status >= SERVER_ERROR or status == TOO_MANY:
        raise _BrokenOff(f"it answers {status}")
    if status >= BAD_REQUEST:
        raise DownloadError(
            f"{parcel.address} answers {status}: the file is no longer there; {_advice(parcel)}"
        )
    if answer.headers.get("Content-Type", "").startswith(WEB_PAGE):
        raise DownloadError(
            f"{parcel.address} answers with a web page, not with the file; {_advice(parcel)}"
        )


def _check_room(parcel: Download, part: Path, total: int | None, have: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise DownloadError(
            f"{parcel.place} needs {(total - have) / 1e9:.1f} GB more and {part.parent} has "
            f"{free / 1e9:.1f} GB; make room, or name a folder on another disk"
        )


def _check(parcel: Download, part: Path) -> None:
    """Hold the file against its sha256, if that is known; another file is thrown away."""
    if parcel.sha256 is None:
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != parcel.sha256:
        part.unlink()
        raise DownloadError(
            f"{parcel.address} is not the file that was released (sha256 {found[:12]}…, expected "
            f"{parcel.sha256[:12]}…); {_advice(parcel)}"
        )


def _code(place: str, sha256: str | None = None) -> Download:
    return Download(place, f"{CODE}/{place}", sha256)


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _unreachable(parcel: Download, error: Exception) -> str:
    host = urlsplit(parcel.address).netloc
    return (
        f"{host} cannot be reached or breaks off ({error}), after "
        f"{ATTEMPTS} attempts; what came of {parcel.place} is kept and continued: try again "
        f"later, or {_advice(parcel)}"
    )


def _advice(parcel: Download) -> str:
    return f"say --from with a mirror, or with a folder that has {parcel.place}"
