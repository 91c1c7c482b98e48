"""Scalars and preview pictures of a run, for TensorBoard and as PNG files."""

from __future__ import annotations

import logging
import struct
import zlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]  # [H, W, 3] RGB

logger = logging.getLogger(__name__)


class Writer(Protocol):
    """Receiver of the scalars and pictures of a run."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def picture(self, step: int, picture: Picture) -> None: ...


class NullWriter:
    """Writer that discards everything."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Discard the values."""

    def picture(self, step: int, picture: Picture) -> None:
        """Discard the picture."""


NULL_WRITER = NullWriter()


class FolderWriter:
    """Pictures as `step-00001200.png` in a folder, and events if TensorBoard is installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._events = _events(folder)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write values by name; `group/name` groups them."""
        if self._events:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)
            self._events.flush()

    def picture(self, step: int, picture: Picture) -> None:
        """Write a picture [H, W, 3]."""
        (self._folder / f"step-{step:08d}.png").write_bytes(png(picture))
        if self._events:
            self._events.add_image("preview", picture, step, dataformats="HWC")
            self._events.flush()


def _events(folder: Path) -> Any | None:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        logger.info(
            "TensorBoard is not installed: pictures are written as PNG to %s, scalars are not; "
            'to write both: pip install "visavis-server[tensorboard]"',
            folder,
        )
        return None
    return SummaryWriter(str(folder))


def png(picture: Picture) -> bytes:
    """Encode a picture [H, W, 3] as PNG (RFC 2083) without an imaging package."""
    height, width, _ = picture.shape
    rows = np.zeros(
        (height, 1 + 3 * width), np.uint8
    )  # each row starts with its filter type: 0, none
    rows[:, 1:] = picture.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
