"""Binary glTF 2.0: a JSON document and one buffer, whose animation is written in pieces."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from models.animation.figure import AnimationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LARGEST = 2**32 - 1  # bytes of a file: its length is a 32-bit number
FLOAT, UNSIGNED_INT, UNSIGNED_SHORT, UNSIGNED_BYTE = 5126, 5125, 5123, 5121
COMPONENTS = {"f4": FLOAT, "u4": UNSIGNED_INT, "u2": UNSIGNED_SHORT, "u1": UNSIGNED_BYTE}
TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
VERTICES, INDICES = 34962, 34963  # targets of buffer views
GENERATOR = "visavis"


@dataclass(frozen=True)
class Slot:
    """Part of the buffer for [frames, width] numbers that are written later."""

    accessor: int
    offset: int
    width: int


@dataclass
class Document:
    """glTF document under construction; members are those of the JSON."""

    members: dict[str, Any] = field(default_factory=dict)
    _pieces: list[tuple[int, bytes]] = field(default_factory=list)
    _length: int = 0

    def add(self, member: str, entry: Mapping[str, Any]) -> int:
        """Append an entry to a list such as "nodes", and return its index."""
        entries = self.members.setdefault(member, [])
        entries.append(dict(entry))
        return len(entries) - 1

    def accessor(
        self,
        values: NDArray[Any],  # [N] or [N, width]
        *,
        target: int | None = None,
        bounds: bool = False,
        normalized: bool = False,
    ) -> int:
        """Add an array to the buffer; `bounds` adds min and max."""
        table = values.reshape(len(values), -1)
        entry = {
            "bufferView": self.view(np.ascontiguousarray(table).tobytes(), target=target),
            **self._layout(table),
        }
        if bounds:
            entry |= {"min": table.min(0).tolist(), "max": table.max(0).tolist()}
        if normalized:
            entry["normalized"] = True
        return self.add("accessors", entry)

    def sparse(self, count: int, indices: NDArray[Any], values: NDArray[Any]) -> int:
        """Add an array [count, width] that is zero except in some rows."""
        entry = {"count": count, "componentType": FLOAT, "type": TYPES[values.shape[1]]}
        full = len(indices) == count
        entry["min"] = [float(x) if full else min(float(x), 0.0) for x in values.min(0)]
        entry["max"] = [float(x) if full else max(float(x), 0.0) for x in values.max(0)]
        entry["sparse"] = {
            "count": len(indices),
            "indices": {
                "bufferView": self.view(indices.astype("<u4").tobytes()),
                "componentType": UNSIGNED_INT,
            },
            "values": {"bufferView": self.view(values.astype("<f4").tobytes())},
        }
        return self.add("accessors", entry)

    def slot(self, frames: int, width: int, *, kind: str | None = None) -> Slot:
        """Reserve an array of float32 that `Filler.put` writes; kind: default by the width."""
        offset = self._reserve(frames * width * 4)
        view = {"buffer": 0, "byteOffset": offset, "byteLength": frames * width * 4}
        scalars = kind == "SCALAR"
        entry = {
            "bufferView": self.add("bufferViews", view),
            "componentType": FLOAT,
            "count": frames * width if scalars else frames,
            "type": kind or TYPES[width],
        }
        return Slot(self.add("accessors", entry), offset, width)

    def view(self, content: bytes, *, target: int | None = None) -> int:
        """Add bytes to the buffer as a buffer view."""
        offset = self._reserve(len(content))
        self._pieces.append((offset, content))
        entry = {"buffer": 0, "byteOffset": offset, "byteLength": len(content)}
        return self.add("bufferViews", entry if target is None else entry | {"target": target})

    def _reserve(self, length: int) -> int:
        offset = self._length
        self._length = (offset + length + 3) // 4 * 4
        return offset

    @staticmethod
    def _layout(table: NDArray[Any]) -> dict[str, Any]:
        return {
            "componentType": COMPONENTS[table.dtype.str[1:]],
            "count": len(table),
            "type": TYPES[table.shape[1]],
        }

    def begin(self, path: Path) -> Filler:
        """Write everything but the slots. Raises: AnimationError: above the limit of glTF."""
        if self._length:
            self.members["buffers"] = [{"byteLength": self._length}]
        text = json.dumps(self.members, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + self._length
        if total > LARGEST:
            raise AnimationError(
                f"motion: {total / 1e9:.1f} GB are more than a binary glTF holds (4.3 GB); export "
                "a shorter part"
            )
        file = path.open("w+b")
        file.write(struct.pack("<4sII", b"glTF", 2, total))
        file.write(struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", self._length, b"BIN\0"))
        start = file.tell()
        file.truncate(start + self._length)
        for offset, content in self._pieces:
            file.seek(start + offset)
            file.write(content)
        return Filler(file, start)


class Filler:
    """Open file whose slots are written piece by piece."""

    def __init__(self, file: IO[bytes], start: int) -> None:
        self._file, self._start = file, start

    def __enter__(self) -> Filler:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def put(self, slot: Slot, frame: int, values: NDArray[Any]) -> None:
        """Write rows [n, width] of a slot, from a frame on."""
        self._file.seek(self._start + slot.offset + frame * slot.width * 4)
        self._file.write(np.ascontiguousarray(values, "<f4").tobytes())


def new_document(extras: Mapping[str, Any], extensions: Sequence[str] = ()) -> Document:
    """Document with an asset and the names of its extensions."""
    asset = {"version": "2.0", "generator": GENERATOR, "extras": dict(extras)}
    members: dict[str, Any] = {"asset": asset}
    if extensions:
        members["extensionsUsed"] = list(extensions)
    return Document(members)


@dataclass
class Track:
    """One animation: channels with the times of their frames."""

    document: Document
    _channels: list[dict[str, Any]] = field(default_factory=list)
    _samplers: list[dict[str, Any]] = field(default_factory=list)

    def times(self, seconds: NDArray[Any]) -> int:
        """Add a time axis, [frames] in seconds from 0."""
        return self.document.accessor(seconds.astype("<f4"), bounds=True)

    def slot(self, node: int, path: str, width: int, times: int) -> Slot:
        """Add a channel for "translation", "rotation", "scale" or "weights" of a node."""
        frames = self.document.members["accessors"][times]["count"]
        slot = self.document.slot(frames, width, kind="SCALAR" if path == "weights" else None)
        sampler = {"input": times, "output": slot.accessor, "interpolation": "LINEAR"}
        self._samplers.append(sampler)
        target = {"node": node, "path": path}
        self._channels.append({"sampler": len(self._samplers) - 1, "target": target})
        return slot

    def finish(self, name: str) -> None:
        """Add the animation to the document, unless nothing moves."""
        if self._channels:
            animation = {"name": name, "channels": self._channels, "samplers": self._samplers}
            self.document.add("animations", animation)


def frame_seconds(frames: int, frame_rate: float) -> NDArray[np.float64]:
    """Times of frames, in seconds from 0."""
    return np.asarray(np.arange(frames) / frame_rate)
