"""Recordings to send: paths, bytes, open files, URLs and uploads."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Union

import httpx

from visavis.models import Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# A text that begins with "https://" or "http://" is a URL, any other text a path.
Audio = Union[str, "os.PathLike[str]", bytes, BinaryIO, IO[bytes], Upload]

PIECE = 2**18  # bytes of one read
SPOOLED = 2**24  # bytes of a stream without positions that are held in memory


class Recording:
    """Bytes of a recording, which can be read from any position and by several threads."""

    def __init__(self, file: IO[bytes], name: str, *, first: int = 0) -> None:
        """first: position of the first byte of the recording in `file`."""
        self.name = name
        self._file = file
        self._first = first
        self._lock = threading.Lock()
        self.bytes = file.seek(0, os.SEEK_END) - first

    def read(self, first: int, count: int) -> bytes:
        """Read `count` bytes, fewer at the end."""
        with self._lock:
            self._file.seek(self._first + first)
            return self._file.read(count)

    def content(self) -> bytes:
        """Read everything."""
        return self.read(0, self.bytes)

    def sha256(self) -> str:
        """Return the digest of the content."""
        digest = hashlib.sha256()
        for first in range(0, self.bytes, PIECE):
            digest.update(self.read(first, PIECE))
        return digest.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Borrowed(Recording):
    """A file that the caller opened, and closes."""

    def close(self) -> None:
        self._file.seek(self._first)


def is_url(audio: Audio) -> bool:
    """Return whether the service downloads the recording."""
    return isinstance(audio, str) and audio.startswith(("https://", "http://"))


def open_recording(audio: Audio) -> Recording:
    """Open a recording for reading; file objects are read from their current position.

    Raises:
        OSError: when a path cannot be read.
        TypeError: for an object that is not a recording.
    """
    if isinstance(audio, (str, os.PathLike)):
        path = Path(audio)
        return Recording(path.open("rb"), path.name)
    if isinstance(audio, (bytes, bytearray, memoryview)):
        return Recording(io.BytesIO(audio), "audio")
    if not isinstance(audio, Upload) and hasattr(audio, "read"):
        name = Path(str(getattr(audio, "name", "audio"))).name
        if audio.seekable():
            return _Borrowed(audio, name, first=audio.tell())
        copy = tempfile.SpooledTemporaryFile(SPOOLED)  # noqa: SIM115 - closed by the recording
        try:
            shutil.copyfileobj(audio, copy)
        except BaseException:
            copy.close()
            raise
        return Recording(copy, name)
    raise TypeError(
        f"audio: a path, bytes, a binary file or a URL is needed, not {type(audio).__name__}"
    )


class PartStream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Body of a request: a part of a recording."""

    def __init__(self, recording: Recording, first: int, count: int) -> None:
        self._recording = recording
        self._places = [
            (place, min(PIECE, first + count - place))
            for place in range(first, first + count, PIECE)
        ]

    def __iter__(self) -> Iterator[bytes]:
        for place, count in self._places:
            yield self._recording.read(place, count)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for place, count in self._places:
            yield await asyncio.to_thread(self._recording.read, place, count)


def as_file(recording: Recording) -> tuple[str, bytes, str]:
    """Return a file of a form, as httpx takes it."""
    return (recording.name, recording.content(), "application/octet-stream")


def described(audio: Any) -> str:
    """Return the name of a recording for messages."""
    return str(audio) if isinstance(audio, (str, os.PathLike)) else type(audio).__name__
