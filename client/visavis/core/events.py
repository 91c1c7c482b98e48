"""Decoder of server-sent events."""

from __future__ import annotations

import codecs
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One event. id: None without one."""

    name: str
    data: str
    id: str | None


class EventDecoder:
    """Turns pieces of a stream into events; an event may be spread over pieces."""

    def __init__(self) -> None:
        self._text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._fields: dict[str, list[str]] = {}

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that this piece completes."""
        # A "\r" at the end may be half of "\r\n": its line waits for the next piece.
        text = self._text + self._decoder.decode(piece)
        waiting = "\r" if text.endswith("\r") else ""
        lines = text.removesuffix(waiting).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._text = lines.pop() + waiting
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> Event | None:
        if line:
            name, _, value = line.partition(":")  # a comment has an empty name
            self._fields.setdefault(name, []).append(value.removeprefix(" "))
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        names, ids = fields.get("event", ["message"]), fields.get("id")
        return Event(names[-1], "\n".join(fields["data"]), ids[-1] if ids else None)
