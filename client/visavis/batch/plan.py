"""Plan of a batch: its recordings, and the names of their files."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visavis.files.audio import open_recording
from visavis.request import JobAttributes, given

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from visavis.batch.journal import Journal
    from visavis.request import RequestFields

OUTPUT_ENDING = re.compile(r"-take-\d+$")
OUTPUT_SUFFIXES = (
    ".mp4",
    ".mov",
    ".webm",
    ".zip",
    ".npz",
)  # must not replace a recording
LONGEST_NAME = 200  # bytes: file systems allow 255 with endings
SHORTENED = 60  # characters


@dataclass(frozen=True)
class BatchInput:
    """A recording of a batch. fields: request fields of this one, instead of the batch's."""

    audio: str | os.PathLike[str]
    partner: str | os.PathLike[str] | None = None
    fields: RequestFields = field(default_factory=dict)  # type: ignore[assignment]


@dataclass(frozen=True)
class Item:
    """A recording with absolute paths, all of its request fields, and the name of its files."""

    audio: Path
    partner: Path | None
    fields: dict[str, Any]
    name: str

    def digest(self) -> str:
        """Return the SHA-256 of everything that its files depend on. Raises: OSError."""
        facts: dict[str, Any] = {
            name: value
            for name, value in self.fields.items()
            if name not in JobAttributes.__annotations__
        }
        for name, path in (("audio", self.audio), ("partner", self.partner)):
            if path is not None:
                recording = open_recording(path)
                try:
                    facts[f"{name}_sha256"] = recording.sha256()
                finally:
                    recording.close()
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def plan(
    sources: Iterable[str | os.PathLike[str] | BatchInput],
    fields: Mapping[str, Any],
    out: Path,
    journal: Journal,
) -> list[Item]:
    """Return the recordings, each once, with names that the journal has or that are free."""
    inputs: dict[tuple[Path, Path | None], dict[str, Any]] = {}
    for source in sources:
        each = source if isinstance(source, BatchInput) else BatchInput(source)
        partner = None if each.partner is None else Path(each.partner).resolve()
        inputs[Path(each.audio).resolve(), partner] = given({**fields, **each.fields})
    known = journal.names()
    folder = out.resolve()
    stems = [_folded(audio.stem) for audio, _ in inputs]
    taken = {_folded(name) for name in known.values()}
    items = []
    for (audio, partner), values in inputs.items():
        name = known.get((str(audio), None if partner is None else str(partner)))
        if name is None:
            stem = _folded(audio.stem)
            clashes = (
                stems.count(stem) > 1
                or stem in taken
                or (audio.parent == folder and audio.suffix.lower() in OUTPUT_SUFFIXES)
                or OUTPUT_ENDING.search(audio.stem) is not None
                or len(audio.stem.encode()) > LONGEST_NAME
            )
            name = _distinct(audio, partner) if clashes else audio.stem
        items.append(Item(audio, partner, values, name))
    return items


def _folded(name: str) -> str:
    """Return a name as file systems compare it that ignore case and composition."""
    return unicodedata.normalize("NFC", name).casefold()


def _distinct(audio: Path, partner: Path | None) -> str:
    digest = hashlib.sha256(f"{audio}\n{partner or ''}".encode(errors="surrogateescape"))
    return f"{audio.stem[:SHORTENED]}-{digest.hexdigest()[:8]}"
