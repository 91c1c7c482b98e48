"""Unpacking of untrusted archives: selected files only, and only into the given folder."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

from models.released.reader import ReleasedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Member = tuple[str, int, Callable[[], IO[bytes] | None]]  # name, size in bytes, opener

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_BYTES = 32 << 30  # unpacked, per archive
MAX_MEMBERS = 200_000
CHUNK = 1 << 20


def is_archive(path: Path) -> bool:
    """Return whether the name is that of an archive (the content of torch files is one too)."""
    return path.name.endswith(ENDINGS) and path.is_file()


def unpack(
    path: Path, folder: Path, *, select: Callable[[str], bool], max_bytes: int = MAX_BYTES
) -> None:
    """Unpack the files whose names are selected.

    Raises: ReleasedError: when the archive is damaged, unpacks to more than max_bytes, or contains
        a link or a path outside the folder, selected or not.
    """
    remaining = max_bytes
    try:
        for count, (name, size, open_member) in enumerate(_members(path)):
            target = _safe_path(path, name)
            if count > MAX_MEMBERS:
                raise ReleasedError(f"{path}: more than {MAX_MEMBERS} files; it was not unpacked")
            if not select(name):
                continue
            remaining -= size
            if remaining < 0:
                raise ReleasedError(
                    f"{path}: unpacks to more than {max_bytes / (1 << 30):.2f} GB; it was not "
                    "unpacked"
                )
            _copy(open_member(), folder / target)
    except ReleasedError:
        raise
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError,
            RuntimeError) as error:  # fmt: skip
        raise ReleasedError(f"{path}: damaged or truncated ({error}); download it again") from error
    except OSError as error:
        raise ReleasedError(f"{path}: cannot be unpacked ({error})") from error


def _members(path: Path) -> Iterator[Member]:
    if path.name.endswith(".zip"):
        yield from _zipped(path)
    else:
        yield from _tarred(path)


def _zipped(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for each in archive.infolist():
            kind = stat.S_IFMT(each.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ReleasedError(
                    f"{path}: contains a link or a device, {each.filename!r}; refused"
                )
            if not each.is_dir():
                yield each.filename, each.file_size, lambda each=each: archive.open(each)  # type: ignore[misc]


def _tarred(path: Path) -> Iterator[Member]:
    with tarfile.open(path) as archive:
        for each in archive:
            if not (each.isreg() or each.isdir()):
                raise ReleasedError(f"{path}: contains a link or a device, {each.name!r}; refused")
            if each.isreg():
                yield each.name, each.size, lambda each=each: archive.extractfile(each)  # type: ignore[misc]


def _safe_path(path: Path, name: str) -> PurePosixPath:
    target = PurePosixPath(name)
    if target.is_absolute() or ".." in target.parts or "\\" in name or "\0" in name:
        raise ReleasedError(f"{path}: contains {name!r}, a path outside its folder; refused")
    return target


def _copy(source: IO[bytes] | None, target: Path) -> None:
    assert source is not None  # only links and folders have no content
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("xb") as file:
        while chunk := source.read(CHUNK):
            file.write(chunk)
