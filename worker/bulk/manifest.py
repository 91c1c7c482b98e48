"""Manifest of a bulk run: items from JSONL, Parquet or a glob, all checked before any work."""

from __future__ import annotations

import glob
import hashlib
import json
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, ValidationError

from contracts.errors import InputError
from contracts.files import sha256_of
from contracts.s3_url import is_s3_url
from jobs.request.declare import Group, declared_fields
from jobs.request.model import GenerateRequest
from jobs.request.values import SEED_LIMIT
from worker.bulk.locations import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LINES, PARQUET = (".jsonl", ".ndjson"), ".parquet"
MOST_FAULTS = 20  # shown of a manifest
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
LONGEST_NAME = 200
LONGEST_FOLDER = 100  # of a name that is its folder; others are shortened
RESERVED = ("result.json",)


class ManifestError(InputError):
    """The manifest is refused as a whole; its message has a line for each fault."""


class Entry(GenerateRequest):
    """One item of a manifest: a request and its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    audio: str = Field(min_length=1)
    partner: str | None = Field(default=None, min_length=1)
    item: str | None = Field(default=None, min_length=1, max_length=LONGEST_NAME)


@dataclass(frozen=True)
class Item:
    """One recording with its request, whose seed is set."""

    name: str  # unique in the manifest
    line: int  # from 1; of a glob the position of the file
    audio: str  # absolute path, or s3 URL
    partner: str | None
    request: GenerateRequest

    @property
    def folder(self) -> str:
        """Folder of its files below the destination: the name, if that is safe as a path."""
        plain = PLAIN.fullmatch(self.name) is not None and len(self.name) <= LONGEST_FOLDER
        if plain and PurePosixPath(self.name).name not in RESERVED:
            return f"items/{self.name}"
        word = re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-")[:60] or "item"
        return f"items/{word}-{_sha256(self.name)[:12]}"


@dataclass(frozen=True)
class Shard:
    """One part of the items: every `count`th one."""

    index: int = 0
    count: int = 1


@dataclass
class PersonWanted:
    """Wishes of all items of a person."""

    line: int  # first one
    outputs: set[str] = field(default_factory=set)
    uses: set[str | None] = field(default_factory=set)


@dataclass
class Checked:
    """Findings of the check of a whole manifest."""

    digest: str  # of the manifest and the defaults
    total: int = 0  # items of the shard
    repeats: list[tuple[int, int]] = field(default_factory=list)  # (line, first line)
    people: dict[str, PersonWanted] = field(default_factory=dict)


class Manifest:
    """The items of a manifest; read twice, never held in memory."""

    def __init__(
        self, source: str, defaults: Mapping[str, Any], scratch: Path, shard: Shard | None = None
    ) -> None:
        """source: JSONL or Parquet file, by path or s3 URL; or a glob of recordings.

        defaults: request fields of items that do not set them. scratch: folder for a copy.
        Raises: ManifestError: for another source. ModuleNotFoundError: without pyarrow.
        """
        self._defaults = dict(defaults)
        self._shard = shard or Shard()
        self._word = "row"
        suffix = PurePosixPath(
            urlsplit(source).path if is_s3_url(source) else source
        ).suffix.lower()
        if glob.has_magic(source) and not is_s3_url(source) and not Path(source).is_file():
            self._word = "file"
            self._base, self._root = Path.cwd(), _fixed_part(source)
            found = self._root.glob(str(Path(source).absolute().relative_to(self._root)))
            self._paths = sorted(
                path for path in found if path.is_file() and not path.name.startswith(".")
            )
            if not self._paths:
                raise ManifestError(f"no recording matches {source}; check the pattern")
            facts: Any = [str(path) for path in self._paths]
            self._entries = self._of_paths
        elif suffix in (*LINES, PARQUET):
            path = fetch(source, scratch) if is_s3_url(source) else Path(source)
            if not path.is_file():
                raise ManifestError(f"no manifest at {source}; check the path")
            self._path, self._base = path, Path() if is_s3_url(source) else path.absolute().parent
            facts = sha256_of(path)
            if suffix == PARQUET:
                import pyarrow.parquet  # noqa: F401 -- an extra, missed before any work

                self._entries = self._of_parquet
            else:
                self._word = "line"
                self._entries = self._of_lines
        else:
            raise ManifestError(
                f"{source} is not a manifest; name a .jsonl or .parquet file, or a glob in quotes"
            )
        self.digest = _sha256(json.dumps([facts, self._defaults], sort_keys=True, default=str))

    def check(self) -> Checked:
        """Read all items. Raises: ManifestError: with the line and field of each fault."""
        checked = Checked(self.digest)
        faults: list[str] = []
        count = 0
        for _ in self._items(checked, faults):
            count += 1
            if len(faults) > MOST_FAULTS:
                break
        if faults:
            more = ["..."] if len(faults) > MOST_FAULTS else []
            raise ManifestError("\n".join([*faults[:MOST_FAULTS], *more]))
        checked.total = count
        return checked

    def items(self) -> Iterator[Item]:
        """Yield the items of the shard in their order, without repeated lines."""
        faults: list[str] = []
        for item in self._items(Checked(self.digest), faults):
            if faults:
                raise ManifestError(faults[0])
            yield item

    def _items(self, checked: Checked, faults: list[str]) -> Iterator[Item]:
        seen: dict[bytes, tuple[int, bytes]] = {}  # by name
        number = 0
        for line, given in self._entries():
            where = f"{self._word} {line}"
            if isinstance(given, str):
                faults.append(f"{where}: {given}")
                continue
            try:
                entry = Entry.model_validate({**self._defaults, **given})
            except ValidationError as error:
                faults.extend(f"{where}: {fault}" for fault in _faults(error))
                continue
            item = self._item(line, entry)
            name, content = _digest16(item.name), _digest16(_content(item))
            first = seen.setdefault(name, (line, content))
            if first[0] != line:
                if first[1] == content:
                    checked.repeats.append((line, first[0]))
                else:
                    other = f"{self._word} {first[0]}"
                    faults.append(
                        f"{where}: item: {item.name!r} is also the name of {other}, whose content "
                        "differs; give each its own name"
                    )
                continue
            for person in item.request.people:
                wanted = checked.people.setdefault(person, PersonWanted(line))
                wanted.outputs.update(item.request.outputs)
                wanted.uses.add(item.request.use)
            mine = number % self._shard.count == self._shard.index
            number += 1
            if mine:
                yield item

    def _item(self, line: int, entry: Entry) -> Item:
        facts = entry.model_dump(mode="json", exclude={"item"}, exclude_defaults=True)
        word = PurePosixPath(entry.audio).stem
        name = entry.item or f"{word[:80]}-{_sha256(json.dumps(facts, sort_keys=True))[:12]}"
        values = {each: getattr(entry, each) for each in GenerateRequest.model_fields}
        if values["seed"] is None:  # of the item, so that a resumed run makes the same
            text = json.dumps([name, facts], sort_keys=True)
            values["seed"] = int(_sha256(text)[:8], 16) % SEED_LIMIT
        partner = None if entry.partner is None else self._place(entry.partner)
        request = GenerateRequest.model_construct(**values)
        return Item(name, line, self._place(entry.audio), partner, request)

    def _place(self, given: str) -> str:
        return given if is_s3_url(given) else str(self._base / given)

    def _of_paths(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        for number, path in enumerate(self._paths, 1):
            name = path.relative_to(self._root).as_posix()
            yield number, {"audio": str(path), "item": name}

    def _of_lines(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    given = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_object)
                except (ValueError, RecursionError) as error:
                    yield number, f"invalid JSON: {error}; write one object in each line"
                    continue
                if not isinstance(given, dict):
                    given = 'no object; write one in each line, such as {"audio": "talk.wav"}'
                yield number, given

    def _of_parquet(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        import pyarrow
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(self._path) as file:
                number = 0
                for batch in file.iter_batches(batch_size=1000):
                    for row in batch.to_pylist():
                        number += 1
                        yield (
                            number,
                            {name: value for name, value in row.items() if value is not None},
                        )
        except pyarrow.ArrowInvalid as error:
            raise ManifestError(f"{self._path}: invalid Parquet ({error})") from error


def fields_of_options(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as default fields: lists of words are split."""
    lists = {each.name for each in declared_fields(Group.MOTION, Group.LOOK) if each.type is tuple}
    return {
        name: [word.strip() for word in value.split(",")] if name in lists else value
        for name, value in fields.items()
    }


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} occurs twice")
    return found


def _faults(error: ValidationError) -> Iterator[str]:
    for each in error.errors():
        name = ".".join(str(part) for part in each["loc"])
        if each["type"] == "extra_forbidden":
            close = get_close_matches(name, Entry.model_fields, n=1)
            fix = f"did you mean {close[0]!r}?" if close else "docs/bulk.md lists the fields"
            yield f"{name}: unknown field; {fix}"
            continue
        if each["type"] == "missing":
            yield f"{name}: missing; name the recording by path or s3 URL"
            continue
        text = each["msg"].removeprefix("Value error, ").replace("Input should", "should")
        value = str(each["input"])[:80]
        yield f"{name}: {text}" if value in text else f"{name}: {text}, not {value!r}"


def _content(item: Item) -> str:
    return json.dumps([item.audio, item.partner, item.request.model_dump(mode="json")])


def _fixed_part(pattern: str) -> Path:
    """Return the folder before the first part of a glob that has a wildcard."""
    fixed = []
    for part in Path(pattern).absolute().parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _digest16(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
