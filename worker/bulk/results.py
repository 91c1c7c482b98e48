"""Results of items: a record beside the files of each item, and the table of all of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from contracts.files import sha256_of
from contracts.s3_url import is_s3_url
from worker.bulk.locations import stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import BinaryIO

    from worker.bulk.locations import Destination
    from worker.bulk.manifest import Item

RECORD = "result.json"
TABLES = ("jsonl", "parquet")
FULL = "disk_full"  # code of an error: no item can be stored
ROWS = 1000  # of a table, written at a time
COLUMNS = (
    "item", "line", "digest", "state", "person", "seed", "outputs", "seconds", "clip_seconds",
    "attempts", "watermark", "warnings", "error",
)  # fmt: skip


class State(StrEnum):
    """State of an item."""

    RUNNING = "running"  # or its process was killed
    SUCCEEDED = "succeeded"
    REFUSED = "refused"  # a fault of the recording or the request; another attempt fails as well
    FAILED = "failed"  # after all attempts


class Attempts(NamedTuple):
    """Attempts at an item."""

    made: int
    counted: int  # those that failed: a kill beside other items may have had another reason


@dataclass(frozen=True)
class File:
    """A file of a result."""

    name: str  # such as take-1.mp4
    path: str  # below the destination
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Result:
    """The result of one item, also its row in the table."""

    item: str
    line: int
    state: State
    person: str
    seed: int
    attempts: int  # the current one included
    counted: int = 0  # of them, see `Attempts`; the current one if it is killed
    alone: bool = False  # the next attempt, because this one was killed
    digest: str = ""  # of everything that the files depend on; empty before the recording is read
    seconds: float = 0.0  # of the last attempt
    clip_seconds: float = 0.0
    watermark: str | None = None  # id in pictures and sound, 16 hex digits
    outputs: tuple[File, ...] = ()
    warnings: tuple[dict[str, str], ...] = ()  # code, detail
    error: dict[str, str] | None = None  # code, detail
    request: dict[str, Any] = field(default_factory=dict)  # fields that differ from the defaults
    sources: tuple[Source, ...] = ()

    def row(self) -> dict[str, Any]:
        """Return the columns of the table."""
        values = asdict(self)
        return {name: values[name] for name in COLUMNS}

    def write(self, destination: Destination, folder: str) -> None:
        """Write the record of an item; its files exist before."""
        content = json.dumps(asdict(self), ensure_ascii=False, indent=1)
        destination.write(f"{folder}/{RECORD}", content.encode())


@dataclass(frozen=True)
class Source:
    """A recording of an item, as it was when it was read."""

    place: str
    stamp: tuple[str, ...]
    sha256: str


def read_result(destination: Destination, folder: str) -> Result | None:
    """Return the record of an item, None if it is missing or damaged."""
    content = destination.read(f"{folder}/{RECORD}")
    if content is None:
        return None
    try:
        values = json.loads(content)
        known = {each.name for each in fields(Result)}
        values = {name: value for name, value in values.items() if name in known}
        return Result(
            **values
            | {
                "state": State(values["state"]),
                "outputs": tuple(File(**each) for each in values["outputs"]),
                "warnings": tuple(values["warnings"]),
                "sources": tuple(
                    Source(each["place"], tuple(each["stamp"]), each["sha256"])
                    for each in values["sources"]
                ),
            }
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def request_digest(item: Item, person_digest: str, recordings: Iterable[str]) -> str:
    """Return the SHA-256 of everything that the files of an item depend on.

    recordings: SHA-256 of the clip, and of the partner's if there is one.
    """
    facts = {
        "request": item.request.model_dump(mode="json", exclude_defaults=True),
        "person_digest": person_digest,
        "recordings": list(recordings),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def places(item: Item) -> list[str]:
    """Return the recordings of an item."""
    return [item.audio] if item.partner is None else [item.audio, item.partner]


def is_current(
    result: Result, item: Item, person_digest: str, destination: Destination, *, verify: bool
) -> bool:
    """Return whether an earlier result is that of the item, with all its files.

    A recording is read again only if its size or time has changed. verify: read all files, too.
    """
    if result.state is not State.SUCCEEDED:
        return False
    recordings = [_same_content(place, result.sources) for place in places(item)]
    if None in recordings:
        return False
    digest = request_digest(item, person_digest, [each for each in recordings if each])
    return digest == result.digest and all(
        _whole(each, destination, verify=verify) for each in result.outputs
    )


def _same_content(place: str, sources: tuple[Source, ...]) -> str | None:
    """Return the SHA-256 of a recording; None if it is missing or has to be downloaded for it."""
    found = stamp(place)
    if found is None:
        return None
    for each in sources:
        if list(each.stamp) == found and (is_s3_url(place) or each.place == place):
            return each.sha256
    return None if is_s3_url(place) else sha256_of(Path(place))


def _whole(file: File, destination: Destination, *, verify: bool) -> bool:
    if not verify:
        return destination.size(file.path) == file.bytes
    content = destination.read(file.path)
    return content is not None and hashlib.sha256(content).hexdigest() == file.sha256


class Rows:
    """Rows of a table in a file of JSON lines, in any order, until the table is written."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("w+b")
        self._places: list[tuple[int, int]] = []  # (line of the manifest, place in the file)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        self._places.append((int(row["line"]), self._file.seek(0, 2)))
        self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def add_all(self, content: bytes) -> None:
        """Add the rows of another file."""
        for line in content.splitlines():
            self.add(json.loads(line))

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows in the order of the manifest."""
        for _, place in sorted(self._places):
            self._file.seek(place)
            yield json.loads(self._file.readline())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def write_table(rows: Rows, path: Path) -> None:
    """Write the table as JSON lines or Parquet, by the suffix of the file."""
    if path.suffix == ".parquet":
        _write_parquet(rows, path)
        return
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_parquet(rows: Rows, path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    text, number, real = pyarrow.string(), pyarrow.int64(), pyarrow.float64()
    fact = pyarrow.struct([("code", text), ("detail", text)])
    file = pyarrow.struct([("name", text), ("path", text), ("bytes", number), ("sha256", text)])
    types = {
        "line": number, "seed": number, "attempts": number, "seconds": real, "clip_seconds": real,
        "outputs": pyarrow.list_(file), "warnings": pyarrow.list_(fact), "error": fact,
    }  # fmt: skip
    schema = pyarrow.schema([(name, types.get(name, text)) for name in COLUMNS])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for batch in _batches(rows):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))


def _batches(rows: Rows) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
