"""PNG pictures, with the compression of the standard library."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
UP = 2  # filter of a row: differences from the row above


def png(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture [H, W, 3] RGB."""
    height, width, _ = picture.shape
    above = np.concatenate([np.zeros((1, width, 3), np.uint8), picture[:-1]])
    rows = (picture - above).reshape(height, width * 3)  # differences modulo 256
    filtered = np.concatenate([np.full((height, 1), UP, np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )
